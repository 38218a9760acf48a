//! A part of a stream once more into the store: what was trimmed from the store, or never was in it.
//!
//! A point's time comes from its entry, so that what is there already stays as it is, however often it is written.

mod request;
mod work;

use std::io::{self, Write as _};

use synapse_chassis::{StartError, Task, console::human};
use synapse_rs::{EntryId, RedisSettings, stream::Connection};

use crate::{
    embedded::{Embedded, FILE_NAME},
    influx::Influx,
    settings::Settings,
    stores::Stores,
};

pub use request::{FLAGS, Request};
use work::{Ended, Work};

/// The word on the command line.
pub const BACKFILL: &str = "backfill";
/// How many of what was left out are named.
const NAMED: usize = 20;

/// Why a range is not all in the store.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// Ctrl-C, or Redis.
    #[error("{why}; go on with:\n  {how}")]
    Broken {
        /// What came in between.
        why: String,
        /// What to type.
        how: String,
    },
    /// Some of it never will be.
    #[error("{0} of the range {verb} not in the store; they are named above", verb = if *.1 == 1 { "is" } else { "are" })]
    LeftOut(String, u64),
}

/// Stores what the flags say, and tells how much that was.
pub async fn backfill(task: Task<Settings>) -> Result<(), StartError> {
    let request = Request::read(&task.flags)?;
    let connection = Connection::open(&task.common.redis).await?;
    let store = open(&task.settings).await?;
    let mut left_out = 0;
    for (place, stream) in request.streams.iter().enumerate() {
        let Some(extent) = connection.extent(stream).await? else {
            say(&format!("{} has no stream {stream:?}", redis_of(&task.common.redis)));
            continue;
        };
        let to = request.to.min(extent.last_generated_id);
        let first = extent.first_id.unwrap_or(extent.last_generated_id);
        if first > request.from && extent.has_lost_since(request.from) {
            say(&format!(
                "{stream} begins with {first}: what was before that is gone from Redis, and is stored only if it was before"
            ));
        }
        let from = request.from.max(extent.first_id.unwrap_or(request.from));
        let mut work = Work::new(&connection, &store, stream, (from, to), task.settings.reading.batch);
        let ended = work.finish().await;
        say(&format!(
            "{} of {stream} stored, {} of other kinds passed over",
            human::counted(work.stored, "event"),
            human::count(work.passed)
        ));
        for (id, reason) in &work.left_out {
            say(&format!("  {id} is not stored: {reason}"));
        }
        if work.left_out_count > work.left_out.len() as u64 {
            say(&format!("  and {} more", human::count(work.left_out_count - work.left_out.len() as u64)));
        }
        left_out += work.left_out_count;
        if let Ended::Broken(why) = ended {
            let how = request.going_on(&request.streams[place..], work.position, to);
            return Err(BackfillError::Broken { why, how }.into());
        }
    }
    match left_out {
        0 => Ok(()),
        count => Err(BackfillError::LeftOut(human::counted(count, "event"), count).into()),
    }
}

/// The store that is configured.
async fn open(settings: &Settings) -> Result<Stores, StartError> {
    if let Some(influx) = &settings.influx {
        return Ok(Stores::Influx(Influx::new(influx.clone())?));
    }
    let (embedded, writer) = Embedded::open(&settings.data_dir.join(FILE_NAME), settings.embedded).await?;
    tokio::spawn(writer.run());
    Ok(Stores::Embedded(embedded))
}

fn redis_of(settings: &RedisSettings) -> String {
    settings.to_string()
}

/// Where to begin again.
fn next_of(position: Option<EntryId>, from: EntryId) -> EntryId {
    position.map_or(from, EntryId::next)
}

/// A line of what was done; nobody may be reading it.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
