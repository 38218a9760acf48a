//! Any body is a payload or is none, and what was read is the same after it was written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use synapse_realtime::{
    outbox::Outbox,
    socketio::payload::{decode, encode},
    websocket::{
        decoder::Message,
        frame::{self, OpCode},
    },
};

fuzz_target!(|body: &[u8]| {
    let Some(messages) = read(body.to_vec()) else { return };
    assert!(!messages.is_empty());
    let mut waiting = Outbox::default();
    for message in &messages {
        let (opcode, content) = match message {
            Message::Text(text) => (OpCode::Text, text.as_bytes()),
            Message::Binary(bytes) => (OpCode::Binary, &bytes[..]),
            other => panic!("no request carries {other:?}"),
        };
        let mut frame = Vec::new();
        frame::push_frame(&mut frame, opcode, content);
        waiting.push(frame.into());
    }
    assert_eq!(read(encode(&waiting)).as_ref(), Some(&messages));
});

fn read(body: Vec<u8>) -> Option<Vec<Message>> {
    decode(body.into()).map(Iterator::collect)
}
