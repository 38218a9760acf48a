use proptest::prelude::*;

use super::*;

fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut bytes = Vec::new();
    push_frame(&mut bytes, OpCode::Text, &[]);
    bytes.clear();
    push_header(&mut bytes, OpCode::Text, payload.len());
    bytes[0] = first;
    bytes[1] |= MASKED;
    bytes.extend_from_slice(&mask);
    let mut masked = payload.to_vec();
    unmask(&mut masked, mask);
    bytes.extend_from_slice(&masked);
    bytes
}

#[test]
fn lengths_are_written_in_the_shortest_of_three_forms() {
    for (payload, header) in [(0, 2), (125, 2), (126, 4), (0xFFFF, 4), (0x1_0000, 10)] {
        let mut out = Vec::new();
        push_header(&mut out, OpCode::Binary, payload);
        assert_eq!(out.len(), header, "payload of {payload} bytes");
    }
}

#[test]
fn refused_frames_are_told_apart() {
    let cases: [(&[u8], FrameError); 8] = [
        (&[0xC1, 0x80, 0, 0, 0, 0], FrameError::ReservedBits),
        (&[0x83, 0x80, 0, 0, 0, 0], FrameError::UnknownOpCode(3)),
        (&[0x81, 0x00], FrameError::NotMasked),
        (&[0x81, 0xFE, 0, 125, 0, 0, 0, 0], FrameError::MalformedLength),
        (&[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0], FrameError::MalformedLength),
        (&[0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], FrameError::MalformedLength),
        (&[0x09, 0x80, 0, 0, 0, 0], FrameError::MalformedControl),
        (&[0x89, 0xFE, 0, 126, 0, 0, 0, 0], FrameError::MalformedControl),
    ];
    for (bytes, error) in cases {
        assert_eq!(Header::parse(bytes), Err(error), "{bytes:02x?}");
    }
}

#[test]
fn a_long_close_reason_is_cut_between_characters() {
    let frame = close(3000, &"ä".repeat(100));
    assert_eq!(frame[1] as usize, frame.len() - 2);
    assert!(frame.len() <= 2 + MAX_CONTROL_PAYLOAD);
    assert!(std::str::from_utf8(&frame[4..]).is_ok());
}

proptest! {
    #[test]
    fn a_header_is_read_whole_or_not_at_all(payload in prop::collection::vec(any::<u8>(), 0..70_000)) {
        let bytes = client_frame(0x82, &payload);
        let header = Header::parse(&bytes).unwrap().expect("a whole frame");
        prop_assert_eq!(header.payload, payload.len() as u64);
        prop_assert_eq!(header.size + payload.len(), bytes.len());
        for cut in 0..header.size {
            prop_assert_eq!(Header::parse(&bytes[..cut]), Ok(None));
        }
        let mut unmasked = bytes[header.size..].to_vec();
        unmask(&mut unmasked, header.mask);
        prop_assert_eq!(unmasked, payload);
    }

    #[test]
    fn the_length_of_a_servers_frame_is_found(
        payload in prop::collection::vec(any::<u8>(), 0..70_000),
        after in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = Vec::new();
        push_frame(&mut bytes, OpCode::Text, &payload);
        let whole = bytes.len();
        bytes.extend_from_slice(&after);
        prop_assert_eq!(length_of(&bytes), whole);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = Header::parse(&bytes);
        prop_assert!(length_of(&bytes) <= bytes.len());
    }
}
