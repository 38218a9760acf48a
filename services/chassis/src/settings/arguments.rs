//! The command line of a service: a flag for each variable, `--help` and `--version`.

use std::fmt::Write as _;

use super::{About, Action, Environment, Kind, SettingError, Variable};

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// To run, with the flags laid over the variables.
    Run(Environment),
    /// To do one of [`About::commands`] instead, with its own flags.
    Do(&'static Action, Environment, Environment),
    /// To print this and leave.
    Print(String),
}

impl Command {
    /// Reads the arguments after the program's name; a flag wins over the variable of its name.
    pub fn parse(
        about: &About,
        mut environment: Environment,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Self, SettingError> {
        let mut arguments = arguments.into_iter();
        let mut wanted: Option<&'static Action> = None;
        let mut flags = Environment::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--help" | "-h" => return Ok(Self::Print(help(about))),
                "--version" | "-V" => return Ok(Self::Print(format!("{} {}\n", about.name, about.version))),
                _ => {}
            }
            if let Some(action) = about.commands.iter().find(|action| action.name == argument) {
                wanted = Some(action);
                continue;
            }
            let (flag, value) = match argument.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            let own = wanted.and_then(|action| action.flags.iter().find(|variable| variable.flag() == flag));
            let Some(name) = own.map(|own| own.name.to_owned()).or_else(|| variable_of(about, &flag)) else {
                return Err(SettingError::UnknownArgument(flag));
            };
            let Some(value) = value.or_else(|| arguments.next()) else {
                return Err(SettingError::MissingValue(flag));
            };
            if own.is_some() {
                flags.set(name, value);
            } else {
                lay_over(&mut environment, name, value);
            }
        }
        Ok(match wanted {
            Some(action) => Self::Do(action, environment, flags),
            None => Self::Run(environment),
        })
    }
}

/// The name of the variable that a flag sets.
fn variable_of(about: &About, flag: &str) -> Option<String> {
    about.all_variables().find_map(|variable| {
        let file = variable.file_name();
        if variable.flag() == flag {
            Some(variable.name.to_owned())
        } else {
            file.filter(|_| format!("{}-file", variable.flag()) == flag)
        }
    })
}

/// `--jwt-secret-file` also replaces a `JWT_SECRET` of the environment, and the other way round.
fn lay_over(environment: &mut Environment, name: String, value: String) {
    let twin = match name.strip_suffix("_FILE") {
        Some(plain) => plain.to_owned(),
        None => format!("{name}_FILE"),
    };
    environment.set(twin, "");
    environment.set(name, value);
}

/// The text of `--help`: every variable with its default and meaning.
pub fn help(about: &About) -> String {
    let mut text = format!(
        "{} {}: {}\n\nUsage: {} [--NAME VALUE]…\n{}\n\
         Each setting is an environment variable and a flag of the same name; the flag wins.\n\
         An empty value counts as unset. SECRETs can be read from a file: NAME_FILE, --name-file.\n",
        about.name,
        about.version,
        about.summary,
        about.name,
        usage_of_commands(about)
    );
    for action in about.commands.iter().filter(|action| !action.flags.is_empty()) {
        let _ = writeln!(text, "\nOf {}, flags only:", action.name);
        for flag in action.flags {
            write_flag(&mut text, flag, None, flag.default);
        }
    }
    for (title, variables) in about.groups() {
        let _ = writeln!(text, "\n{title}:");
        for variable in variables {
            write_variable(&mut text, about, variable);
        }
    }
    text.push_str("\n  -h, --help\n  -V, --version\n\nExit status: 0 after an orderly end, 64 for bad settings, 1 for anything else.\n");
    text
}

fn usage_of_commands(about: &About) -> String {
    about.commands.iter().fold(String::new(), |mut text, action| {
        let _ = writeln!(text, "       {} {} [--NAME VALUE]…    {}", about.name, action.name, action.meaning);
        text
    })
}

fn write_variable(text: &mut String, about: &About, variable: &Variable) {
    write_flag(text, variable, Some(variable.name), about.default_of(variable).as_deref());
}

fn write_flag(text: &mut String, variable: &Variable, name: Option<&str>, default: Option<&str>) {
    let _ = write!(text, "  {} {}", variable.flag(), variable.kind.placeholder());
    if let Some(name) = name {
        let _ = write!(text, " ({name})");
    }
    if let Some(default) = default {
        let _ = write!(text, " [default: {default}]");
    } else if variable.kind == Kind::Secret {
        let _ = write!(text, " [or {}_FILE]", variable.name);
    }
    text.push('\n');
    for line in wrapped(&variable.meaning.replace('`', ""), 90) {
        let _ = writeln!(text, "      {line}");
    }
}

/// Breaks a text at blanks into lines of up to `width` characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
