//! What can be typed.
//!
//! [`operate`]: the commands of those who look after the streams. [`values`]: values read from text.

#![allow(clippy::doc_markdown, reason = "these comments are the text of --help, read in a terminal")]

mod operate;
mod values;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _, Parser, Subcommand};

pub(crate) use self::operate::{Dlq, Doctor, Letters, Replay, Show, Trim};
use self::values::duration;
use crate::{failure::Failure, output, terminal::Color};

/// `EX_USAGE` of sysexits, for arguments as for settings.
const USAGE: u8 = 64;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "synapse",
    version,
    about = "Events on Redis Streams: run the platform, publish, watch, look after",
    after_help = "Redis is found by REDIS_URL, or by REDIS_HOST, REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD and REDIS_DB \
                  (default: redis://127.0.0.1:6379).\n\
                  Exit status: 0 done, 1 failed, 64 bad arguments or settings; doctor: 2 for findings.",
    arg_required_else_help = true,
    max_term_width = 110
)]
pub(crate) struct Arguments {
    /// What every command takes.
    #[command(flatten)]
    pub(crate) common: Common,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Where Redis is: redis://[user:password@]host[:port][/database], rediss://…, redis+unix:///path. A password is
    /// better given as REDIS_PASSWORD: command lines can be seen by others
    #[arg(long, global = true, value_name = "URL", display_order = 100)]
    pub(crate) redis_url: Option<String>,
    /// When to write colours; NO_COLOR turns them off as well
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = false,
        display_order = 101
    )]
    pub(crate) color: Color,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole platform on this machine, with a Redis of its own if none is given
    Up(Up),
    /// Publish one event, or many from standard input
    Publish(Publish),
    /// Watch events as they come
    Tail(Tail),
    /// List the streams: how long, how old, how large
    Streams(Listing),
    /// List the consumer groups: lag, pending entries, consumers
    Groups(Groups),
    /// List, show, replay or delete the events that could not be handled
    #[command(subcommand)]
    Dlq(Dlq),
    /// Copy a part of a stream onto a stream, so that it is handled once more
    Replay(Replay),
    /// Remove what is old and what no group needs any more
    Trim(Trim),
    /// Examine Redis and all streams; say what is wrong and what to do
    Doctor(Doctor),
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  synapse completions bash > ~/.local/share/bash-completion/completions/synapse
  synapse completions zsh > ~/.zfunc/_synapse
  synapse completions fish > ~/.config/fish/completions/synapse.fish")]
    Completions {
        /// The shell to complete in
        shell: clap_complete::Shell,
    },
}

/// `synapse up`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each service takes its settings from variables: common ones as they are (RUST_LOG), its own with a prefix
(SYNAPSE_GATEWAY_PORT=5009). `synapse-gateway --help` lists them. Ctrl-C stops everything in order, a second one at once.

Examples:
  synapse up
  REDIS_URL=redis://cache:6379 SYNAPSE_GATEWAY_PORT=5009 synapse up
  DATA_DIR=/var/lib/synapse LOG_FORMAT=json synapse up")]
pub(crate) struct Up {
    /// Where data is kept, that of the private Redis too [env: DATA_DIR]
    #[arg(long, value_name = "PATH")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// `synapse publish`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synapse publish platform-events '{\"event\":\"user-login\",\"service\":\"auth\",\"action\":\"login\",\"user_id\":\"42\"}'
  synapse publish inference-events - < events.jsonl
  synapse tail --json --after 1h inference-events | synapse --redis-url redis://test publish inference-events")]
pub(crate) struct Publish {
    /// The stream to publish to
    pub(crate) stream: String,
    /// One event as a JSON object; - or nothing: one event per line of standard input
    pub(crate) json: Option<String>,
    /// Who publishes, for events that do not say
    #[arg(long, value_name = "NAME", default_value = "synapse-cli")]
    pub(crate) source: String,
    /// Print the entry id of every event, not only their count
    #[arg(long)]
    pub(crate) ids: bool,
    /// How long Redis may take to acknowledge an event
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: std::time::Duration,
}

/// `synapse tail`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  synapse tail inference-events platform-events
  synapse tail inference-events --where success=false --where model_name=llama3:8b
  synapse tail training-events --after 10m
  synapse tail model-events --after 2026-11-23T09:00:00Z --json | jq .model_name")]
pub(crate) struct Tail {
    /// The streams to watch
    #[arg(required = true, num_args = 1.., value_name = "STREAM")]
    pub(crate) streams: Vec<String>,
    /// Only events whose field has this value; repeated: all of them must match. A dotted path reaches into objects
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub(crate) conditions: Vec<String>,
    /// First what came after an entry id or since a time: 1795424694440-0, 2026-11-23T09:00:00Z, 10m (ago), today
    #[arg(long, value_name = "ID|TIME")]
    pub(crate) after: Option<String>,
    /// One JSON object per line, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// End after so many events
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

/// `synapse streams`.
#[derive(Debug, Args)]
#[command(after_help = "\
Dead letters of a stream that is listed are a figure in its row; `synapse dlq list` has more of them.

Examples:
  synapse streams
  synapse streams --json | jq -r '.[] | select(.dead_letters > 0) | .stream'")]
pub(crate) struct Listing {
    /// One JSON array, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// `synapse groups`.
#[derive(Debug, Args)]
#[command(after_help = "\
LAG are entries that no consumer of the group has been given yet, PENDING those that were and are not acknowledged. \
OLDEST is how long ago the first of those was appended, UNTOUCHED how long ago it was last delivered or renewed: \
minutes mean that nobody works on it. DELIVERED is the age of the last entry that any consumer was given.

Examples:
  synapse groups
  synapse groups inference-events
  synapse groups --json | jq '.[] | select(.lag > 1000)'")]
pub(crate) struct Groups {
    /// Only the groups of this stream
    pub(crate) stream: Option<String>,
    /// One JSON array, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints help to standard output, what was typed wrong to standard error.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    // A closed pipe is no failure of ours, and there is nobody to tell.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

/// Prints the completions of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "synapse", &mut script);
    let mut stdout = output::stdout();
    stdout.write_all(&script)?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
