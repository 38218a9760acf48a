//! Any bytes of a client are messages or are refused, the same however they are cut; any request is a handshake or is
//! refused.
//!
//! The input is how long the first piece is, and the bytes; or, as text, headers of a request.

#![no_main]

use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use synapse_realtime::websocket::{
    decoder::{DecodeError, Decoder, Message},
    handshake::{Handshake, HandshakeError},
};

const LIMIT: usize = 1 << 12;

fuzz_target!(|input: &[u8]| {
    let [cut, bytes @ ..] = input else { return };
    let whole = read([bytes]);
    let (first, rest) = bytes.split_at(bytes.len().min(usize::from(*cut)));
    assert_eq!(read([first, rest]), whole);
    for message in whole.0 {
        match message {
            Message::Text(text) => assert!(text.len() <= LIMIT),
            Message::Binary(bytes) => assert!(bytes.len() <= LIMIT),
            Message::Ping(payload) => assert!(payload.len() <= 125),
            Message::Pong | Message::Close(_) => {}
        }
    }
    if let Ok(text) = std::str::from_utf8(input) {
        shake_hands(text);
    }
});

/// All messages up to the end, or to what can't be read.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Option<DecodeError>) {
    let mut decoder = Decoder::new(LIMIT);
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.extend(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

fn shake_hands(text: &str) {
    let mut request = Request::new(());
    for line in text.lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            // A map of headers takes no more than 2^15.
            let _ = request.headers_mut().try_append(name, value);
        }
    }
    // There is no connection that could be handed over.
    let refused = Handshake::of(&mut request).expect_err("no connection");
    let headers = request.headers();
    if refused == HandshakeError::NotUpgradable {
        assert_eq!(headers["sec-websocket-version"], "13");
        assert_eq!(headers["sec-websocket-key"].len(), 24);
    }
}
