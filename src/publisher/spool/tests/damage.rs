//! Bytes that have changed cost the records they belong to, and nothing else comes of them.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use proptest::{collection::vec, prelude::*};

use super::{Bench, append, contents, drain, faults::spare_the_disk, segment_files};
use crate::publisher::spool::{Spool, header::HEADER_BYTES, record};

/// One with three segments, of which the first records are done, and its records.
fn filled() -> (Bench, BTreeMap<u64, Vec<u8>>) {
    let bench = Bench::new();
    let mut spool = bench.open();
    spool.segment_bytes = 2_000;
    let mut records = BTreeMap::new();
    for number in 0..30_u8 {
        let record = [number].repeat(100 + usize::from(number) * 3);
        append(&mut spool, &[&record]).unwrap();
        records.insert(u64::from(number), record);
    }
    assert_eq!(segment_files(&bench.slot()).len(), 3);
    spool.settle(3, b"a note").unwrap();
    let records = records.split_off(&3);
    (bench, records)
}

fn segments(bench: &Bench) -> Vec<PathBuf> {
    segment_files(&bench.slot()).iter().map(|name| bench.slot().join(name)).collect()
}

fn flip(path: &Path, bit: u64) {
    let mut byte = [0];
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << (bit % 8))], bit / 8).unwrap();
}

fn bits(path: &Path) -> u64 {
    path.metadata().unwrap().len() * 8
}

#[test]
fn a_damaged_record_is_passed_over_counted_and_kept_for_whoever_wants_to_look() {
    let (bench, mut records) = filled();
    let second = &segments(&bench)[1];
    // In the third record of the second segment.
    flip(second, (HEADER_BYTES as u64 + 300) * 8);
    let damaged = fs::read(second).unwrap();
    let mut spool = bench.open();
    let left: BTreeMap<_, _> = drain(&mut spool).into_iter().collect();
    records.retain(|number, _| left.contains_key(number));
    assert_eq!((left.len(), &left), (26, &records), "one of 27 is missing");
    let aside = second.with_extension("log.damaged");
    assert_eq!((spool.recovery().lost, &spool.recovery().damaged), (1, &vec![aside.clone()]));
    assert_eq!(spool.len(), 26);
    spool.rewind();
    assert_eq!(drain(&mut spool).len(), 26);
    assert_eq!(spool.recovery().lost, 1, "no loss counts twice");
    spool.settle(30, b"").unwrap();
    assert_eq!(fs::read(aside).unwrap(), damaged);
    assert!(!second.exists());
}

#[test]
fn what_is_lost_at_the_end_does_not_wait_for_ever() {
    let bench = Bench::new();
    let mut spool = bench.open();
    append(&mut spool, &[b"a", b"b"]).unwrap();
    flip(&segments(&bench)[0], (HEADER_BYTES + record::FRAME_BYTES + 1 + record::FRAME_BYTES) as u64 * 8);
    assert_eq!(contents(&drain(&mut spool)), [b"a"]);
    assert_eq!((spool.recovery().lost, spool.len(), spool.next_read()), (1, 1, 2));
    spool.settle(1, b"").unwrap();
    assert!(spool.is_empty(), "nothing is left that could be settled");
    assert_eq!(append(&mut spool, &[b"c"]).unwrap(), 2);
    assert_eq!(contents(&drain(&mut spool)), [b"c"]);
}

#[test]
fn a_segment_without_a_readable_header_is_lost_as_a_whole_and_the_next_one_is_not() {
    let (bench, records) = filled();
    fs::write(&segments(&bench)[1], vec![7; 2_000]).unwrap();
    let mut spool = bench.open();
    let left = drain(&mut spool);
    assert!(left.iter().all(|(number, record)| records[number] == *record));
    assert_eq!(spool.recovery().lost + left.len() as u64, 27);
    assert!(left.iter().any(|(number, _)| *number == 29) && left.iter().any(|(number, _)| *number == 3));
}

