//! The hand-over in every order in which its threads can run: nobody sleeps while there is something to do.
//!
//! loom ends a model in which all threads wait with "deadlock": that is how a lost wake-up shows.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use ::loom::{
    future::block_on,
    model::Builder,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

use super::*;

/// Three threads at most, each interrupted three times at most: every known kind of lost wake-up needs fewer.
fn model(play: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(play);
}

fn queue() -> Arc<Queue> {
    Arc::new(Queue::new(&PublisherConfig::default()))
}

/// One field and its value, as bulk strings.
const BODY: &[u8] = b"$1\r\nn\r\n$1\r\n1\r\n";

fn push(queue: &Queue) -> Result<(), PublishError> {
    queue.push("s", BODY, 1, None)
}

/// All events of a batch are settled.
fn all_of(batch: &Batch) -> Settled {
    let (events, bytes) = (batch.len() as u64, batch.buffered_bytes() as u64);
    Settled { published: events, events, bytes, ..Settled::default() }
}

/// A writer that settles at once what it takes, until the queue is closed and empty; gives how many that were.
fn write(queue: &Queue) -> u64 {
    let mut settled = 0;
    loop {
        block_on(queue.ready(Wanted::ANYTHING));
        let Some(batch) = queue.take(Wanted::ANYTHING) else {
            assert!(queue.is_closed(), "woken for something");
            queue.end();
            return settled;
        };
        settled += batch.len() as u64;
        queue.settled(&all_of(&batch), queue.oldest_seq());
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn what_is_pushed_wakes_the_writer() {
    model(|| {
        let queue = queue();
        let pushers = [(); 2].map(|()| {
            let queue = queue.clone();
            thread::spawn(move || push(&queue).unwrap())
        });
        let mut taken = 0;
        while taken < 2 {
            block_on(queue.ready(Wanted::ANYTHING));
            taken += queue.take(Wanted::ANYTHING).expect("it is ready").len();
        }
        for pusher in pushers {
            pusher.join().unwrap();
        }
        assert_eq!((queue.depth().queued, queue.depth().queued_bytes), (0, 0));
    });
}

#[test]
fn the_writer_is_woken_once_and_only_when_it_sleeps() {
    model(|| {
        let queue = queue();
        let counted = Arc::new(Counted::default());
        let pushers = [(); 2].map(|()| {
            let queue = queue.clone();
            thread::spawn(move || push(&queue).unwrap())
        });
        let waker = Waker::from(counted.clone());
        let poll = pin!(queue.ready(Wanted::ANYTHING)).poll(&mut Context::from_waker(&waker));
        for pusher in pushers {
            pusher.join().unwrap();
        }
        let expected = usize::from(poll == Poll::Pending);
        assert_eq!(counted.0.load(SeqCst), expected);
        // Nobody sleeps any more: nobody is woken.
        push(&queue).unwrap();
        assert_eq!(counted.0.load(SeqCst), expected);
    });
}

#[test]
fn a_writer_that_waits_for_more_is_not_woken_by_less() {
    model(|| {
        let queue = queue();
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(counted.clone());
        let pusher = thread::spawn({
            let queue = queue.clone();
            move || push(&queue).unwrap()
        });
        let poll = pin!(queue.ready(Wanted::A_BATCH)).poll(&mut Context::from_waker(&waker));
        pusher.join().unwrap();
        assert_eq!((poll, counted.0.load(SeqCst)), (Poll::Pending, 0));
        queue.close();
        assert_eq!(counted.0.load(SeqCst), 1);
    });
}

#[test]
fn a_flush_wakes_a_writer_that_waits_for_a_whole_batch() {
    model(|| {
        let queue = queue();
        push(&queue).unwrap();
        let flusher = thread::spawn({
            let queue = queue.clone();
            move || assert!(queue.wait_progress(None, |depth| depth.settled_before == 1))
        });
        block_on(queue.ready(Wanted::A_BATCH));
        let batch = queue.take(Wanted::A_BATCH).expect("somebody waits for it");
        queue.settled(&all_of(&batch), 1);
        flusher.join().unwrap();
        assert!(!queue.is_flushing());
    });
}

#[test]
fn what_is_settled_ends_a_flush_that_holds_its_thread() {
    model(|| {
        let queue = queue();
        push(&queue).unwrap();
        let writer = thread::spawn({
            let queue = queue.clone();
            move || write(&queue)
        });
        assert!(queue.wait_progress(None, |depth| depth.settled_before == 1));
        queue.close();
        assert_eq!(writer.join().unwrap(), 1);
    });
}

#[test]
fn what_is_settled_ends_a_flush_that_is_awaited() {
    model(|| {
        let queue = queue();
        push(&queue).unwrap();
        let writer = thread::spawn({
            let queue = queue.clone();
            move || write(&queue)
        });
        assert!(block_on(queue.wait_progress_async(None, |depth| depth.settled_before == 1)));
        queue.close();
        assert_eq!(writer.join().unwrap(), 1);
    });
}

#[test]
fn what_is_settled_makes_room_for_who_waits_for_it() {
    model(|| {
        let config = PublisherConfig { queue_events: 1, ..PublisherConfig::default() };
        let queue = Arc::new(Queue::new(&config));
        push(&queue).unwrap();
        let writer = thread::spawn({
            let queue = queue.clone();
            move || write(&queue)
        });
        while let Err(PublishError::QueueFull(full)) = push(&queue) {
            assert!(queue.wait_progress(None, |depth| queue.has_room(depth, full.needed)));
        }
        queue.close();
        assert_eq!(writer.join().unwrap(), 2);
    });
}

#[test]
fn what_is_accepted_before_a_close_is_sent_and_nothing_after_it() {
    model(|| {
        let queue = queue();
        let writer = thread::spawn({
            let queue = queue.clone();
            move || write(&queue)
        });
        let closer = thread::spawn({
            let queue = queue.clone();
            move || queue.close()
        });
        let accepted = push(&queue).is_ok();
        closer.join().unwrap();
        assert!(matches!(push(&queue), Err(PublishError::Closed)));
        assert_eq!(writer.join().unwrap(), u64::from(accepted));
    });
}

#[test]
fn the_writers_end_ends_every_flush() {
    model(|| {
        let queue = queue();
        push(&queue).unwrap();
        let ender = thread::spawn({
            let queue = queue.clone();
            move || queue.end()
        });
        let awaiting = thread::spawn({
            let queue = queue.clone();
            move || block_on(queue.wait_progress_async(None, |depth| depth.settled_before == 1))
        });
        assert!(!queue.wait_progress(None, |depth| depth.settled_before == 1), "nothing was settled");
        assert!(!awaiting.join().unwrap(), "nothing was settled");
        ender.join().unwrap();
    });
}

#[test]
fn a_crowd_wakes_a_writer_that_waits_for_one() {
    model(|| {
        let config = PublisherConfig { queue_events: 2, ..PublisherConfig::default() };
        let queue = Arc::new(Queue::new(&config));
        let pushers = [(); 2].map(|()| {
            let queue = queue.clone();
            thread::spawn(move || push(&queue).unwrap())
        });
        block_on(queue.ready(Wanted::A_CROWD));
        assert!(queue.has_crowd());
        for pusher in pushers {
            pusher.join().unwrap();
        }
    });
}
