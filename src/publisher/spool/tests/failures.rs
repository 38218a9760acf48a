//! A disk that fails leaves what was there before.

use super::{
    Bench, append, contents, drain,
    faults::{Fault, fail},
    segment_files,
};
use crate::publisher::spool::{Spool, SpoolError, disk::Operation};

#[test]
fn an_append_that_finds_no_room_leaves_nothing_behind() {
    // Nothing written, half of a record, one record and a half.
    for bytes in [0, 50, 170] {
        let bench = Bench::new();
        let mut spool = bench.open();
        append(&mut spool, &[b"before"]).unwrap();
        let len = || bench.slot().join(&segment_files(&bench.slot())[0]).metadata().unwrap().len();
        let before = len();
        {
            let _failing = fail([Fault { bytes, ..Fault::next(Operation::Write) }]);
            let error = append(&mut spool, &[&[1; 100], &[2; 100]]).unwrap_err();
            assert!(error.is_no_room(), "{error}");
        }
        assert_eq!((spool.end(), len()), (1, before));
        assert_eq!(append(&mut spool, &[b"after"]).unwrap(), 1);
        assert_eq!(contents(&drain(&mut spool)), [b"before".as_slice(), b"after"]);
        drop(spool);
        assert_eq!(contents(&drain(&mut bench.open())), [b"before".as_slice(), b"after"]);
    }
}

#[test]
fn the_first_append_that_finds_no_room_leaves_no_file() {
    let bench = Bench::new();
    let mut spool = bench.open();
    {
        let _failing = fail([Fault { bytes: 80, ..Fault::next(Operation::Write) }]);
        append(&mut spool, &[&[1; 100]]).unwrap_err();
    }
    assert_eq!((spool.end(), segment_files(&bench.slot())), (0, vec![]));
    append(&mut spool, &[b"after"]).unwrap();
    assert_eq!(contents(&drain(&mut spool)), [b"after"]);
}

/// The disk fills up within a batch, and what was written of it can't be taken back.
fn spool_with_a_stuck_half(bench: &Bench) -> Spool {
    let mut spool = bench.open();
    append(&mut spool, &[b"before"]).unwrap();
    let _failing = fail([Fault { bytes: 170, ..Fault::next(Operation::Write) }, Fault::next(Operation::Cut)]);
    append(&mut spool, &[&[1; 100], &[2; 100]]).unwrap_err();
    spool
}

#[test]
fn what_can_not_be_taken_back_is_no_part_of_the_log() {
    let bench = Bench::new();
    let mut spool = spool_with_a_stuck_half(&bench);
    assert_eq!(append(&mut spool, &[b"after"]).unwrap(), 1, "it goes on in a new segment");
    assert_eq!(segment_files(&bench.slot()).len(), 2);
    assert_eq!(contents(&drain(&mut spool)), [b"before".as_slice(), b"after"]);
    drop(spool);
    let mut spool = bench.open();
    assert_eq!(contents(&drain(&mut spool)), [b"before".as_slice(), b"after"]);
    assert_eq!(spool.recovery().lost, 0);
}

#[test]
fn what_can_not_be_taken_back_from_an_emptied_segment_is_no_part_of_the_log_either() {
    let bench = Bench::new();
    let mut spool = bench.open();
    append(&mut spool, &[&vec![0; 100_000]]).unwrap();
    spool.settle(1, b"").unwrap();
    {
        let _failing =
            fail([Fault { bytes: 170, ..Fault::next(Operation::Write) }, Fault::next(Operation::Cut)]);
        append(&mut spool, &[&[1; 100], &[2; 100]]).unwrap_err();
    }
    append(&mut spool, &[b"after"]).unwrap();
    assert_eq!(drain(&mut spool), [(1, b"after".to_vec())]);
    drop(spool);
    // Not even when it is not known any more what was done.
    for copy in 0..3 {
        std::fs::remove_file(bench.slot().join(format!("cursor.{copy}"))).unwrap();
    }
    assert_eq!(drain(&mut bench.open()), [(1, b"after".to_vec())]);
}

