//! What can be typed.

#![allow(clippy::doc_markdown, reason = "these comments are the text of --help, read in a terminal")]

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::{failure::Failure, output, terminal::Color};

/// `EX_USAGE` of sysexits, for arguments as for settings.
const USAGE: u8 = 64;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "synapse",
    version,
    about = "Events on Redis Streams: run the platform, publish, watch",
    after_help = "Redis is found by REDIS_URL, or by REDIS_HOST, REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD and REDIS_DB \
                  (default: redis://127.0.0.1:6379).\n\
                  Exit status: 0 done, 1 failed, 64 bad arguments or settings.",
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
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) redis_url: Option<String>,
    /// When to write colours; NO_COLOR turns them off as well
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = false)]
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
    /// Examine Redis and all streams; say what is wrong and what to do
    Doctor(Doctor),
    /// Print completions for a shell
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

/// A command that prints a table.
#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// One JSON array, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// `synapse groups`.
#[derive(Debug, Args)]
pub(crate) struct Groups {
    /// Only the groups of this stream
    pub(crate) stream: Option<String>,
    /// One JSON array, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

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
    pub(crate) hangs_after: std::time::Duration,
    /// How long streams are meant to keep their entries
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub(crate) retention: std::time::Duration,
    /// How many entries a stream may hold
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) hard_limit: u64,
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    synapse_chassis::settings::parse_duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "expected a duration such as 500ms, 10s or 5m".to_owned())
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

    #[test]
    fn durations_need_a_number_and_are_not_zero() {
        assert_eq!(duration("500ms"), Ok(std::time::Duration::from_millis(500)));
        assert!(duration("0s").is_err() && duration("soon").is_err());
    }
}
