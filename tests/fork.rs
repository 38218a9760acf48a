//! A child process does not repeat what its parent would have said.
//!
//! Alone in its file: the test forks, and only the thread that forks lives on in the child.

#![cfg(unix)]
#![expect(unsafe_code, reason = "fork and what belongs to it")]

use std::{
    collections::HashSet,
    fs::File,
    io::{Read, Write},
    os::fd::FromRawFd,
};

use synapse_rs::{Event, event::encode};

const IDS: usize = 100;
const ID_BYTES: usize = 36;

/// The ids of events encoded now, one after the other.
fn ids() -> Vec<u8> {
    let event = Event::new("error").with("error_type", "io").with("error_message", "disk full");
    let mut ids = Vec::new();
    for _ in 0..IDS {
        let mut body = Vec::new();
        let encoded = encode("error-events", &event, "test", &encode::Limits::default(), &mut body)
            .expect("the event is valid");
        ids.extend_from_slice(&body[encoded.event_id]);
    }
    ids
}

#[test]
fn a_forked_child_makes_other_event_ids_than_its_parent() {
    let before = ids();
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: the descriptors were just opened and are owned by nobody else.
    let (mut read, write) = unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) };
    // SAFETY: the child allocates (which glibc and musl allow after a fork), writes to the pipe and exits
    // without running destructors.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        let status = i32::from((&write).write_all(&ids()).is_err());
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(status) }
    }
    drop(write);
    let after = ids();
    let mut of_child = Vec::new();
    read.read_to_end(&mut of_child).expect("the pipe can be read");
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed");

    let all = [before, after, of_child].concat();
    let distinct: HashSet<_> = all.chunks(ID_BYTES).collect();
    assert_eq!(distinct.len(), 3 * IDS);
}