#[test]
fn a_segment_sealed_before_it_had_a_record_makes_room_for_the_next() {
    let bench = Bench::new();
    append(&mut bench.open(), &[b"torn"]).unwrap();
    let segment = bench.slot().join(&segment_files(&bench.slot())[0]);
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..bytes.len() - 1]).unwrap();
    let mut spool = bench.open();
    assert_eq!((spool.end(), segment_files(&bench.slot()).len()), (0, 1), "nothing is left but the header");
    {
        let _failing =
            fail([Fault { bytes: 5, ..Fault::next(Operation::Write) }, Fault::next(Operation::Cut)]);
        append(&mut spool, &[b"refused"]).unwrap_err();
    }
    append(&mut spool, &[b"a"]).unwrap();
    spool.settle(0, b"").unwrap();
    append(&mut spool, &[b"b"]).unwrap();
    assert_eq!(contents(&drain(&mut spool)), [b"a", b"b"]);
    drop(spool);
    assert_eq!(contents(&drain(&mut bench.open())), [b"a", b"b"]);
}

#[test]
fn after_a_failed_sync_the_segment_is_written_anew() {
    let bench = Bench::new();
    let mut spool = bench.open();
    append(&mut spool, &[b"a", b"b"]).unwrap();
    let segment = bench.slot().join(&segment_files(&bench.slot())[0]);
    let inode = || std::os::unix::fs::MetadataExt::ino(&segment.metadata().unwrap());
    let before = inode();
    {
        let _failing = fail([Fault::next(Operation::Sync)]);
        spool.sync().unwrap();
    }
    assert_ne!(inode(), before, "it is another file");
    assert!(spool.is_synced());
    append(&mut spool, &[b"c"]).unwrap();
    assert_eq!(contents(&drain(&mut spool)), [b"a", b"b", b"c"]);
    drop(spool);
    assert_eq!(contents(&drain(&mut bench.open())), [b"a", b"b", b"c"]);
}

#[test]
fn what_follows_goes_into_the_file_that_was_written_anew() {
    let bench = Bench::new();
    let mut spool = bench.open();
    append(&mut spool, &[b"a"]).unwrap();
    {
        // The segment's, and that of the directory which has its new name.
        let faults = [Fault::next(Operation::Sync), Fault { after: 1, ..Fault::next(Operation::Sync) }];
        let _failing = fail(faults);
        spool.sync().unwrap_err();
    }
    assert!(!spool.is_synced());
    append(&mut spool, &[b"b"]).unwrap();
    drop(spool);
    assert_eq!(contents(&drain(&mut bench.open())), [b"a", b"b"]);
}

#[test]
fn a_sync_that_fails_for_good_says_so_and_is_never_taken_for_done() {
    let bench = Bench::new();
    let mut spool = bench.open();
    append(&mut spool, &[b"a"]).unwrap();
    let segment = bench.slot().join(&segment_files(&bench.slot())[0]);
    let inode = || std::os::unix::fs::MetadataExt::ino(&segment.metadata().unwrap());
    let before = inode();
    {
        let _failing = fail([Fault { times: u32::MAX, ..Fault::next(Operation::Sync) }]);
        let error = spool.sync().unwrap_err();
        assert!(matches!(error, SpoolError::Io { .. }), "{error}");
    }
    assert!(!spool.is_synced());
    assert_eq!(inode(), before);
    append(&mut spool, &[b"b"]).unwrap();
    spool.sync().unwrap();
    assert_ne!(inode(), before, "the system says only once that it has lost something");
    assert!(spool.is_synced());
    assert_eq!(contents(&drain(&mut spool)), [b"a", b"b"]);
    assert_eq!(segment_files(&bench.slot()).len(), 1);
}

#[test]
fn room_that_is_made_by_settling_serves_the_settling() {
    let bench = Bench::with_limit(16 * 64 * 1024);
    let mut spool = bench.open();
    for number in 0..20_u8 {
        append(&mut spool, &[&vec![number; 30_000]]).unwrap();
    }
    {
        let _failing = fail([Fault::next(Operation::Write)]);
        spool.settle(15, b"a note").unwrap();
    }
    drop(spool);
    let spool = bench.open();
    assert_eq!((spool.first(), spool.note()), (15, b"a note".as_slice()));
}
