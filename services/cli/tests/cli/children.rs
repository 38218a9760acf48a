//! The processes of the system, as `/proc` has them.

use std::{fs, thread, time::Instant};

use rustix::process::Pid;

use crate::running::PATIENCE;

/// A process by its id and the name of its executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessOf {
    pub(crate) pid: Pid,
    pub(crate) name: String,
}

/// The children of a process.
pub(crate) fn children_of(parent: Pid) -> Vec<ProcessOf> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { continue };
        if let Some(status) = Status::of(pid)
            && status.parent == parent.as_raw_nonzero().get()
        {
            children.push(ProcessOf { pid, name: status.name });
        }
    }
    children
}

/// The child whose name begins like this.
pub(crate) fn child_of(parent: Pid, name: &str) -> Pid {
    let children = children_of(parent);
    let child = children.iter().find(|child| child.name.starts_with(name));
    child.unwrap_or_else(|| panic!("no {name} among {children:?}")).pid
}

/// Waits until these processes are gone. One that has ended and is not waited for counts as gone.
pub(crate) fn wait_until_gone(processes: &[ProcessOf]) {
    let deadline = Instant::now() + PATIENCE;
    for process in processes {
        while Status::of(process.pid).is_some_and(|status| status.name == process.name && status.state != 'Z')
        {
            assert!(Instant::now() < deadline, "{process:?} is left running");
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

struct Status {
    name: String,
    state: char,
    parent: i32,
}

impl Status {
    /// `pid (name) state parent …`; the name may hold spaces and brackets.
    fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let (_, rest) = stat.split_once('(')?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?.chars().next()?;
        Some(Self { name: name.to_owned(), state, parent: fields.next()?.parse().ok()? })
    }
}
