//! InfluxQL: what is asked, and what is answered.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::Value;

use super::client::Server;
use crate::{
    line::code::{Place, decode, stored},
    store::StoreError,
};

/// How much of an answer is read.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A name in a question.
pub(super) fn identifier(name: &str) -> String {
    quoted(name, '"')
}

/// The name of a measurement in a question.
pub(super) fn measurement(name: &str) -> String {
    identifier(&stored(name, Place::Measurement))
}

/// The value of a tag in a question.
pub(super) fn tag_value(value: &str) -> String {
    quoted(&stored(value, Place::Name), '\'')
}

/// InfluxQL reads a backslash in quotes as the beginning of an escape, and a line break as the end of everything.
fn quoted(text: &str, quote: char) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for character in text.chars() {
        if character == '\n' {
            quoted.push_str("\\n");
            continue;
        }
        if character == quote || character == '\\' {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push(quote);
    quoted
}

/// What one statement is answered with.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Statement {
    #[serde(default, rename = "statement_id")]
    number: usize,
    #[serde(default)]
    pub(super) series: Vec<Series>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    pub(super) partial: bool,
}

/// Rows with the same tags.
#[derive(Debug, Deserialize)]
pub(super) struct Series {
    name: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    pub(super) columns: Vec<String>,
    #[serde(default)]
    pub(super) values: Vec<Vec<Value>>,
    #[serde(default)]
    pub(super) partial: bool,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Statement>,
    #[serde(default)]
    error: Option<String>,
}

impl Answer {
    fn error(&self) -> Option<&str> {
        let of_statements = || self.results.iter().find_map(|statement| statement.error.as_deref());
        self.error.as_deref().or_else(of_statements)
    }
}

impl Series {
    /// A tag of all its rows; empty if they have none.
    pub(super) fn tag(&self, name: &str) -> Cow<'_, str> {
        self.tags.get(name).map(|value| decode(value)).unwrap_or_default()
    }

    /// The tags of all its rows, sorted by name; those that are empty are none.
    pub(super) fn tags(&self) -> Vec<(String, String)> {
        let given = self.tags.iter().filter(|(_, value)| !value.is_empty());
        let mut tags: Vec<_> =
            given.map(|(name, value)| (decode(name).into_owned(), decode(value).into_owned())).collect();
        tags.sort_unstable();
        tags
    }
}

/// Asks some statements about one measurement, and gives the answer to each; nothing, if nothing was stored yet.
pub(super) async fn ask<const N: usize>(
    server: &Server,
    measurement: &str,
    statements: [String; N],
) -> Result<[Statement; N], StoreError> {
    let failed = |reason: &str| StoreError::Failed(format!("{}: {reason}", server.settings.url));
    let mut answer = answer_to(server, &statements.join("; ")).await?;
    if answer.error().is_some_and(|error| error == "not executed") {
        // Of several statements it does not say why.
        answer = answer_to(server, &statements[0]).await?;
    }
    match answer.error() {
        Some(error) if error.contains("database not found") => {
            return Ok(std::array::from_fn(|_| Statement::default()));
        }
        Some(error) => return Err(failed(error)),
        None => {}
    }
    answer.results.sort_by_key(|statement| statement.number);
    let name = stored(measurement, Place::Measurement);
    if answer.results.iter().flat_map(|statement| &statement.series).any(|series| series.name != name) {
        return Err(StoreError::Unanswerable(
            "the server takes points and answers no InfluxQL (VictoriaMetrics does not); ask it in its own language"
                .to_owned(),
        ));
    }
    let count = answer.results.len();
    answer.results.try_into().map_err(|_| failed(&format!("{count} answers to {N} statements")))
}

async fn answer_to(server: &Server, question: &str) -> Result<Answer, StoreError> {
    let body = server.ask(question, MAX_ANSWER_BYTES).await?;
    serde_json::from_slice(&body).map_err(|error| {
        let url = &server.settings.url;
        StoreError::Failed(format!("{url}: the answer is not what InfluxQL is answered with: {error}"))
    })
}

/// The error in the answer to a statement, if there is one.
pub(super) fn error_in(body: &[u8]) -> Option<String> {
    match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => {
            answer.error.or_else(|| answer.results.into_iter().find_map(|statement| statement.error))
        }
        Err(error) => Some(format!("the answer is not what InfluxQL is answered with: {error}")),
    }
}
