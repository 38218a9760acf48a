//! Any entry is read or refused, and what was read is the same after it was written.
//!
//! The input is the stream, then fields and values in turn, all separated by zero bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use synapse_rs::{
    Event,
    event::{
        Decoded, InvalidEvent, decode,
        encode::{Limits, encode, read_pairs},
    },
};

fuzz_target!(|input: &[u8]| {
    let mut parts = input.split(|byte| *byte == 0);
    let stream = parts.next().and_then(|stream| std::str::from_utf8(stream).ok()).unwrap_or("s");
    let mut pairs = Vec::new();
    while let (Some(field), Some(value)) = (parts.next(), parts.next()) {
        pairs.push((field, value));
    }
    match decode(stream, pairs) {
        Ok(Decoded::Event(event)) => stays_the_same(stream, event),
        Ok(Decoded::Nameless) => {}
        Err(error) => assert!(error.to_string().len() < 2048, "{error}"),
    }
});

fn stays_the_same(stream: &str, mut event: Event) {
    let mut body = Vec::new();
    match encode(stream, &event, "fuzz", &Limits::default(), &mut body) {
        Ok(_) => {}
        // Others may write names and ids that we would not, and more fields.
        Err(
            InvalidEvent::FieldName { .. }
            | InvalidEvent::Comma { .. }
            | InvalidEvent::EventId { .. }
            | InvalidEvent::TooManyFields { .. }
            | InvalidEvent::TooLarge { .. },
        ) => return,
        Err(error) => panic!("{error}: {event:?}"),
    }
    let pairs = read_pairs(&body).expect("the encoder writes pairs");
    let Ok(Decoded::Event(mut again)) = decode(stream, pairs) else { panic!("unreadable: {event:?}") };
    // What the encoder adds, and unknown fields that are null, which it leaves out.
    for added in ["timestamp", "source", "event_id"] {
        if event.get(added).is_none() {
            again.fields_mut().shift_remove(added);
        }
    }
    event.fields_mut().retain(|_, value| !value.is_null());
    assert_eq!(again, event);
}
