use std::io::IoSlice;

use proptest::prelude::*;

use super::*;
use crate::websocket::frame::{OpCode, push_frame};

fn frames(payloads: &[&str]) -> (Bytes, Vec<usize>) {
    let mut buffer = Vec::new();
    let mut ends = vec![0];
    for payload in payloads {
        push_frame(&mut buffer, OpCode::Text, payload.as_bytes());
        ends.push(buffer.len());
    }
    (buffer.into(), ends)
}

fn waiting(outbox: &Outbox) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let count = outbox.slices(&mut slices);
    slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
}

fn slice_count(outbox: &Outbox) -> usize {
    outbox.slices(&mut [IoSlice::new(&[]); MAX_SLICES])
}

#[test]
fn pieces_that_follow_each_other_in_a_buffer_become_one() {
    let (buffer, ends) = frames(&["one", "two", "three"]);
    let mut outbox = Outbox::default();
    for pair in ends.windows(2) {
        outbox.push(Piece::new(buffer.clone(), pair[0], pair[1]));
    }
    assert_eq!(slice_count(&outbox), 1);
    assert_eq!(waiting(&outbox), buffer);
}

#[test]
fn the_rest_of_a_started_block_of_text_is_kept_as_well() {
    let blocks = "event: a\ndata: one\n\nevent: b\ndata: two\n\nevent: c\ndata: three\n\n";
    let (second, third) = (20, 40);
    let mut outbox = Outbox::default();
    outbox.push(Bytes::from(blocks).into());
    outbox.advance(second + 3);
    outbox.detach();
    outbox.keep_started_frame();
    assert_eq!(waiting(&outbox), blocks.as_bytes()[second + 3..third]);

    let mut outbox = Outbox::default();
    outbox.push(Bytes::from(blocks).into());
    outbox.advance(second);
    outbox.keep_started_frame();
    assert!(outbox.is_empty(), "nothing of it has been sent");
}

#[test]
fn a_gap_in_the_buffer_keeps_pieces_apart() {
    let (buffer, ends) = frames(&["one", "two", "three"]);
    let mut outbox = Outbox::default();
    outbox.push(Piece::new(buffer.clone(), ends[0], ends[1]));
    outbox.push(Piece::new(buffer.clone(), ends[2], ends[3]));
    assert_eq!(slice_count(&outbox), 2);
    assert_eq!(waiting(&outbox), [&buffer[..ends[1]], &buffer[ends[2]..]].concat());
}

#[test]
fn only_the_rest_of_a_started_frame_is_kept() {
    let (buffer, ends) = frames(&["one", "two", "three"]);
    let mut outbox = Outbox::default();
    outbox.push(buffer.clone().into());
    outbox.advance(ends[1] + 2);
    outbox.keep_started_frame();
    assert_eq!(waiting(&outbox), buffer[ends[1] + 2..ends[2]]);
    assert_eq!(outbox.bytes(), ends[2] - ends[1] - 2);
}

#[test]
fn nothing_is_kept_when_no_frame_has_been_started() {
    let (buffer, ends) = frames(&["one", "two"]);
    let mut outbox = Outbox::default();
    outbox.push(buffer.into());
    outbox.advance(ends[1]);
    outbox.keep_started_frame();
    assert!(outbox.is_empty());
    assert_eq!(outbox.bytes(), 0);
}

#[test]
fn a_small_part_of_a_large_buffer_is_copied_when_it_must_wait() {
    let long = "x".repeat(1_000);
    let (buffer, ends) = frames(&["started", &long]);
    let mut outbox = Outbox::default();
    outbox.push(Piece::new(buffer.clone(), ends[0], ends[1]));
    outbox.advance(3);
    outbox.detach();
    assert!(outbox.pieces[0].buffer.len() < 20, "the large buffer is still held");
    assert_eq!(waiting(&outbox), buffer[3..ends[1]]);
    outbox.keep_started_frame();
    assert_eq!(waiting(&outbox), buffer[3..ends[1]], "the copy forgot where its frame begins");
}

proptest! {
    #[test]
    fn what_goes_in_comes_out_in_order_however_it_is_written(
        payloads in prop::collection::vec("[a-z]{0,40}", 1..40),
        skip in prop::collection::vec(any::<bool>(), 40),
        writes in prop::collection::vec(1_usize..60, 1..200),
        detach in any::<bool>(),
    ) {
        let refs: Vec<&str> = payloads.iter().map(String::as_str).collect();
        let (buffer, ends) = frames(&refs);
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for (pair, skip) in ends.windows(2).zip(skip) {
            if !skip {
                outbox.push(Piece::new(buffer.clone(), pair[0], pair[1]));
                expected.extend_from_slice(&buffer[pair[0]..pair[1]]);
            }
        }
        let mut written = Vec::new();
        for count in writes {
            let count = count.min(outbox.bytes());
            written.extend(waiting_prefix(&outbox, count));
            outbox.advance(count);
            if detach {
                outbox.detach();
            }
            let mut taken = std::mem::take(&mut outbox);
            std::mem::swap(&mut outbox, &mut taken);
            outbox.put_back(taken);
        }
        while !outbox.is_empty() {
            let rest = waiting(&outbox);
            outbox.advance(rest.len());
            written.extend(rest);
        }
        prop_assert_eq!(written, expected);
        prop_assert_eq!(outbox.bytes(), 0);
    }
}

fn waiting_prefix(outbox: &Outbox, count: usize) -> Vec<u8> {
    let all: Vec<u8> = outbox.pieces.iter().flat_map(|piece| piece.as_bytes().to_vec()).collect();
    all[..count].to_vec()
}

#[test]
fn frames_are_taken_whole_and_in_order() {
    let batch: Vec<u8> = (0..5).flat_map(|n| frame::text(&n.to_string())).collect();
    let mut outbox = Outbox::default();
    outbox.push(Bytes::from(batch).into());
    outbox.push(frame::text("5").into());
    let mut seen = Vec::new();
    loop {
        let before = outbox.bytes();
        let taken = outbox.take_frames(2);
        assert_eq!(taken.bytes() + outbox.bytes(), before);
        if taken.is_empty() {
            break;
        }
        assert!(taken.frames().count() <= 2);
        seen.extend(taken.frames().map(<[u8]>::to_vec));
    }
    assert_eq!(seen, (0..6).map(|n| frame::text(&n.to_string())).collect::<Vec<_>>());
    assert_eq!(outbox.bytes(), 0);
}
