//! `synapse dlq replay` and `synapse dlq purge`.

use synapse_chassis::console::{BetweenPieces, Progress, human};
use synapse_rs::{
    RedisSettings,
    dead_letters::{MAX_IDS, Selection, Sorting, Task, knows},
    stream::Connection,
};

use super::{check_name, of_what, stream_name};
use crate::{arguments::Letters, confirm::confirm, failure::Failure, interrupt::interrupted, output};

/// Puts the selected letters back or deletes them; `agreed` is whether it needs no further question.
pub(super) async fn run(
    options: &Letters,
    task: Task,
    agreed: bool,
    settings: &RedisSettings,
) -> Result<(), Failure> {
    if options.ids.len() > MAX_IDS {
        return Err(Failure::Usage(format!("--id: {} ids, at most {MAX_IDS} at once", options.ids.len())));
    }
    let selection = Selection {
        group: options.group.clone(),
        reason: options.reason.clone(),
        ids: (!options.ids.is_empty()).then(|| options.ids.clone()),
        limit: options.count,
    };
    let connection = Connection::open(settings).await?;
    let stream = stream_name(&options.stream);
    check_name(&connection, stream, settings).await?;
    if let Some(group) = &selection.group
        && !knows(&connection, stream, group).await?
    {
        return Err(Failure::Other(format!(
            "{stream:?} has neither a group {group:?} nor dead letters of one; `synapse dlq list` lists those there are"
        )));
    }
    let what = of_what(stream, &selection);
    let sorting = Sorting::begin(&connection, stream, selection, task).await?;
    if options.dry_run || !agreed {
        let count = counted(&connection, sorting.clone()).await?;
        let letters = human::counted(count, "dead letter");
        if options.dry_run {
            return output::line(&format!("{letters} {what} would be {}", past(task)));
        }
        if count > 0 {
            confirm(&format!("Delete {letters} {what} for good?"))?;
        }
    }
    sort(&connection, sorting, task, &what, !options.ids.is_empty()).await
}

async fn sort(
    connection: &Connection,
    mut sorting: Sorting,
    task: Task,
    what: &str,
    by_ids: bool,
) -> Result<(), Failure> {
    let mut stop = BetweenPieces::listen();
    let progress = Progress::of(Some(sorting.progress().total), "dead letter", past(task));
    let ended = loop {
        match sorting.advance(connection).await {
            Ok(true) if stop.came().await => break Err(interrupted()),
            Ok(true) => progress.reached(sorting.progress().examined, sorting.progress().done),
            Ok(false) => break Ok(()),
            Err(error) => break Err(Failure::from(error)),
        }
    };
    progress.finish();
    let reached = sorting.progress();
    let done = format!("{} {what} {}", human::counted(reached.done, "dead letter"), past(task));
    match ended {
        Ok(()) => {
            output::line(&done)?;
            // Of ids the total is how many were given.
            let missing = reached.total.saturating_sub(reached.examined);
            if by_ids && missing > 0 {
                let ids = human::counted(missing, "id");
                return Err(Failure::Other(format!("{ids} not found among the dead letters of the stream")));
            }
            if reached.without_event > 0 {
                let left = human::counted(reached.without_event, "dead letter");
                let (why, them) = match reached.without_event {
                    1 => ("its event was trimmed away before it could be moved there", "it"),
                    _ => ("their events were trimmed away before they could be moved there", "them"),
                };
                output::note(format_args!("{left} stayed: {why}; `synapse dlq purge` deletes {them}"));
            }
            match sorting.refused() {
                Some(refused) => Err(Failure::Other(refused.to_string())),
                None => Ok(()),
            }
        }
        Err(failure) => Err(Failure::Other(format!(
            "{failure}; {done}, the rest are where they were: the same command goes on"
        ))),
    }
}

const fn past(task: Task) -> &'static str {
    match task {
        Task::Replay => "replayed",
        Task::Purge => "deleted",
    }
}

/// How many letters it would be.
async fn counted(connection: &Connection, sorting: Sorting) -> Result<u64, Failure> {
    let progress = Progress::waiting("counting dead letters");
    let mut rehearsal = sorting.rehearsed();
    let ended = loop {
        match rehearsal.advance(connection).await {
            Ok(true) => {}
            Ok(false) => break Ok(rehearsal.progress().done),
            Err(error) => break Err(error.into()),
        }
    };
    progress.finish();
    ended
}
