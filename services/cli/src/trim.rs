//! `synapse trim`: what is old and what no group needs goes.
//!
//! The rule is the core's ([`synapse_rs::retention`]).

use std::{collections::BTreeSet, io::Write as _};

use serde_json::{Value, json};
use synapse_chassis::console::{BetweenPieces, Progress, human};
use synapse_rs::{
    RedisSettings,
    retention::{self, Cut, Features, KeptBy, Report, RetentionPolicy},
    stream::{self, Connection},
};

use crate::{
    arguments,
    confirm::confirm,
    failure::Failure,
    interrupt::interrupted,
    output,
    table::{Column, Table},
    terminal::{Style, Terminal},
};

/// A stream and what became, or would become, of it.
#[derive(Debug)]
struct Row {
    stream: String,
    report: Report,
}

/// Trims, or says what would go, and says what keeps the rest.
pub(crate) async fn run(
    options: &arguments::Trim,
    settings: &RedisSettings,
    policy: &RetentionPolicy,
    terminal: Terminal,
) -> Result<(), Failure> {
    let connection = Connection::open(settings).await?;
    let streams = streams(options, settings, &connection).await?;
    if !options.dry_run && !options.yes {
        ask(&connection, &streams, policy).await?;
    }
    let (rows, ended) = trim_all(&connection, &streams, policy, options.dry_run).await;
    if rows.is_empty() && ended.is_ok() {
        output::note(format_args!("{settings} has none of the platform's streams yet"));
    }
    print(&rows, options, policy, terminal)?;
    ended
}

/// Those that were given, or the platform's own: on a shared server others may have theirs.
async fn streams(
    options: &arguments::Trim,
    settings: &RedisSettings,
    connection: &Connection,
) -> Result<Vec<String>, Failure> {
    if options.streams.is_empty() {
        let there = connection.streams().await?;
        return Ok(there.into_iter().filter(|name| stream::ALL.contains(&name.as_str())).collect());
    }
    for stream in &options.streams {
        if !retention::is_trimmed(stream) {
            return Err(Failure::Usage(format!(
                "{stream} holds dead letters, which have a limit of their own; `synapse dlq purge` deletes them"
            )));
        }
        if connection.extent(stream).await?.is_none() {
            return Err(Failure::Other(format!(
                "{settings} has no stream {stream:?}; `synapse streams` lists those there are"
            )));
        }
    }
    let streams: BTreeSet<_> = options.streams.iter().cloned().collect();
    Ok(streams.into_iter().collect())
}

/// Asks if a stream has so many entries that some go which a group may not have read.
async fn ask(connection: &Connection, streams: &[String], policy: &RetentionPolicy) -> Result<(), Failure> {
    let mut beyond = Vec::new();
    for stream in streams {
        let plan = retention::look(connection, stream, policy).await?;
        if plan.is_some_and(|(_, plan)| plan.beyond_hard_limit > 0) {
            beyond.push(Row { stream: stream.clone(), report: rehearsed(connection, stream, policy).await? });
        }
    }
    for Row { stream, report } in beyond {
        if report.removed.hard_limit > 0 {
            let entries = human::counted(report.removed.hard_limit, "entry");
            confirm(&format!(
                "{stream} has more than {}: remove its oldest {entries}, whether groups have read them or not?",
                human::counted(policy.hard_limit, "entry")
            ))?;
        }
    }
    Ok(())
}

/// What was reached when it ended, and how it ended.
async fn trim_all(
    connection: &Connection,
    streams: &[String],
    policy: &RetentionPolicy,
    is_rehearsal: bool,
) -> (Vec<Row>, Result<(), Failure>) {
    let mut ctrl_c = BetweenPieces::listen();
    let past = if is_rehearsal { "looked at" } else { "trimmed" };
    let progress = Progress::of(Some(streams.len() as u64), "stream", past);
    let mut rows = Vec::new();
    let mut ended = Ok(());
    for (done, stream) in streams.iter().enumerate() {
        progress.reached(done as u64, done as u64);
        let report = if is_rehearsal {
            rehearsed(connection, stream, policy).await
        } else {
            trimmed(connection, stream, policy).await
        };
        match report {
            Ok(report) => rows.push(Row { stream: stream.clone(), report }),
            Err(failure) => ended = Err(failure),
        }
        if ended.is_ok() && done + 1 < streams.len() && ctrl_c.came().await {
            ended = Err(interrupted());
        }
        if ended.is_err() {
            break;
        }
    }
    progress.finish();
    (rows, ended)
}

