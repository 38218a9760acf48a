//! Processes that share a directory, fork, and are killed.
//!
//! The other processes are this test binary, started for one of the ignored tests below, in the directory that the
//! environment names. What they say begins with `#`.

use std::{
    io::{BufRead as _, BufReader, Lines, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use super::{append, drain, owned};
use crate::publisher::spool::{Spool, SpoolConfig, SpoolError};

const DIR_VARIABLE: &str = "SYNAPSE_TEST_SPOOL_DIR";

/// How often a process is killed.
const KILLS: usize = 25;

struct Process {
    child: Child,
    /// While it is open, the process waits where it is to wait.
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts one of the ignored tests as a process of its own.
    fn start(test: &str, dir: &Path) -> Self {
        Self::start_as(Command::new(std::env::current_exe().unwrap()), test, dir)
    }

    fn start_as(mut command: Command, test: &str, dir: &Path) -> Self {
        let test = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
        command.args(["--exact", &test, "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(DIR_VARIABLE, dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { stdin: child.stdin.take(), child, lines }
    }

    /// What it says next.
    fn hear(&mut self) -> String {
        let said =
            self.lines.by_ref().map(Result::unwrap).find_map(|line| Some(line.strip_prefix('#')?.to_owned()));
        said.expect("the process has ended early")
    }

    fn hear_number(&mut self) -> u64 {
        self.hear().parse().unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has it go on; it must end well.
    fn finish(mut self) {
        drop(self.stdin.take());
        for line in self.lines.by_ref() {
            println!("{}", line.unwrap());
        }
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(what: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n#{what}").unwrap();
    out.flush().unwrap();
}

/// Until whoever started this process lets it go on, or is gone.
fn wait() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn config() -> SpoolConfig {
    SpoolConfig::new(PathBuf::from(std::env::var_os(DIR_VARIABLE).expect("it is started by another test")))
}

fn open_last(config: &SpoolConfig) -> Spool {
    Spool::open_all(config).unwrap().pop_back().unwrap()
}

fn content(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(usize::try_from(number % 60).unwrap())
}

#[test]
fn what_was_appended_survives_kill_9_at_any_moment() {
    let dir = TempDir::new().unwrap();
    let config = SpoolConfig::new(dir.path());
    for turn in 0..KILLS {
        let mut process = Process::start("appends_until_it_is_killed", dir.path());
        let mut appended = process.hear_number();
        for _ in 0..turn * 7 {
            appended = process.hear_number();
        }
        process.kill();
        let mut spool = open_last(&config);
        assert!(spool.end() >= appended, "{} of {appended} are there", spool.end());
        let done: u64 = String::from_utf8(spool.note().to_vec()).unwrap().parse().unwrap_or(0);
        assert_eq!(spool.first(), done, "the note is kept with what is done");
        let expected: Vec<_> = (done..spool.end()).map(|number| (number, content(number))).collect();
        assert_eq!(drain(&mut spool), expected);
        assert_eq!(spool.recovery().lost, 0);
    }
}

#[test]
#[ignore = "it never ends by itself: others start it"]
fn appends_until_it_is_killed() {
    let mut spool = open_last(&config());
    spool.segment_bytes = 50_000;
    loop {
        let batch: Vec<_> = (spool.end()..spool.end() + 40).map(content).collect();
        spool.append(batch.iter().map(|record| [record.as_slice()])).unwrap();
        say(spool.end());
        if spool.len() > 400 {
            let before = spool.first() + 200;
            spool.settle(before, before.to_string().as_bytes()).unwrap();
        }
        if spool.end().is_multiple_of(1_000) {
            spool.sync().unwrap();
        }
    }
}

#[test]
fn no_two_publishers_have_the_same_slot() {
    let dir = TempDir::new().unwrap();
    let config = SpoolConfig::new(dir.path());
    let mut here = open_last(&config);
    append(&mut here, &[b"here"]).unwrap();
    let mut processes: Vec<_> =
        (0..6).map(|_| Process::start("takes_a_slot_and_waits", dir.path())).collect();
    let mut slots: Vec<_> = processes.iter_mut().map(Process::hear).collect();
    let here_too = Spool::open_all(&config).unwrap();
    assert_eq!(here_too.len(), 1, "nothing was left behind by anyone");
    slots.extend([&here, &here_too[0]].map(|spool| spool.dir.display().to_string()));
    slots.sort();
    slots.dedup();
    assert_eq!(slots.len(), 8, "{slots:?}");

    drop(here);
    processes[0].kill();
    let mut left = Spool::open_all(&config).unwrap();
    assert_eq!(left.len(), 2, "what ended processes have left behind is taken up");
    // The oldest first.
    assert_eq!(owned(&left[0].read(100).unwrap()).collect::<Vec<_>>(), [(0, b"here".to_vec())]);
    assert_eq!(owned(&left[1].read(100).unwrap()).collect::<Vec<_>>(), [(0, b"there".to_vec())]);
    processes.drain(1..).for_each(Process::finish);
}

#[test]
#[ignore = "others start it"]
fn takes_a_slot_and_waits() {
    let mut spool = open_last(&config());
    append(&mut spool, &[b"there"]).unwrap();
    say(spool.dir.display());
    wait();
}

#[test]
fn publishers_of_one_process_have_different_slots_however_they_come_to_the_directory() {
    let dir = TempDir::new().unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
    let ways = [SpoolConfig::new(dir.path()), SpoolConfig::new(dir.path().join("link"))];
    let threads: Vec<_> = (0..8)
        .map(|turn| ways[turn % 2].clone())
        .map(|way| std::thread::spawn(move || open_last(&way)))
        .collect();
    let spools: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let mut slots: Vec<_> = spools.iter().map(|spool| spool.dir.file_name().unwrap()).collect();
    slots.sort();
    assert_eq!(slots, ["0000", "0001", "0002", "0003", "0004", "0005", "0006", "0007"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_slot_that_waits_its_turn_holds_one_handle() {
    let dir = TempDir::new().unwrap();
    let config = SpoolConfig::new(dir.path());
    let mut spools: Vec<_> = (0..5).map(|_| open_last(&config)).collect();
    for spool in &mut spools {
        append(spool, &[b"a"]).unwrap();
        spool.settle(0, b"a note").unwrap();
    }
    drop(spools);
    let left = Spool::open_all(&config).unwrap();
    assert_eq!(left.len(), 5);
    let handles = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| entry.unwrap().path().read_link().ok());
    assert_eq!(handles.filter(|path| path.starts_with(dir.path())).count(), 5);
}

#[test]
fn a_forked_child_has_nothing_of_its_parents() {
    let dir = TempDir::new().unwrap();
    let mut parent = Process::start("forks", dir.path());
    let (slot, of_child) = (parent.hear(), parent.hear());
    assert_ne!(slot, of_child);
    assert_eq!(parent.hear(), "refused", "the child can't write into the parent's log");
    let config = SpoolConfig::new(dir.path());
    let meanwhile = open_last(&config);
    assert!(![&slot, &of_child].contains(&&meanwhile.dir.display().to_string()), "both are in use");
    drop(meanwhile);

    parent.kill();
    // The child lives on, and has all of its parent's handles.
    let mut left = open_last(&config);
    assert_eq!(left.dir.display().to_string(), slot);
    assert_eq!(drain(&mut left), [(0, b"of the parent".to_vec())]);
    drop(left);
    // It ends when nobody can let it go on any more.
    drop(parent);
}

#[test]
#[ignore = "others start it"]
#[expect(unsafe_code, reason = "to fork")]
fn forks() {
    let mut spool = open_last(&config());
    append(&mut spool, &[b"of the parent"]).unwrap();
    say(spool.dir.display());
    // SAFETY: the child allocates, which the C libraries allow after a fork, and ends without running destructors.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        let own = open_last(&config());
        say(own.dir.display());
        let refused = append(&mut spool, &[b"of the child"]);
        say(if matches!(refused, Err(SpoolError::Inherited { .. })) { "refused" } else { "accepted" });
        drop(spool);
        wait();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) }
    }
    wait();
}

#[test]
fn a_file_that_may_not_grow_leaves_what_was_there() {
    let dir = TempDir::new().unwrap();
    // A shell hands on that the signal is ignored, which would end the process otherwise.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    Process::start_as(command, "fills_what_it_is_allowed", dir.path()).finish();
}

#[test]
#[ignore = "it limits its own process: others start it"]
fn fills_what_it_is_allowed() {
    let limit = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(100_000), ..limit }).unwrap();
    fill_and_go_on(&config(), || setrlimit(Resource::Fsize, limit).unwrap());
}

/// Appends until there is no room, and again when there is some.
fn fill_and_go_on(config: &SpoolConfig, make_room: impl FnOnce()) {
    let mut spool = open_last(config);
    let mut appended = Vec::new();
    let error = loop {
        let batch: Vec<_> = (spool.end()..spool.end() + 50).map(content).collect();
        match spool.append(batch.iter().map(|record| [record.as_slice()])) {
            Ok(first) => appended.extend((first..).zip(batch)),
            Err(error) => break error,
        }
    };
    assert!(error.is_no_room(), "{error}");
    assert!(error.to_string().contains("free space"), "{error}");
    assert!(!appended.is_empty());
    assert_eq!(spool.end(), appended.len() as u64);
    assert_eq!(drain(&mut spool), appended);
    spool.settle(1, b"a note").unwrap();
    make_room();
    let number = append(&mut spool, &[b"and one more"]).unwrap();
    appended.push((number, b"and one more".to_vec()));
    drop(spool);
    let mut spool = open_last(config);
    assert_eq!(*spool.recovery(), super::super::Recovery::default(), "nothing half is left");
    assert_eq!(drain(&mut spool), appended.split_off(1));
}

/// On a disk of its own, where that can be had.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_what_was_there() {
    let dir = TempDir::new().unwrap();
    let ways = [&["--mount"][..], &["--user", "--map-root-user", "--mount"]];
    let mount = "mount -t tmpfs -o size=1m tmpfs \"$1\"";
    let works = |way: &&&[&str]| {
        let tried =
            Command::new("unshare").args(**way).args(["sh", "-c", mount, "sh"]).arg(dir.path()).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let Some(way) = ways.iter().find(works) else {
        println!("this system lets nobody mount a disk: not tested");
        return;
    };
    let mut command = Command::new("unshare");
    let script = format!("d=\"$1\"; shift; {} && exec \"$@\"", mount.replace("$1", "$d"));
    command
        .args(*way)
        .args(["sh", "-c", &script, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap());
    Process::start_as(command, "fills_its_disk", dir.path()).finish();
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "it fills the disk: others start it, with a small one"]
fn fills_its_disk() {
    let ballast = config().dir.join("ballast");
    std::fs::write(&ballast, vec![1; 200_000]).unwrap();
    fill_and_go_on(&config(), || std::fs::remove_file(&ballast).unwrap());
}
