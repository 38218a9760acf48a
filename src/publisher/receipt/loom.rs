//! A receipt in every order in which its threads can run: whoever waits is told.

use std::sync::Arc;

use ::loom::{
    future::block_on,
    model,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

use super::*;

const OUTCOME: Outcome = Ok(EntryId { ms: 7, seq: 0 });

/// What a model does with a receipt while another thread settles it.
fn settled_meanwhile(wait: impl Fn(Receipt) + Send + Sync + 'static) {
    model(move || {
        let (receipt, state) = Receipt::new();
        let settler = thread::spawn(move || state.settle(&OUTCOME));
        wait(receipt);
        settler.join().expect("settling does not panic");
    });
}

#[test]
fn who_holds_a_thread_is_told() {
    settled_meanwhile(|receipt| assert_eq!(receipt.wait(None), Some(OUTCOME)));
}

#[test]
fn who_awaits_is_told() {
    settled_meanwhile(|receipt| assert_eq!(block_on(receipt), OUTCOME));
}

#[test]
fn two_who_await_are_told() {
    settled_meanwhile(|receipt| {
        let other = thread::spawn({
            let receipt = receipt.clone();
            move || assert_eq!(block_on(receipt), OUTCOME)
        });
        assert_eq!(block_on(receipt), OUTCOME);
        other.join().unwrap();
    });
}

#[test]
fn who_is_to_be_called_is_called_once() {
    model(|| {
        let (receipt, state) = Receipt::new();
        let settler = thread::spawn(move || state.settle(&OUTCOME));
        let calls = Arc::new(AtomicUsize::new(0));
        receipt.on_settled({
            let calls = calls.clone();
            move |outcome| {
                assert_eq!(*outcome, OUTCOME);
                calls.fetch_add(1, SeqCst);
            }
        });
        settler.join().unwrap();
        assert_eq!(calls.load(SeqCst), 1);
    });
}
