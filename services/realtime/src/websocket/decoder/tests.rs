use proptest::prelude::*;

use super::*;
use crate::websocket::frame::push_header;

const LIMIT: usize = 1_000;

fn frame(last: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_header(&mut bytes, opcode, payload.len());
    bytes[0] = if last { bytes[0] } else { bytes[0] & 0x7F };
    bytes[1] |= 0x80;
    bytes.extend_from_slice(&[9, 8, 7, 6]);
    let mut masked = payload.to_vec();
    unmask(&mut masked, [9, 8, 7, 6]);
    bytes.extend(masked);
    bytes
}

fn decode(frames: &[Vec<u8>]) -> Result<Vec<Message>, DecodeError> {
    let mut decoder = Decoder::new(LIMIT);
    decoder.extend(&frames.concat());
    let mut messages = Vec::new();
    while let Some(message) = decoder.next_message()? {
        messages.push(message);
    }
    Ok(messages)
}

#[test]
fn control_frames_come_between_the_parts_of_a_message() {
    let messages = decode(&[
        frame(false, OpCode::Text, b"hel"),
        frame(true, OpCode::Ping, b"?"),
        frame(false, OpCode::Continuation, b""),
        frame(true, OpCode::Continuation, b"lo"),
    ]);
    assert_eq!(messages.unwrap(), [Message::Ping(b"?".to_vec()), Message::Text("hello".to_owned())]);
}

#[test]
fn a_character_may_be_split_between_frames() {
    let messages = decode(&[frame(false, OpCode::Text, &[0xC3]), frame(true, OpCode::Continuation, &[0xA4])]);
    assert_eq!(messages.unwrap(), [Message::Text("ä".to_owned())]);
}

#[test]
fn a_message_in_parts_of_nothing_has_an_end() {
    let mut frames = vec![frame(false, OpCode::Text, b"x")];
    frames.resize(MAX_PARTS - 1, frame(false, OpCode::Continuation, b""));
    let mut whole = frames.clone();
    whole.push(frame(true, OpCode::Continuation, b""));
    let message = Message::Text("x".to_owned());
    assert_eq!(decode(&[whole.clone(), whole].concat()), Ok(vec![message.clone(), message]));
    frames.push(frame(false, OpCode::Continuation, b""));
    assert_eq!(decode(&frames), Err(DecodeError::TooManyParts));
}

#[test]
fn parts_out_of_order_are_refused() {
    assert_eq!(decode(&[frame(true, OpCode::Continuation, b"x")]), Err(DecodeError::OutOfOrder));
    let nested = [frame(false, OpCode::Text, b"x"), frame(true, OpCode::Text, b"y")];
    assert_eq!(decode(&nested), Err(DecodeError::OutOfOrder));
}

#[test]
fn a_message_too_large_is_refused_by_its_header_alone() {
    let mut decoder = Decoder::new(LIMIT);
    decoder.extend(&frame(true, OpCode::Binary, &[0; LIMIT + 1])[..8]);
    assert_eq!(decoder.next_message(), Err(DecodeError::TooLarge { limit: LIMIT }));
    let parts = [frame(false, OpCode::Binary, &[0; 600]), frame(true, OpCode::Continuation, &[0; 401])];
    assert_eq!(decode(&parts), Err(DecodeError::TooLarge { limit: LIMIT }));
}

#[test]
fn a_message_of_exactly_the_limit_is_taken() {
    let parts = [frame(false, OpCode::Binary, &[0; 600]), frame(true, OpCode::Continuation, &[0; 400])];
    assert_eq!(decode(&parts).unwrap(), [Message::Binary(vec![0; LIMIT])]);
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    assert_eq!(decode(&[frame(true, OpCode::Text, &[0xFF])]), Err(DecodeError::NotUtf8));
}

#[test]
fn close_frames_carry_a_code_that_may_be_sent_or_nothing() {
    assert_eq!(decode(&[frame(true, OpCode::Close, b"")]).unwrap(), [Message::Close(None)]);
    assert_eq!(decode(&[frame(true, OpCode::Close, &[0x03, 0xE8])]).unwrap(), [Message::Close(Some(1000))]);
    for payload in [&[0x03][..], &[0x03, 0xED], &[0x00, 0x01], &[0x03, 0xE8, 0xFF]] {
        let refused = decode(&[frame(true, OpCode::Close, payload)]);
        assert_eq!(refused, Err(DecodeError::MalformedClose), "{payload:02x?}");
    }
}

#[test]
fn no_memory_is_held_between_messages() {
    let mut decoder = Decoder::new(LIMIT);
    decoder.extend(&frame(true, OpCode::Text, &[b'x'; 500]));
    assert!(decoder.next_message().unwrap().is_some());
    assert_eq!(decoder.next_message(), Ok(None));
    assert_eq!(decoder.input.capacity(), 0);
}

proptest! {
    #[test]
    fn messages_are_the_same_however_they_are_cut(
        texts in prop::collection::vec("\\PC{0,60}", 1..10),
        parts in prop::collection::vec(1_usize..20, 10),
        reads in prop::collection::vec(1_usize..50, 1..100),
    ) {
        let mut bytes = Vec::new();
        for (text, part) in texts.iter().zip(&parts) {
            let pieces: Vec<&[u8]> = if text.is_empty() { vec![b""] } else { text.as_bytes().chunks(*part).collect() };
            for (index, piece) in pieces.iter().enumerate() {
                let opcode = if index == 0 { OpCode::Text } else { OpCode::Continuation };
                bytes.extend(frame(index + 1 == pieces.len(), opcode, piece));
            }
        }
        let mut decoder = Decoder::new(LIMIT);
        let mut messages = Vec::new();
        let mut sizes = reads.iter().cycle();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (read, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            decoder.extend(read);
            rest = later;
            while let Some(message) = decoder.next_message().unwrap() {
                messages.push(message);
            }
        }
        let expected: Vec<_> = texts.into_iter().map(Message::Text).collect();
        prop_assert_eq!(messages, expected);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::new(LIMIT);
        decoder.extend(&bytes);
        while let Ok(Some(_)) = decoder.next_message() {}
    }
}
