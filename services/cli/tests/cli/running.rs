//! A `synapse` that runs, what it has printed, and how it ends.

use std::{
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long something may take to come true before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The binary under test, with none of the variables that whoever runs the tests has set.
pub(crate) fn synapse() -> Command {
    clean(Path::new(env!("CARGO_BIN_EXE_synapse")))
}

/// A program with an environment of its own.
pub(crate) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TZ", "UTC");
    command
}

/// Runs a command to its end.
pub(crate) fn ended(command: &mut Command) -> Output {
    output_of(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// What a command has printed when it has ended by itself; one that does not is killed.
pub(crate) fn output_of(child: Child) -> Output {
    let pid = Pid::from_child(&child);
    let (done, is_done) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        if is_done.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watch.join().unwrap();
    assert!(output.status.code().is_some(), "it did not end within {PATIENCE:?}: {}", stderr(&output));
    output
}

/// Standard output as text.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A running command and every line it has printed; killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Arc<Lines>,
    readers: Vec<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Lines {
    seen: Mutex<Vec<String>>,
    news: Condvar,
}

impl Running {
    /// Starts it with both outputs read.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    /// Starts it with something to read.
    pub(crate) fn start_with(command: &mut Command, stdin: Stdio) -> Self {
        let command = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let lines = Arc::new(Lines::default());
        let readers = vec![
            gather(child.stdout.take().unwrap(), lines.clone()),
            gather(child.stderr.take().unwrap(), lines.clone()),
        ];
        Self { child, lines, readers }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// Waits for a line with this text and gives it back.
    pub(crate) fn line(&self, text: &str) -> String {
        self.lines_with(text, 1).remove(0)
    }

    /// Waits for so many lines with this text.
    pub(crate) fn lines_with(&self, text: &str, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.lines.seen.lock().unwrap();
        loop {
            let found: Vec<_> = seen.iter().filter(|line| line.contains(text)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited for {count} × {text:?} in:\n{}", seen.join("\n"));
            seen = self.lines.news.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Everything printed so far.
    pub(crate) fn text(&self) -> String {
        self.lines.seen.lock().unwrap().join("\n")
    }

    /// Waits until it has ended by itself and all it has printed was read.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.readers.drain(..).for_each(|reader| reader.join().unwrap());
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.text());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gather(pipe: impl Read + Send + 'static, lines: Arc<Lines>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lines.seen.lock().unwrap().push(line);
            lines.news.notify_all();
        }
    })
}
