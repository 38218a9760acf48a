//! `synapse replay`: a part of a stream once more.
//!
//! What is done is the core's ([`synapse_rs::replay`]).

use jiff::ZonedDateTime;
use synapse_chassis::console::{BetweenPieces, Progress, human, moment};
use synapse_rs::{
    EntryId, RedisSettings,
    filter::Filter,
    replay::{self, Replay, Request},
    stream::{self, Connection, DEAD_LETTER_SUFFIX},
};

use crate::{arguments, commands::Commands, failure::Failure, interrupt::interrupted, output};

/// Copies until the end, the count, Ctrl-C or SIGTERM, and says how much that was, and how to go on.
pub(crate) async fn run(
    options: &arguments::Replay,
    settings: &RedisSettings,
    commands: &Commands,
) -> Result<(), Failure> {
    let request = request(options)?;
    let connection = Connection::open(settings).await?;
    let Some(extent) = connection.extent(&request.from_stream).await? else {
        return Err(Failure::Other(format!(
            "{settings} has no stream {:?}; `synapse streams` lists those there are",
            request.from_stream
        )));
    };
    let onto = request.to_stream.clone();
    let begins = request.from.max(extent.first_id.unwrap_or(request.from));
    let replay = Replay::begin(&connection, request).await?;
    let mut work = Work { replay, begins, past: "copied" };
    if options.dry_run {
        work = Work { replay: work.replay.rehearsed(), past: "found", ..work };
    }
    let ended = work.finish(&connection).await;
    let reached = work.replay.progress();
    let copied = human::counted(reached.copied, "event");
    match ended {
        Ok(()) if options.dry_run => {
            output::line(&format!("{copied} of {} would be copied onto {onto}", options.stream))
        }
        Ok(()) => {
            output::line(&format!("{copied} of {} copied onto {onto}{}", options.stream, repeated(&reached)))
        }
        Err(failure) if options.dry_run => Err(failure),
        Err(failure) => Err(Failure::Other(format!(
            "{failure}; {copied} of {} copied onto {onto}{}{}. Go on with:\n  {}",
            options.stream,
            repeated(&reached),
            unanswered(&reached),
            commands.synapse(&going_on(options, &reached, begins))
        ))),
    }
}

fn request(options: &arguments::Replay) -> Result<Request, Failure> {
    let now = ZonedDateTime::now();
    let bad = |flag| move |source| Failure::Moment { flag, source };
    let onto = options.onto.as_deref().unwrap_or(&options.stream);
    if options.stream.ends_with(DEAD_LETTER_SUFFIX) {
        return Err(Failure::Usage(format!(
            "{} holds dead letters: `synapse dlq replay` puts them back",
            options.stream
        )));
    }
    stream::check_writable(onto).map_err(|error| Failure::Usage(error.to_string()))?;
    let request = Request {
        from: moment::first_at(&options.from, &now).map_err(bad("--from"))?,
        to: match &options.to {
            Some(to) => moment::last_at(to, &now).map_err(bad("--to"))?,
            None => EntryId::MAX,
        },
        filter: Filter::from_pairs(options.conditions.iter().map(String::as_str))
            .map_err(|error| Failure::Usage(format!("--where: {error}")))?,
        limit: options.count,
        events_per_second: options.rate,
        ..Request::new(&options.stream, onto)
    };
    if request.from > request.to {
        return Err(Failure::Usage(format!("--from {} is behind --to {}", request.from, request.to)));
    }
    Ok(request)
}

/// A replay on its way.
#[derive(Debug)]
struct Work {
    replay: Replay,
    /// Where its first entry may be.
    begins: EntryId,
    /// What happens to each event.
    past: &'static str,
}

impl Work {
    async fn finish(&mut self, connection: &Connection) -> Result<(), Failure> {
        let mut stop = BetweenPieces::listen();
        // The stream does not tell how many entries lie between two: the way is the time between them.
        let way = self.replay.progress().end.ms.saturating_sub(self.begins.ms) + 1;
        let progress = Progress::of(Some(way), "event", self.past);
        let ended = loop {
            match self.replay.advance(connection).await {
                Ok(true) if stop.came().await => break Err(interrupted()),
                Ok(true) => {
                    let reached = self.replay.progress();
                    let position = reached.position.ms.saturating_sub(self.begins.ms);
                    progress.reached(position, reached.copied);
                }
                Ok(false) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        progress.finish();
        ended
    }
}

/// Copies of which nobody knows whether they arrived twice.
fn repeated(reached: &replay::Progress) -> String {
    match reached.possible_duplicates {
        0 => String::new(),
        again => format!(" ({} maybe twice, with the same event_id)", human::count(again)),
    }
}

/// What was sent and never answered, and comes again if it is gone on with.
fn unanswered(reached: &replay::Progress) -> String {
    match reached.unanswered {
        0 => String::new(),
        sent => format!(
            ", maybe {} more: no answer came. Going on sends them again, with the same event_id",
            human::count(sent)
        ),
    }
}

/// The arguments that go on where it ended: the same ones, from behind the last entry that is done.
fn going_on(options: &arguments::Replay, reached: &replay::Progress, begins: EntryId) -> Vec<String> {
    let from = if reached.examined == 0 { begins } else { reached.position.next() };
    let mut arguments = vec!["replay".to_owned(), options.stream.clone()];
    let mut give = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
    give("--from", from.to_string());
    // Without it the copies that came behind the end would be copied as well.
    give("--to", reached.end.to_string());
    if let Some(onto) = &options.onto {
        give("--onto", onto.clone());
    }
    for condition in &options.conditions {
        give("--where", condition.clone());
    }
    if let Some(rate) = options.rate {
        give("--rate", format!("{rate}/s"));
    }
    if let Some(count) = options.count {
        give("-n", count.saturating_sub(reached.copied).to_string());
    }
    arguments
}
