//! What goes in comes out, in order, until it is done.

use std::os::unix::fs::PermissionsExt as _;

use super::{Bench, append, contents, drain, segment_files};
use crate::publisher::spool::{Spool, SpoolError};

#[test]
fn records_come_back_in_order_with_their_numbers() {
    let bench = Bench::new();
    let mut spool = bench.open();
    assert_eq!(spool.append([["a".as_bytes(), b"", b"b"], [b"c", b"d", b"e"]]).unwrap(), 0);
    assert_eq!(append(&mut spool, &[b"", b"f"]).unwrap(), 2);
    let expected: Vec<(u64, Vec<u8>)> =
        vec![(0, b"ab".into()), (1, b"cde".into()), (2, b"".into()), (3, b"f".into())];
    assert_eq!(drain(&mut spool), expected);
    assert_eq!((spool.first(), spool.next_read(), spool.end(), spool.len()), (0, 4, 4, 4));
}

#[test]
fn what_is_not_done_is_there_after_opening_again_and_what_is_done_is_not() {
    let bench = Bench::new();
    let mut spool = bench.open();
    append(&mut spool, &[b"a", b"b", b"c"]).unwrap();
    spool.settle(1, b"a note").unwrap();
    drop(spool);
    let mut spool = bench.open();
    assert_eq!((spool.first(), spool.end(), spool.note()), (1, 3, b"a note".as_slice()));
    assert_eq!(contents(&drain(&mut spool)), [b"b", b"c"]);
    append(&mut spool, &[b"d"]).unwrap();
    spool.settle(4, b"").unwrap();
    assert_eq!((spool.bytes(), spool.len()), (0, 0));
    drop(spool);
    let mut spool = bench.open();
    assert_eq!((spool.first(), spool.end(), spool.note()), (4, 4, b"".as_slice()));
    assert_eq!(append(&mut spool, &[b"e"]).unwrap(), 4, "numbers go on");
    assert_eq!(*spool.recovery(), super::super::Recovery::default(), "nothing was wrong");
}

#[test]
fn skipping_and_going_back_move_what_is_read_next() {
    let bench = Bench::new();
    let mut spool = bench.open();
    append(&mut spool, &[b"a", b"b", b"c", b"d"]).unwrap();
    spool.skip(2);
    assert_eq!(contents(&drain(&mut spool)), [b"c", b"d"]);
    spool.settle(1, b"").unwrap();
    spool.rewind();
    assert_eq!(contents(&drain(&mut spool)), [b"b", b"c", b"d"]);
    append(&mut spool, &[b"e"]).unwrap();
    assert_eq!(contents(&drain(&mut spool)), [b"e"], "reading goes on where it was");
    spool.skip(9);
    assert_eq!(spool.next_read(), 5, "there is nothing more to skip");
}

#[test]
fn a_full_spool_takes_nothing_until_something_is_done() {
    let bench = Bench::with_limit(1_000);
    let mut spool = bench.open();
    append(&mut spool, &[&[1; 400], &[2; 400]]).unwrap();
    let before = spool.bytes();
    let error = append(&mut spool, &[b"a", &[3; 400]]).unwrap_err();
    assert!(matches!(error, SpoolError::Full { bytes, limit: 1_000, .. } if bytes == before), "{error}");
    assert!(error.is_no_room());
    assert_eq!((spool.bytes(), spool.end()), (before, 2), "nothing of it was written");
    spool.settle(2, b"").unwrap();
    append(&mut spool, &[b"a", &[3; 400]]).unwrap();
    assert_eq!(contents(&drain(&mut spool)), [b"a".as_slice(), &[3; 400]]);
}

#[test]
fn what_is_done_of_one_batch_makes_room() {
    let bench = Bench::with_limit(1_000_000);
    let mut spool = bench.open();
    spool.append(std::iter::repeat_n([[1_u8; 988].as_slice()], 1_000)).unwrap();
    for before in (0..1_000).step_by(37) {
        spool.settle(before, b"").unwrap();
        let left = (1_000 - before) * 1_000;
        assert!((left..left + 17_500).contains(&spool.bytes()), "{} for {left}", spool.bytes());
    }
    append(&mut spool, &[&vec![2; 900_000]]).unwrap();
    spool.skip(1);
    let sizes: Vec<_> = drain(&mut spool).iter().map(|(number, record)| (*number, record.len())).collect();
    assert_eq!((spool.first(), sizes), (999, vec![(1_000, 900_000)]));
}