/// A stream that is gone meanwhile has nothing to trim.
async fn rehearsed(
    connection: &Connection,
    stream: &str,
    policy: &RetentionPolicy,
) -> Result<Report, Failure> {
    Ok(retention::rehearse(connection, stream, policy).await?.unwrap_or_default())
}

async fn trimmed(connection: &Connection, stream: &str, policy: &RetentionPolicy) -> Result<Report, Failure> {
    let features = Features::probe(connection).await?;
    Ok(retention::trim(connection, stream, policy, features).await?.unwrap_or_default())
}

fn print(
    rows: &[Row],
    options: &arguments::Trim,
    policy: &RetentionPolicy,
    terminal: Terminal,
) -> Result<(), Failure> {
    let mut stdout = output::stdout();
    if options.json {
        let rows: Vec<_> = rows.iter().map(as_json).collect::<Result<_, _>>()?;
        writeln!(stdout, "{}", Value::from(rows))?;
    } else if !rows.is_empty() {
        stdout.write_all(table(rows, options.dry_run, policy, terminal).as_bytes())?;
        for Row { stream, report } in rows {
            for group in &report.expired {
                let expiry = human::span(policy.group_expiry);
                output::note(format_args!(
                    "{stream}: group {group} was not waited for: nobody has used it for {expiry}"
                ));
            }
            for cut in &report.cut {
                output::note(format_args!("{stream}: group {} has lost {}", cut.group, lost(cut)));
            }
        }
    }
    Ok(stdout.flush()?)
}

fn lost(cut: &Cut) -> String {
    let unread = format!("{} unread", human::counted(cut.unread, "entry"));
    match (cut.unread, cut.pending) {
        (0, _) => "entries that were pending".to_owned(),
        (_, true) => unread + ", and entries that were pending",
        (_, false) => unread,
    }
}

fn table(rows: &[Row], is_rehearsal: bool, policy: &RetentionPolicy, terminal: Terminal) -> String {
    use Column::{Left, Right, Words};
    let removed = if is_rehearsal { "WOULD GO" } else { "REMOVED" };
    let columns = [Left("STREAM"), Right("ENTRIES"), Right(removed), Right("LEFT"), Words("WHAT KEEPS THEM")];
    let mut table = Table::new(&columns, terminal);
    for Row { stream, report } in rows {
        let (style, kept_by) = kept_by(report, policy);
        let about = if is_rehearsal && report.removed.bytes > 0 { "about " } else { "" };
        table.row(&[
            (Style::Bold, stream.clone()),
            (Style::Plain, human::count(report.length + report.removed.total())),
            (Style::Plain, about.to_owned() + &human::count(report.removed.total())),
            (Style::Plain, about.to_owned() + &human::count(report.length)),
            (style, kept_by),
        ]);
    }
    table.render()
}

fn kept_by(report: &Report, policy: &RetentionPolicy) -> (Style, String) {
    match &report.kept_by {
        _ if report.length == 0 => (Style::Plain, "-".to_owned()),
        _ if report.removed.hard_limit > 0 => {
            (Style::Warning, format!("the newest {}, read or not", human::count(policy.hard_limit)))
        }
        KeptBy::Group(group) => (Style::Warning, format!("group {group} still needs them")),
        KeptBy::Age => (Style::Plain, format!("younger than {}", human::span(policy.retention))),
    }
}

fn as_json(row: &Row) -> Result<Value, Failure> {
    let mut json = json!({ "stream": row.stream });
    let report = serde_json::to_value(&row.report).map_err(|error| Failure::Other(error.to_string()))?;
    if let (Some(json), Value::Object(report)) = (json.as_object_mut(), report) {
        json.extend(report);
    }
    Ok(json)
}
