use proptest::prelude::*;

use super::*;

fn text(message: &str) -> Message {
    Message::Text(message.to_owned())
}

fn read(payload: impl Into<Bytes>) -> Option<Vec<Message>> {
    decode(payload.into()).map(Iterator::collect)
}

#[test]
fn a_payload_has_the_packets_of_the_protocols_example() {
    // From the specification of Engine.IO 4, "Encoding".
    assert_eq!(read(&b"4hello\x1e2\x1e4world"[..]), Some(vec![text("4hello"), text("2"), text("4world")]));
    assert_eq!(
        read(&b"4hello\x1ebAQIDBA=="[..]),
        Some(vec![text("4hello"), Message::Binary(vec![1, 2, 3, 4])])
    );
}

#[test]
fn what_is_no_payload_is_refused() {
    for refused in [&b""[..], b"4a\x1e", b"\x1e4a", b"4a\x1e\x1e4b", b"b!", b"4\xff"] {
        assert_eq!(read(refused), None, "{refused:?}");
    }
}

proptest! {
    #[test]
    fn what_waits_arrives_as_it_was(sent in prop::collection::vec(prop_oneof![
        "4[^\u{1e}]{0,300}".prop_map(Message::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Message::Binary),
    ], 1..20)) {
        let mut waiting = Outbox::default();
        for message in &sent {
            let mut frame = Vec::new();
            match message {
                Message::Text(text) => frame::push_frame(&mut frame, OpCode::Text, text.as_bytes()),
                Message::Binary(bytes) => frame::push_frame(&mut frame, OpCode::Binary, bytes),
                _ => unreachable!("only these are sent"),
            }
            waiting.push(frame.into());
        }
        prop_assert_eq!(read(encode(&waiting)), Some(sent));
    }

    #[test]
    fn no_payload_breaks_the_parser(bytes: Vec<u8>) {
        let _ = read(bytes);
    }
}