#[test]
fn one_copy_of_the_header_is_enough() {
    for byte in [0, 40] {
        let (bench, records) = filled();
        flip(&segments(&bench)[2], byte * 8);
        let mut spool = bench.open();
        assert_eq!(drain(&mut spool), records.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn without_a_cursor_everything_begins_anew() {
    let (bench, records) = filled();
    for copy in 0..3 {
        fs::write(bench.slot().join(format!("cursor.{copy}")), b"?").unwrap();
    }
    let mut spool = bench.open();
    assert!(spool.recovery().is_cursor_lost);
    assert_eq!((spool.first(), spool.note()), (0, b"".as_slice()));
    assert_eq!(drain(&mut spool).split_off(3), records.into_iter().collect::<Vec<_>>());
}

#[test]
fn what_a_later_version_has_written_is_left_alone() {
    let rewrite = |path: &Path, end: usize| {
        // The format, and the checksum with which it is sound.
        let mut bytes = fs::read(path).unwrap();
        bytes[8] = 2;
        let checksum = record::checksum(0, &bytes[..end]);
        bytes[end..end + 4].copy_from_slice(&checksum.to_le_bytes());
        fs::write(path, bytes).unwrap();
    };
    // The cursor's first copy is the second of its files.
    for name in ["cursor.1", "00000000000000000000.log"] {
        let bench = Bench::new();
        append(&mut bench.open(), &[b"a"]).unwrap();
        let path = bench.slot().join(name);
        // Both have their checksum behind 32 bytes.
        rewrite(&path, 32);
        let before = fs::read(&path).unwrap();
        let spools = Spool::open_all(&bench.config()).unwrap();
        // Another slot is taken, and it says why not this one.
        let skipped = &spools.back().unwrap().recovery().skipped;
        assert!(spools.len() == 1 && spools[0].is_empty());
        assert!(skipped.len() == 1 && skipped[0].contains(name) && skipped[0].contains('2'), "{skipped:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_record_that_lies_within_another_is_not_taken_for_one() {
    // As it would lie in the same place of another spool.
    let other = Bench::new();
    append(&mut other.open(), &[b"a", b"forged", b"b"]).unwrap();
    let bytes = fs::read(&segments(&other)[0]).unwrap();
    let forged = &bytes[HEADER_BYTES + 13..];

    let bench = Bench::new();
    append(&mut bench.open(), &[b"a", forged, b"c"]).unwrap();
    // The length of the one around it.
    flip(&segments(&bench)[0], (HEADER_BYTES as u64 + 13 + 4) * 8);
    let mut spool = bench.open();
    assert_eq!(drain(&mut spool), [(0, b"a".to_vec()), (2, b"c".to_vec())]);
    assert_eq!(spool.recovery().lost, 1);
}

#[test]
fn a_record_in_another_place_than_its_own_is_none() {
    let bench = Bench::new();
    append(&mut bench.open(), &[b"a", b"b", b"c"]).unwrap();
    let segment = &segments(&bench)[0];
    let bytes = fs::read(segment).unwrap();
    let (header, records) = bytes.split_at(HEADER_BYTES);
    // The third in place of the second, as if a block of an earlier use had come back.
    fs::write(segment, [header, &records[..13], &records[26..], &records[26..]].concat()).unwrap();
    let mut spool = bench.open();
    assert_eq!(drain(&mut spool), [(0, b"a".to_vec()), (2, b"c".to_vec())]);
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Flip(u64),
    Overwrite(u64, u8, u8),
    Truncate(u64),
    Append(u16, u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<u64>().prop_map(Change::Flip),
        (any::<u64>(), any::<u8>(), any::<u8>())
            .prop_map(|(at, count, with)| Change::Overwrite(at, count, with)),
        any::<u64>().prop_map(Change::Truncate),
        (any::<u16>(), any::<u8>()).prop_map(|(count, with)| Change::Append(count, with)),
    ]
}

impl Change {
    fn make(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let place = |at: u64| usize::try_from(at % (bytes.len().max(1) as u64)).unwrap();
        match self {
            Self::Flip(at) if !bytes.is_empty() => {
                let at = place(at / 8) * 8 + usize::try_from(at % 8).unwrap();
                bytes[at / 8] ^= 1 << (at % 8);
            }
            Self::Flip(_) => {}
            Self::Overwrite(at, count, with) => {
                let at = place(at);
                bytes.iter_mut().skip(at).take(count.into()).for_each(|byte| *byte = with);
            }
            Self::Truncate(at) => bytes.truncate(place(at)),
            Self::Append(count, with) => bytes.resize(bytes.len() + usize::from(count), with),
        }
        fs::write(path, bytes).unwrap();
    }
}

proptest! {
    #[test]
    fn one_bit_costs_one_record_at_most(segment in 0..3_usize, bit in any::<u64>()) {
        spare_the_disk();
        let (bench, records) = filled();
        let path = &segments(&bench)[segment];
        flip(path, bit % bits(path));
        let mut spool = bench.open();
        let left = drain(&mut spool);
        prop_assert!(left.iter().all(|(number, record)| records[number] == *record));
        prop_assert!(left.len() >= 26, "{} of 27 are left", left.len());
        let recovery = spool.recovery();
        prop_assert_eq!(recovery.lost > 0 || recovery.torn_bytes > 0, left.len() < 27, "{:?}", recovery);
    }

    #[test]
    fn whatever_happens_to_the_files_nothing_comes_out_that_did_not_go_in(
        changes in vec((any::<prop::sample::Index>(), change()), 1..6),
    ) {
        spare_the_disk();
        let (bench, mut records) = filled();
        let mut spool = bench.open();
        spool.rewind();
        // Those that are done may come back.
        records.extend((0..3_u8).map(|number| (number.into(), [number].repeat(100 + usize::from(number) * 3))));
        drop(spool);
        let mut paths = segments(&bench);
        paths.extend((0..3).map(|copy| bench.slot().join(format!("cursor.{copy}"))));
        for (index, change) in changes {
            change.make(&paths[index.index(paths.len())]);
        }
        let mut spool = bench.open();
        let left = drain(&mut spool);
        prop_assert!(left.is_sorted_by(|one, next| one.0 < next.0));
        prop_assert!(left.iter().all(|(number, record)| records.get(number) == Some(record)));
        // It works on.
        let number = append(&mut spool, &[b"next"]).unwrap();
        prop_assert_eq!(drain(&mut spool), [(number, b"next".to_vec())]);
        spool.settle(number, b"another note").unwrap();
        drop(spool);
        let mut spool = bench.open();
        prop_assert_eq!(spool.note(), b"another note");
        prop_assert_eq!(drain(&mut spool), [(number, b"next".to_vec())]);
    }

    #[test]
    fn random_files_are_opened_and_nothing_is_found_in_them(
        files in vec((0..6_u64, vec(any::<u8>(), 0..300), any::<bool>()), 0..5),
        cursor in vec(any::<u8>(), 0..100),
    ) {
        spare_the_disk();
        let bench = Bench::new();
        drop(bench.open());
        for (number, bytes, is_begun) in &files {
            let mut file = Vec::new();
            if *is_begun {
                crate::publisher::spool::header::Header::new(*number).write(&mut file);
            }
            file.extend_from_slice(bytes);
            fs::write(bench.slot().join(format!("{number:020}.log")), file).unwrap();
        }
        fs::write(bench.slot().join("cursor.0"), cursor).unwrap();
        let mut spool = bench.open();
        prop_assert_eq!(drain(&mut spool), []);
        append(&mut spool, &[b"next"]).unwrap();
        prop_assert_eq!(drain(&mut spool).pop().unwrap().1, b"next");
    }
}
