//! `synapse doctor`: what is wrong with Redis and the streams on it, and what to do.
//!
//! What is checked is the core's ([`synapse_rs::doctor`]).

use std::io::Write as _;

use serde_json::{Value, json};
use synapse_chassis::console::{Progress, human};
use synapse_rs::{
    RedisSettings,
    doctor::{Diagnosis, Expectations, Finding, Remedy, Severity, examine},
    retention::RetentionPolicy,
    stream::Connection,
};

use crate::{
    arguments,
    commands::{self, Commands},
    failure::Failure,
    output,
    terminal::{Style, Terminal, harmless, painted, wrapped},
};

/// Columns for the severity.
const SEVERITY: usize = 9;
/// Columns of text where there is no terminal to tell.
const TEXT: usize = 100;

/// Examines everything and prints what was found; errors and warnings fail.
pub(crate) async fn run(
    options: &arguments::Doctor,
    settings: &RedisSettings,
    retention: RetentionPolicy,
    commands: &Commands,
    terminal: Terminal,
) -> Result<(), Failure> {
    let expected = Expectations { hangs_after: options.hangs_after, retention, ..Expectations::default() };
    let connection = Connection::open(settings).await?;
    let progress = Progress::of(None, "stream", "examined");
    let diagnosis =
        examine(&connection, &expected, |done, all| progress.reached(done as u64, all as u64)).await;
    progress.finish();
    let diagnosis = diagnosis?;
    let mut stdout = output::stdout();
    if options.json {
        let findings: Vec<_> = diagnosis.findings.iter().map(|finding| as_json(finding, commands)).collect();
        writeln!(stdout, "{}", Value::from(findings))?;
    } else {
        stdout.write_all(report(&diagnosis, settings, commands, terminal).as_bytes())?;
    }
    stdout.flush()?;
    let is_well = diagnosis.findings.iter().all(|finding| finding.severity == Severity::Note);
    if is_well { Ok(()) } else { Err(Failure::Findings) }
}

fn report(
    diagnosis: &Diagnosis,
    settings: &RedisSettings,
    commands: &Commands,
    terminal: Terminal,
) -> String {
    let mut text = String::new();
    for finding in &diagnosis.findings {
        push_finding(&mut text, finding, commands, terminal);
        text.push('\n');
    }
    let server = diagnosis.server.as_deref().unwrap_or("redis");
    let (streams, groups) = (diagnosis.streams as u64, diagnosis.groups as u64);
    let seen = format!("{}, {}", human::counted(streams, "stream"), human::counted(groups, "group"));
    text + &format!("{server} at {settings}, {seen}: {}\n", verdict(&diagnosis.findings, terminal))
}

fn verdict(findings: &[Finding], terminal: Terminal) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    let counts: Vec<_> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .map(|severity| (severity, count(severity)))
        .filter(|(_, count)| *count > 0)
        .map(|(severity, count)| {
            painted(style(severity), &human::counted(count, &severity.to_string()), terminal.colors)
        })
        .collect();
    if counts.is_empty() {
        return painted(Style::Good, "all is well", terminal.colors);
    }
    counts.join(", ")
}

const fn style(severity: Severity) -> Style {
    match severity {
        Severity::Error => Style::Failure,
        Severity::Warning => Style::Warning,
        Severity::Note => Style::Dim,
    }
}

/// Its severity, place and problem, and below them what to do; commands are not wrapped, so that they can be copied.
fn push_finding(text: &mut String, finding: &Finding, commands: &Commands, terminal: Terminal) {
    let columns = terminal.width.unwrap_or(TEXT).min(TEXT).saturating_sub(SEVERITY);
    let place = harmless(&finding.place.to_string()).into_owned();
    let heading = format!("{place}: {}", harmless(&finding.problem));
    let severity = finding.severity.to_string();
    let padding = " ".repeat(SEVERITY.saturating_sub(severity.len()));
    text.push_str(&painted(style(finding.severity), &severity, terminal.colors));
    text.push_str(&padding);
    for (index, line) in wrapped(&heading, columns).into_iter().enumerate() {
        if index == 0 {
            let (name, rest) = line.split_at(place.len().min(line.len()));
            text.push_str(&painted(Style::Bold, name, terminal.colors));
            text.push_str(rest);
        } else {
            text.push_str(&" ".repeat(SEVERITY));
            text.push_str(line);
        }
        text.push('\n');
    }
    for remedy in &finding.remedies {
        push_remedy(text, remedy, commands, columns);
    }
}

fn push_remedy(text: &mut String, remedy: &Remedy, commands: &Commands, columns: usize) {
    let mut push = |columns: usize, line: &str| {
        text.extend(std::iter::repeat_n(' ', columns));
        text.push_str(line);
        text.push('\n');
    };
    if let Remedy::Advice(words) = remedy {
        for line in wrapped(&harmless(words), columns) {
            push(SEVERITY, line);
        }
    }
    for line in commands.lines(remedy) {
        push(SEVERITY + 2, &harmless(&line));
    }
}

fn as_json(finding: &Finding, commands: &Commands) -> Value {
    let remedies: Vec<_> = finding.remedies.iter().map(|remedy| remedy_as_json(remedy, commands)).collect();
    json!({
        "severity": finding.severity,
        "check": finding.check,
        "stream": finding.place.stream,
        "group": finding.place.group,
        "consumer": finding.place.consumer,
        "problem": finding.problem,
        "remedies": remedies,
    })
}

fn remedy_as_json(remedy: &Remedy, commands: &Commands) -> Value {
    match remedy {
        Remedy::Advice(words) => json!({ "advice": words }),
        Remedy::Setting { name, value } => {
            json!({ "command": commands.set(name, value), "redis_conf": commands::setting(name, value) })
        }
        Remedy::Redis(arguments) => json!({ "command": commands.redis(arguments) }),
        Remedy::Synapse(arguments) => json!({ "command": commands.synapse(arguments) }),
    }
}

#[cfg(test)]
mod tests;
