//! Keeps one process running: starts it, says when it is ready, starts it again when it ends, ends it in order.

use std::{convert::Infallible, io, process::ExitStatus, time::Duration};

use rustix::process::Pid;
use synapse_chassis::console::human;
use synapse_rs::{backoff::Backoff, shutdown::Shutdown};
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep, sleep_until},
};

use super::{
    log::{Log, record::Level},
    probe::Probe,
    process::{Process, Recipe},
};

/// The status by which a service says that its settings are wrong (`EX_USAGE`).
pub(crate) const BAD_SETTINGS: i32 = 64;
/// How often a process is asked whether it is ready.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// How often it is said what a process is still waiting for.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// A process that has been ready for so long is healthy: the next end of it is its first.
const PROVEN: Duration = Duration::from_secs(10);
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// What became of a process.
#[derive(Debug)]
pub(crate) enum Report {
    /// It answered that it is ready, for the first time.
    Ready(&'static str),
    /// It can't be kept running.
    Failed(Failed),
}

/// Why a process can't be kept running.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// The executable did not start.
    #[error("{name} can't be started ({program}): {source}")]
    NotStarted {
        /// The process.
        name: &'static str,
        /// Its executable.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It refused its settings.
    #[error("{name} refuses its settings: {reason} (given to it alone as SYNAPSE_{}_…)", name.to_ascii_uppercase())]
    BadSettings {
        /// The process.
        name: &'static str,
        /// What it said.
        reason: String,
    },
    /// It ended before it was ready, and there is no point in another attempt.
    #[error("{name} ended before it was ready ({status}): {reason}")]
    NeverReady {
        /// The process.
        name: &'static str,
        /// How it ended.
        status: String,
        /// What it said.
        reason: String,
    },
}

/// When to end a process.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// Time to leave.
    pub(crate) stop: Shutdown,
    /// No time left.
    pub(crate) kill: Shutdown,
    /// How long leaving may take.
    pub(crate) grace: Duration,
}

/// A process to be kept running.
#[derive(Debug)]
pub(crate) struct Supervisor {
    /// How to start it.
    pub(crate) recipe: Recipe,
    /// How to ask whether it is ready.
    pub(crate) probe: Probe,
    /// Whether others can't do without it: then its end before it was ready is final.
    pub(crate) essential: bool,
    /// When to end it.
    pub(crate) ending: Ending,
    /// Where its lines go.
    pub(crate) log: Log,
    /// Who is told.
    pub(crate) reports: Sender<Report>,
}

/// Why a process is no longer watched.
enum Watched {
    /// It ended by itself.
    Ended(io::Result<ExitStatus>),
    /// It is time to end it.
    Stop,
}

impl Supervisor {
    /// Runs it until it is told to stop or fails for good. On the main thread, for it starts children.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        let mut reported = false;
        while !self.ending.stop.is_cancelled() {
            let mut process = match Process::start(&self.recipe, &self.log) {
                Ok(process) => process,
                Err(source) => return self.fail(self.not_started(source)).await,
            };
            let mut ready_since = None;
            let ended = match self.watch(&mut process, &mut reported, &mut ready_since).await {
                Watched::Ended(ended) => ended,
                Watched::Stop => return self.end(process).await,
            };
            if let Some(failed) = self.failed(&process, &ended, reported) {
                return self.fail(failed).await;
            }
            if ready_since.is_some_and(|since: Instant| since.elapsed() >= PROVEN) {
                backoff.reset();
            }
            let delay = backoff.next_delay();
            let message =
                format!("{} {}; starting it again in {}", self.name(), how(&ended), human::span(delay));
            self.log.say(Level::Error, message);
            tokio::select! {
                () = sleep(delay) => {}
                () = self.ending.stop.cancelled() => {}
            }
        }
    }

    fn name(&self) -> &'static str {
        self.recipe.name
    }

    /// Until the process ends or shall end; says meanwhile when it is ready.
    async fn watch(
        &self,
        process: &mut Process,
        reported: &mut bool,
        ready_since: &mut Option<Instant>,
    ) -> Watched {
        let pid = process.pid();
        tokio::select! {
            biased;
            () = self.ending.stop.cancelled() => Watched::Stop,
            ended = process.ended() => Watched::Ended(ended),
            never = self.announce(pid, reported, ready_since) => match never {},
        }
    }

    /// Waits until the process is ready and says so; never comes back.
    async fn announce(&self, pid: Pid, reported: &mut bool, ready_since: &mut Option<Instant>) -> Infallible {
        let mut say_next = Instant::now() + SAY_EVERY;
        while let Err(missing) = self.probe.ask(pid).await {
            if Instant::now() >= say_next {
                self.log.say(Level::Warn, format!("{} is not ready yet: {missing}", self.name()));
                say_next += SAY_EVERY;
            }
            sleep(PROBE_EVERY).await;
        }
        *ready_since = Some(Instant::now());
        if *reported {
            self.log.say(Level::Info, format!("{} is ready again", self.name()));
        } else {
            *reported = true;
            // Nobody listens any more only while everything ends.
            let _ = self.reports.send(Report::Ready(self.name())).await;
        }
        std::future::pending().await
    }

    /// Asks the process to leave, and ends it when its time is up.
    async fn end(&self, mut process: Process) {
        process.terminate();
        let deadline = Instant::now() + self.ending.grace;
        tokio::select! {
            _ = process.ended() => return,
            () = self.ending.kill.cancelled() => {}
            () = sleep_until(deadline) => {
                let grace = human::span(self.ending.grace);
                self.log.say(Level::Warn, format!("{} did not leave within {grace}: killed", self.name()));
            }
        }
        process.kill();
        let _ = process.ended().await;
    }

    fn failed(&self, process: &Process, ended: &io::Result<ExitStatus>, was_ready: bool) -> Option<Failed> {
        let name = self.name();
        let reason = || match process.last_lines() {
            lines if lines.is_empty() => "it did not say why".to_owned(),
            lines => lines.join("; "),
        };
        match ended {
            Ok(status) if status.code() == Some(BAD_SETTINGS) => {
                // It names itself, as it does when it is started alone.
                let own = self.recipe.program.file_name().unwrap_or_default().to_string_lossy() + ": ";
                let reason = reason();
                let reason = reason.strip_prefix(&*own).unwrap_or(&reason).to_owned();
                Some(Failed::BadSettings { name, reason })
            }
            _ if self.essential && !was_ready => {
                Some(Failed::NeverReady { name, status: how(ended), reason: reason() })
            }
            _ => None,
        }
    }

    fn not_started(&self, source: io::Error) -> Failed {
        Failed::NotStarted { name: self.name(), program: self.recipe.program.display().to_string(), source }
    }

    async fn fail(&self, failed: Failed) {
        let _ = self.reports.send(Report::Failed(failed)).await;
    }
}

/// How a process ended, in words.
fn how(ended: &io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match ended {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        Err(error) => format!("was lost: {error}"),
    }
}