#[test]
fn segments_are_removed_when_they_are_done_and_the_last_one_is_emptied() {
    let bench = Bench::with_limit(16 * 64 * 1024);
    let mut spool = bench.open();
    for number in 0..64_u8 {
        append(&mut spool, &[&vec![number; 30_000]]).unwrap();
        // So that there is always a part that is done.
        spool.settle(u64::from(number).saturating_sub(20), b"").unwrap();
    }
    let files = segment_files(&bench.slot());
    assert!((2..12).contains(&files.len()), "{files:?}");
    let numbers: Vec<_> = drain(&mut spool).iter().map(|(number, record)| (*number, record[0])).collect();
    assert_eq!(numbers, (43..64).map(|number| (u64::from(number), number)).collect::<Vec<_>>());
    spool.settle(64, b"").unwrap();
    let files = segment_files(&bench.slot());
    assert_eq!(files.len(), 1);
    let len = bench.slot().join(&files[0]).metadata().unwrap().len();
    assert!(len < 1_000, "{len} bytes are left");
    append(&mut spool, &[b"next"]).unwrap();
    drop(spool);
    assert_eq!(drain(&mut bench.open()), [(64, b"next".to_vec())]);
}

#[test]
fn a_record_larger_than_what_is_asked_for_comes_alone() {
    let bench = Bench::new();
    let mut spool = bench.open();
    let large = vec![7; 3_000_000];
    append(&mut spool, &[b"a", &large, b"b"]).unwrap();
    let sizes: Vec<_> = std::iter::repeat_with(|| spool.read(1_000).unwrap())
        .take_while(|records| !records.is_empty())
        .map(|records| records.iter().map(|(_, record)| record.len()).collect::<Vec<_>>())
        .collect();
    assert_eq!(sizes, [vec![1], vec![3_000_000], vec![1]]);
}

#[test]
fn what_can_never_be_kept_is_refused() {
    let bench = Bench::new();
    let mut spool = bench.open();
    let error = append(&mut spool, &[b"a", &vec![0; 64 * 1024 * 1024 + 1]]).unwrap_err();
    assert!(matches!(error, SpoolError::RecordTooLarge { .. }), "{error}");
    assert_eq!(spool.end(), 0, "nothing was written");
    append(&mut spool, &[b"a"]).unwrap();
    let error = spool.settle(1, &vec![0; 1024 * 1024 + 1]).unwrap_err();
    assert!(matches!(error, SpoolError::NoteTooLarge { .. }), "{error}");
    assert_eq!(spool.first(), 0, "nothing was settled");
    assert_eq!(spool.append(std::iter::empty::<[&[u8]; 1]>()).unwrap(), 1, "nothing at all is fine");
    assert_eq!(spool.end(), 1);
}

#[test]
fn only_the_owner_may_look_into_it() {
    let bench = Bench::new();
    let mut spool = bench.open();
    append(&mut spool, &[b"a"]).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.config().dir), 0o700);
    assert_eq!(mode(&bench.slot()), 0o700);
    for entry in std::fs::read_dir(bench.slot()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn syncing_says_what_is_on_the_disk() {
    let bench = Bench::new();
    let mut spool = bench.open();
    assert!(spool.is_synced());
    append(&mut spool, &[b"a"]).unwrap();
    assert!(!spool.is_synced());
    spool.sync().unwrap();
    assert!(spool.is_synced());
    append(&mut spool, &[b"b"]).unwrap();
    spool.settle(2, b"").unwrap();
    assert!(spool.is_synced(), "nothing waits");
}

#[test]
fn a_spool_says_what_is_wrong_with_its_directory() {
    let bench = Bench::new();
    std::fs::write(bench.config().dir, b"a file").unwrap();
    for error in [bench.config().check().unwrap_err(), Spool::open_all(&bench.config()).err().unwrap()] {
        assert!(matches!(error, SpoolError::NotADirectory { .. }), "{error}");
    }
    let bench = Bench::new();
    bench.config().check().unwrap();
    assert_eq!(std::fs::read_dir(bench.config().dir).unwrap().count(), 0, "checking leaves nothing behind");
}
