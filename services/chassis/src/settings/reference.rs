//! The tables of `docs/configuration.md`, from the same variables that are read.

use std::fmt::Write as _;

use super::{Kind, Variable};

/// A table of variables in Markdown: name, default, meaning.
pub fn reference(variables: &[Variable]) -> String {
    let mut text = "| variable | value | default | meaning |\n|---|---|---|---|\n".to_owned();
    for variable in variables {
        let default = variable.default.map(|default| format!("`{default}`")).unwrap_or_default();
        let value = match variable.kind {
            Kind::Secret => "secret, or `_FILE`".to_owned(),
            kind => kind.placeholder().to_lowercase(),
        };
        let meaning = variable.meaning.trim().replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {value} | {default} | {meaning} |", variable.name);
    }
    text
}

/// Panics unless `docs/configuration.md` has the table of these variables as it is now; for the test of a service.
///
/// # Panics
///
/// With the table to put there.
pub fn assert_documented(variables: &[Variable]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let document = std::fs::read_to_string(path).unwrap_or_default();
    let table = reference(variables);
    assert!(document.contains(&table), "docs/configuration.md lacks this table:\n\n{table}");
}
