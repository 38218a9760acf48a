//! `synapse`: the platform on the command line.
//!
//! # Layout
//!
//! * [`arguments`]: what can be typed. [`settings`]: the variables behind it, flags laid over them.
//! * One module per command: [`up`], [`publish`], [`tail`], [`streams`], [`groups`], [`dlq`], [`replay`], [`trim`], [`doctor`].
//! * [`terminal`], [`table`]: lines and tables for people; figures, times and progress are the chassis's.
//! * [`output`]: standard output and notes. [`interrupt`], [`confirm`]: Ctrl-C and questions. [`commands`]: what to type next. [`failure`]: what went wrong and the exit status that says so.

mod arguments;
mod commands;
mod confirm;
mod dlq;
mod doctor;
mod failure;
mod groups;
mod interrupt;
mod output;
mod publish;
mod replay;
mod settings;
mod streams;
mod table;
mod tail;
mod terminal;
mod trim;
mod up;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    arguments::{Arguments, Command},
    failure::Failure,
    settings::{RetentionFlags as Flags, Settings},
    terminal::Terminal,
};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return arguments::explain(&error),
    };
    // One thread, this one: `up` may start children from no other, and the rest has no need of more.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(run(arguments));
            // A read of standard input that nobody waits for any more can't be interrupted.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Failure::Other(format!("the system refused what a program needs to run: {error}"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::OutputClosed | Failure::Findings) {
                output::note(format_args!("synapse: {failure}"));
            }
            failure.exit_code()
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let settings = Settings::of(up::own_variables(), &arguments.common);
    let terminal = Terminal::of_stdout(arguments.common.color);
    match arguments.command {
        Command::Up(options) => Ok(up::run(settings.for_services(&options), terminal).await?),
        Command::Publish(options) => publish::run(&options, &settings.redis()?).await,
        Command::Tail(options) => tail::run(&options, &settings.redis()?, terminal).await,
        Command::Streams(options) => streams::run(&options, &settings.redis()?, terminal).await,
        Command::Groups(options) => groups::run(&options, &settings.redis()?, terminal).await,
        Command::Dlq(command) => {
            dlq::run(&command, &settings.redis()?, &settings.commands()?, terminal).await
        }
        Command::Replay(options) => replay::run(&options, &settings.redis()?, &settings.commands()?).await,
        Command::Trim(options) => {
            let policy = settings.retention(&Flags::from(&options))?;
            trim::run(&options, &settings.redis()?, &policy, terminal).await
        }
        Command::Doctor(options) => {
            let policy = settings.retention(&Flags::from(&options))?;
            doctor::run(&options, &settings.redis()?, policy, &settings.commands()?, terminal).await
        }
        Command::Completions { shell } => arguments::completions(shell),
    }
}
