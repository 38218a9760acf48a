//! `synapse dlq`: what could not be handled.
//!
//! What is done is the core's ([`synapse_rs::dead_letters`]). [`list`] counts, [`show`] prints, [`sort`] puts back or
//! deletes.

mod list;
mod show;
mod sort;

use synapse_rs::{
    RedisSettings,
    dead_letters::{Selection, Task, stream_of},
    stream::{Connection, DEAD_LETTER_SUFFIX},
};

use crate::{arguments::Dlq, commands::Commands, failure::Failure, terminal::Terminal};

/// Runs the command.
pub(crate) async fn run(
    command: &Dlq,
    settings: &RedisSettings,
    commands: &Commands,
    terminal: Terminal,
) -> Result<(), Failure> {
    match command {
        Dlq::List { json } => list::run(*json, settings, terminal).await,
        Dlq::Show(options) => show::run(options, settings, commands, terminal).await,
        Dlq::Replay(options) => sort::run(&options.letters, Task::Replay, true, settings).await,
        Dlq::Purge(options) => sort::run(&options.letters, Task::Purge, options.yes, settings).await,
    }
}

/// The stream, also for who gives the name of its dead letters.
fn stream_name(given: &str) -> &str {
    given.strip_suffix(DEAD_LETTER_SUFFIX).unwrap_or(given)
}

/// Says so if neither the stream nor dead letters of it are there: the name may be a slip.
async fn check_name(connection: &Connection, stream: &str, settings: &RedisSettings) -> Result<(), Failure> {
    if connection.extent(&stream_of(stream)).await?.is_none() && connection.extent(stream).await?.is_none() {
        return Err(Failure::Other(format!(
            "{settings} has no stream {stream:?} and no dead letters of one; `synapse dlq list` lists those there are"
        )));
    }
    Ok(())
}

/// What is selected, in words: ` of inference-events, group analytics-service, reason rejected`.
fn of_what(stream: &str, selection: &Selection) -> String {
    let part = |name: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!(", {name} {value}")).unwrap_or_default()
    };
    format!("of {stream}{}{}", part("group", &selection.group), part("reason", &selection.reason))
}
