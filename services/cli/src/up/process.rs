//! A child process: started on a leash, its lines in the log, ended in order.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::File,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinSet,
    time::timeout,
};

use super::{
    environment::Variables,
    leash,
    log::{
        Log,
        record::{Level, Record},
    },
};

/// The longest line that is kept together, in bytes.
const MAX_LINE_BYTES: u64 = 64 << 10;
/// Lines kept to say why a process ended.
const LAST_LINES: usize = 5;
/// How long the pipes of a process that has ended may still give lines.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a process writes its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// JSON objects on standard error.
    Service,
    /// redis-server's own.
    Redis,
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// As the log names it.
    pub(crate) name: &'static str,
    /// The executable.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// All its variables.
    pub(crate) variables: Variables,
    /// How it writes its lines.
    pub(crate) dialect: Dialect,
    /// A lock that is held until the process too has ended.
    pub(crate) lock: Option<File>,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    pipes: JoinSet<()>,
    last_lines: LastLines,
}

/// Lines that were meant for people: the reason, if a process ends by itself.
type LastLines = Arc<Mutex<VecDeque<String>>>;

impl Process {
    /// Starts it. To be called on the main thread.
    pub(crate) fn start(recipe: &Recipe, log: &Log) -> io::Result<Self> {
        let mut command = Command::new(&recipe.program);
        command.args(&recipe.arguments).env_clear().envs(&recipe.variables);
        // Its standard input holds the lock open: a descriptor that survives exec without further ado.
        command.stdin(match &recipe.lock {
            Some(lock) => Stdio::from(lock.try_clone()?),
            None => Stdio::null(),
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A group of its own: Ctrl-C in the terminal is for us, who stop the children in their order.
        command.process_group(0);
        leash::hold(&mut command)?;
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the child ended before it began"))?;
        let last_lines = LastLines::default();
        let mut pipes = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            pipes.spawn(read_lines(
                stdout,
                recipe.name,
                recipe.dialect,
                Level::Info,
                log.clone(),
                last_lines.clone(),
            ));
        }
        if let Some(stderr) = child.stderr.take() {
            pipes.spawn(read_lines(
                stderr,
                recipe.name,
                recipe.dialect,
                Level::Error,
                log.clone(),
                last_lines.clone(),
            ));
        }
        Ok(Self { child, pid, pipes, last_lines })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until it has ended and its last lines are in the log.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        let pipes = &mut self.pipes;
        // Someone it started may hold the pipes open for ever.
        let _ = timeout(LAST_WORDS, async { while pipes.join_next().await.is_some() {} }).await;
        Ok(status)
    }

    /// Asks it to end (SIGTERM).
    pub(crate) fn terminate(&self) {
        // While the child is not waited for, its id can't belong to anyone else.
        if self.child.id().is_some() {
            let _ = kill_process(self.pid, Signal::TERM);
        }
    }

    /// Ends it (SIGKILL).
    pub(crate) fn kill(&mut self) {
        let _ = self.child.start_kill();
    }

    /// The last lines it wrote for people, newest last.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.last_lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

async fn read_lines(
    pipe: impl AsyncRead + Unpin,
    name: &'static str,
    dialect: Dialect,
    level: Level,
    log: Log,
    last_lines: LastLines,
) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut pipe).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        let record = match dialect {
            Dialect::Service => Some(Record::of_service(text, level)),
            Dialect::Redis => Record::of_redis(text),
        };
        let Some(record) = record else { continue };
        log.write(name, &record);
        if record.level >= Level::Warn {
            let mut lines = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LAST_LINES {
                lines.pop_front();
            }
            lines.push_back(record.message);
        }
    }
}
