//! The variables as they were given, and reading each as what it is.

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt,
    fs::File,
    io::Read as _,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use synapse_rs::config::Secret;

use super::{
    Kind, SettingError, Variable,
    values::{BYTES_FORM, DURATION_FORM, parse_bytes, parse_duration},
};

/// The longest secret that is read from a file, in bytes.
const MAX_SECRET_FILE_BYTES: u64 = 1 << 20;
const HIDDEN: &str = "***";

/// The variables a service was started with. An empty one counts as unset.
///
/// ```
/// use synapse_chassis::settings::{Environment, SHUTDOWN_GRACE};
///
/// let environment = Environment::from_map([("SHUTDOWN_GRACE", "500ms")]);
/// assert_eq!(environment.duration(&SHUTDOWN_GRACE).unwrap().as_millis(), 500);
/// ```
#[derive(Clone, Default)]
pub struct Environment {
    values: HashMap<String, String>,
    not_utf8: Vec<String>,
}

impl Environment {
    /// The variables of this process.
    pub fn from_process() -> Self {
        Self::from_os(std::env::vars_os())
    }

    /// These variables and no others.
    pub fn from_map<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { values, not_utf8: Vec::new() }
    }

    pub(super) fn from_os(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => drop(environment.values.insert(name, value)),
                (Ok(name), Err(_)) => environment.not_utf8.push(name),
                (Err(_), _) => {}
            }
        }
        environment
    }

    /// Sets a variable, or with an empty value unsets it.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.not_utf8.retain(|other| *other != name);
        self.values.insert(name, value.into());
    }

    /// A variable by its name, if it is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The text that was given, or else the default.
    pub fn text<'a>(&'a self, variable: &Variable) -> Result<Option<&'a str>, SettingError> {
        if self.not_utf8.iter().any(|name| name == variable.name) {
            return Err(SettingError::NotUtf8(variable.name.to_owned()));
        }
        Ok(self.get(variable.name).or(variable.default))
    }

    /// A value by a reading of one's own; `read` gives `None` for what is not `allowed`.
    pub fn read<T>(
        &self,
        variable: &Variable,
        allowed: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingError> {
        let Some(text) = self.text(variable)? else { return Ok(None) };
        match read(text.trim()) {
            Some(value) => Ok(Some(value)),
            None => Err(self.refused(variable, allowed)),
        }
    }

    /// A whole number within a range; for a variable that has a default.
    pub fn number<T>(&self, variable: &Variable, range: RangeInclusive<T>) -> Result<T, SettingError>
    where
        T: std::str::FromStr + PartialOrd + fmt::Display,
    {
        required(self.optional_number(variable, range)?, variable)
    }

    /// A whole number within a range, if given.
    pub fn optional_number<T>(
        &self,
        variable: &Variable,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, SettingError>
    where
        T: std::str::FromStr + PartialOrd + fmt::Display,
    {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        self.read(variable, &allowed, |text| text.parse().ok().filter(|number| range.contains(number)))
    }

    /// A duration; for a variable that has a default.
    pub fn duration(&self, variable: &Variable) -> Result<Duration, SettingError> {
        required(self.read(variable, DURATION_FORM, parse_duration)?, variable)
    }

    /// A number of bytes within a range; for a variable that has a default.
    pub fn bytes(&self, variable: &Variable, range: RangeInclusive<usize>) -> Result<usize, SettingError> {
        let allowed = format!("{BYTES_FORM}, from {} to {} bytes", range.start(), range.end());
        let read = |text: &str| parse_bytes(text).filter(|bytes| range.contains(bytes));
        required(self.read(variable, &allowed, read)?, variable)
    }

    /// One of a few words; for a variable that has a default.
    pub fn choice<T: Copy>(&self, variable: &Variable, choices: &[(&str, T)]) -> Result<T, SettingError> {
        required(self.optional_choice(variable, choices)?, variable)
    }

    /// One of a few words, if given.
    pub fn optional_choice<T: Copy>(
        &self,
        variable: &Variable,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, SettingError> {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        self.read(variable, &words.join(", "), |text| {
            choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
        })
    }

    /// Comma-separated values without the blanks around them; none if unset.
    pub fn list(&self, variable: &Variable) -> Result<Vec<&str>, SettingError> {
        let text = self.text(variable)?.unwrap_or_default();
        Ok(text.split(',').map(str::trim).filter(|value| !value.is_empty()).collect())
    }

    /// A path, if given.
    pub fn path(&self, variable: &Variable) -> Result<Option<PathBuf>, SettingError> {
        Ok(self.text(variable)?.map(PathBuf::from))
    }

    /// A secret, from its variable or from the file that `NAME_FILE` names, without trailing line ends.
    pub fn secret(&self, variable: &Variable) -> Result<Option<Secret>, SettingError> {
        let file_name = variable.file_name().unwrap_or_default();
        match (self.text(variable)?, self.get(&file_name)) {
            (Some(_), Some(_)) => Err(SettingError::SetTwice { name: variable.name.to_owned() }),
            (Some(value), None) => Ok(Some(Secret::new(value))),
            (None, Some(path)) => secret_file(&file_name, Path::new(path)).map(Some),
            (None, None) if self.not_utf8.contains(&file_name) => Err(SettingError::NotUtf8(file_name)),
            (None, None) => Ok(None),
        }
    }

    /// The error for the value a variable has.
    pub fn refused(&self, variable: &Variable, allowed: &str) -> SettingError {
        let value = match variable.kind {
            Kind::Secret => HIDDEN,
            _ => self.get(variable.name).or(variable.default).unwrap_or_default(),
        };
        SettingError::invalid(variable.name, value, allowed)
    }
}

/// Only the names: values may be secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

fn required<T>(value: Option<T>, variable: &Variable) -> Result<T, SettingError> {
    value.ok_or_else(|| {
        SettingError::Conflict(format!("{} must be set: {}", variable.name, variable.meaning.trim()))
    })
}

fn secret_file(name: &str, path: &Path) -> Result<Secret, SettingError> {
    let unreadable =
        |source| SettingError::Unreadable { name: name.to_owned(), path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(MAX_SECRET_FILE_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err(SettingError::invalid(name, path.display().to_string(), "a file that is not empty"));
    }
    Ok(Secret::new(secret))
}
