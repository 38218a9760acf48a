//! `synapse publish`: one event, or one per line of standard input.
//!
//! [`lines`]: standard input, line by line.

mod lines;

use std::{
    collections::VecDeque,
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use serde_json::{Map, Value};
use synapse_chassis::console::{Progress, human};
use synapse_rs::{
    EntryId, Event, Publisher, RedisSettings,
    publisher::{PublisherConfig, Receipt},
    stream::{self, Connection},
};
use tokio::time::{Instant, timeout_at};

use self::lines::Lines;
use crate::{arguments, failure::Failure, interrupt::or_ctrl_c, output};

/// Events on their way at once: enough to keep Redis busy, few enough to know soon what became of each.
const WINDOW: usize = 4096;

/// Publishes and says what became of it.
pub(crate) async fn run(options: &arguments::Publish, settings: &RedisSettings) -> Result<(), Failure> {
    stream::check_writable(&options.stream).map_err(|error| Failure::Usage(error.to_string()))?;
    let from_stdin = match options.json.as_deref() {
        Some("-") => true,
        Some(_) => false,
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::Usage(format!(
                "no event given: synapse publish {} '{{\"event\":\"…\"}}', or - to read one per line from standard input",
                options.stream
            )));
        }
        None => true,
    };
    // What is wrong with the address or the password is said now, not waited out.
    Connection::open(settings).await?;
    let config = PublisherConfig { source: options.source.clone(), ..PublisherConfig::default() };
    let publisher = Publisher::start(settings.clone(), config);
    let ended = if from_stdin {
        many(options, &publisher).await
    } else {
        one(options, options.json.as_deref().unwrap_or_default(), &publisher).await
    };
    // Everything that matters has been waited for, or is given up.
    let _ = publisher.close(Duration::ZERO).await;
    ended
}

async fn one(options: &arguments::Publish, text: &str, publisher: &Publisher) -> Result<(), Failure> {
    let receipt = send(publisher, &options.stream, text).map_err(Failure::Other)?;
    let id = acknowledged(receipt, Instant::now() + options.timeout).await.map_err(Failure::Other)?;
    let mut stdout = output::stdout();
    writeln!(stdout, "{id}")?;
    Ok(stdout.flush()?)
}

async fn many(options: &arguments::Publish, publisher: &Publisher) -> Result<(), Failure> {
    let mut batch = Batch {
        options,
        waiting: VecDeque::new(),
        acknowledged: 0,
        progress: Progress::of_input("published"),
    };
    let ended = or_ctrl_c(batch.publish_all(publisher)).await;
    // What was sent before a bad line is on its way: see it home, then say how much that was.
    let drained = or_ctrl_c(batch.drain()).await;
    batch.progress.finish();
    let counted = human::counted(batch.acknowledged, "event");
    match ended.and(drained) {
        Ok(()) if options.ids => Ok(()),
        Ok(()) => {
            let mut stdout = output::stdout();
            writeln!(stdout, "{counted} published to {}", options.stream)?;
            Ok(stdout.flush()?)
        }
        Err(Failure::OutputClosed) => Err(Failure::OutputClosed),
        Err(failure) => Err(Failure::Other(format!("{failure}; {counted} published"))),
    }
}

/// The events of standard input on their way.
#[derive(Debug)]
struct Batch<'a> {
    options: &'a arguments::Publish,
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    acknowledged: u64,
    progress: Progress,
}

/// An event on its way.
#[derive(Clone, Debug)]
struct Waiting {
    /// The number of its line.
    line: u64,
    receipt: Receipt,
    deadline: Instant,
}

impl Batch<'_> {
    async fn publish_all(&mut self, publisher: &Publisher) -> Result<(), Failure> {
        let mut lines = Lines::of_stdin();
        loop {
            tokio::select! {
                biased;
                outcome = oldest(&self.waiting) => self.settle(outcome)?,
                line = lines.next(), if self.waiting.len() < WINDOW => match line.map_err(Failure::Other)? {
                    Some((number, line)) => self.publish(publisher, number, &line)?,
                    None => return self.drain().await,
                },
            }
        }
    }

    fn publish(&mut self, publisher: &Publisher, line: u64, text: &str) -> Result<(), Failure> {
        self.progress.read(text.len() + 1);
        if text.trim().is_empty() {
            return Ok(());
        }
        let receipt = send(publisher, &self.options.stream, text)
            .map_err(|reason| Failure::Other(format!("line {line}: {reason}")))?;
        let deadline = Instant::now() + self.options.timeout;
        self.waiting.push_back(Waiting { line, receipt, deadline });
        Ok(())
    }

    /// Waits until nothing is on its way.
    async fn drain(&mut self) -> Result<(), Failure> {
        while !self.waiting.is_empty() {
            let outcome = oldest(&self.waiting).await;
            self.settle(outcome)?;
        }
        Ok(())
    }

    /// Notes what became of the oldest event.
    fn settle(&mut self, outcome: Result<EntryId, String>) -> Result<(), Failure> {
        let line = self.waiting.pop_front().map_or(0, |waiting| waiting.line);
        let id = outcome.map_err(|reason| {
            // What is behind it fares no better within the same time.
            self.waiting.clear();
            Failure::Other(format!("line {line}: {reason}"))
        })?;
        self.acknowledged += 1;
        self.progress.acknowledged(self.acknowledged);
        if self.options.ids {
            writeln!(std::io::stdout().lock(), "{id}")?;
        }
        Ok(())
    }
}

/// Waits until it is known what became of the oldest event; for ever if there is none. Safe to cancel.
async fn oldest(waiting: &VecDeque<Waiting>) -> Result<EntryId, String> {
    match waiting.front() {
        Some(oldest) => acknowledged(oldest.receipt.clone(), oldest.deadline).await,
        None => std::future::pending().await,
    }
}

/// Reads an event and gives it to the publisher; the reason says what is wrong with it.
fn send(publisher: &Publisher, stream: &str, text: &str) -> Result<Receipt, String> {
    let event: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?;
    publisher.send(stream, &Event::from(event)).map_err(|error| error.to_string())
}

async fn acknowledged(receipt: Receipt, deadline: Instant) -> Result<EntryId, String> {
    match timeout_at(deadline, receipt).await {
        Ok(Ok(id)) => Ok(id),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            Err("redis has not acknowledged the event in time; it may be gone, loading or out of memory \
                       (`redis-cli info`). --timeout waits longer"
                .to_owned())
        }
    }
}
