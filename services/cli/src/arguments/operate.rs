//! The commands of those who look after the streams: doctor, dlq, replay, trim.

use std::{num::NonZeroU32, time::Duration};

use clap::{Args, Subcommand};
use synapse_rs::EntryId;

use super::values::{bytes, duration, entry_id, rate};

/// `synapse doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is changed. What the server forbids to ask (INFO, CONFIG on managed servers) is a note, not a failure.
Exit status: 0 healthy (notes aside), 2 errors or warnings were found, 1 Redis can't be reached, 64 bad arguments.

Examples:
  synapse doctor
  synapse doctor --redis-url redis://cache:6379
  synapse doctor --json | jq -r '.[] | select(.severity != \"note\") | .problem'")]
pub(crate) struct Doctor {
    /// One JSON array of findings, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// An entry that waits or is pending for longer hangs; so does a consumer unheard of for longer
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) hangs_after: Duration,
    /// How long streams are meant to keep their entries [env: RETENTION] [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) retention: Option<Duration>,
    /// How many entries a stream may have [env: MAXLEN] [default: 1000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) maxlen: Option<u64>,
}

/// `synapse dlq`.
#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// List the dead letters: how many, of which stream and group, why
    #[command(after_help = "\
Examples:
  synapse dlq list
  synapse dlq list --json | jq '.[].reasons'")]
    List {
        /// One JSON array, for programs
        #[arg(long)]
        json: bool,
    },
    /// Show dead letters: what happened, and the event
    Show(Show),
    /// Put dead letters back onto the stream they came from
    Replay(Replayed),
    /// Delete dead letters for good
    Purge(Purged),
}

/// `synapse dlq show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synapse dlq show inference-events
  synapse dlq show inference-events analytics-service --reason rejected -n 50
  synapse dlq show inference-events --id 1795424694440-0
  synapse dlq show inference-events -n 1000 --json | jq -r .error | sort | uniq -c")]
pub(crate) struct Show {
    /// The stream the events were on
    pub(crate) stream: String,
    /// Only those of this consumer group
    pub(crate) group: Option<String>,
    /// Only this one, by its id among the dead letters; may be repeated
    #[arg(long = "id", value_name = "ID", value_parser = entry_id)]
    pub(crate) ids: Vec<EntryId>,
    /// Only those that died of this: rejected, max_deliveries, undecodable …
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Only those after this id, oldest first
    #[arg(long, value_name = "ID", value_parser = entry_id, conflicts_with = "ids")]
    pub(crate) after: Option<EntryId>,
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value = "10", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// One JSON object per line, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which dead letters something is done to: nothing is, unless it is said to which.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["all", "ids", "count"]))]
pub(crate) struct Letters {
    /// The stream the events were on
    pub(crate) stream: String,
    /// Only those of this consumer group
    pub(crate) group: Option<String>,
    /// Only those that died of this: rejected, max_deliveries, undecodable …
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// All of them
    #[arg(long, conflicts_with_all = ["ids", "count"])]
    pub(crate) all: bool,
    /// This one, by its id among the dead letters; may be repeated
    #[arg(long = "id", value_name = "ID", value_parser = entry_id)]
    pub(crate) ids: Vec<EntryId>,
    /// The oldest so many
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Change nothing, say how many it would be
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `synapse dlq replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each goes back with its own fields and `replay_of`, the id of the entry it repeats, and is a dead letter no more: moved in \
one step, never lost and never twice. Every group of the stream gets it again, not only the one that failed.

Examples:
  synapse dlq replay inference-events --all --dry-run
  synapse dlq replay inference-events analytics-service --reason max_deliveries --all
  synapse dlq replay inference-events --id 1795424694440-0")]
pub(crate) struct Replayed {
    /// Which.
    #[command(flatten)]
    pub(crate) letters: Letters,
}

/// `synapse dlq purge`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synapse dlq purge inference-events --reason undecodable --all
  synapse dlq purge inference-events old-service --all --yes")]
pub(crate) struct Purged {
    /// Which.
    #[command(flatten)]
    pub(crate) letters: Letters,
    /// Don't ask; needed where there is no terminal to answer at
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

/// `synapse replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Copies carry `replay_of`, the id of the entry they repeat, and the event_id they had. Every group of the stream they \
go to gets them. What is appended after the beginning is not copied. Ctrl-C (or SIGTERM) stops and says how to go on.

Examples:
  synapse replay inference-events --from 2h --where model_name=llama3:8b --dry-run
  synapse replay inference-events --from 2026-11-23T09:00:00Z --to 2026-11-23T10:00:00Z --rate 500/s
  synapse replay training-events --from 0 --onto training-events-test")]
pub(crate) struct Replay {
    /// The stream that is read
    pub(crate) stream: String,
    /// From this entry or time on: 1795424694440-0, 2026-11-23T09:00:00Z, 10m (ago), 2026-11-23 (midnight UTC), today; 0 for
    /// the beginning
    #[arg(long, value_name = "ID|TIME")]
    pub(crate) from: String,
    /// Up to this entry or time, it included; else to the end
    #[arg(long, value_name = "ID|TIME")]
    pub(crate) to: Option<String>,
    /// The stream that is written; else the one that is read
    #[arg(long, value_name = "STREAM")]
    pub(crate) onto: Option<String>,
    /// Only events whose field has this value; repeated: all of them must match. A dotted path reaches into objects
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub(crate) conditions: Vec<String>,
    /// How many each second at most
    #[arg(long, value_name = "N/s", value_parser = rate)]
    pub(crate) rate: Option<NonZeroU32>,
    /// How many in all at most
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Copy nothing, say how many it would be
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `synapse trim`.
#[derive(Debug, Args)]
#[command(after_help = "\
What a group has not read or not acknowledged is kept, unless nobody has used the group for --group-expiry, or there are \
more than --maxlen entries. synapse-hub does the same by itself, every so often.

Examples:
  synapse trim --dry-run
  synapse trim inference-events --retention 1h
  synapse trim --retention-bytes 64MiB")]
pub(crate) struct Trim {
    /// The streams to trim; else the platform's own. Dead letters have a limit of their own
    #[arg(value_name = "STREAM")]
    pub(crate) streams: Vec<String>,
    /// Entries younger than this are kept [env: RETENTION] [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) retention: Option<Duration>,
    /// A stream that takes more memory loses its oldest even if they are younger [env: RETENTION_BYTES]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) retention_bytes: Option<u64>,
    /// A stream that has more entries loses its oldest even if a group has not read them, which is asked first
    /// [env: MAXLEN] [default: 1000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) maxlen: Option<u64>,
    /// A group that nobody has used for so long is not waited for [env: GROUP_EXPIRY] [default: 7d]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) group_expiry: Option<Duration>,
    /// Remove nothing, say what would go and what keeps the rest
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Don't ask; needed where --maxlen bites and there is no terminal to answer at
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// One JSON array, for programs
    #[arg(long)]
    pub(crate) json: bool,
}
