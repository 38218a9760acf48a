//! The variables a service reads: name, kind, default and meaning, written down once.

/// What the text of a variable is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of a few words.
    Choice,
    /// A whole number.
    Number,
    /// `10s`, `500ms`, `5m`, `24h`, `7d`, or plain seconds.
    Duration,
    /// `65536`, `64KiB`, `1MiB`, `2GiB`.
    Bytes,
    /// The path of a file or directory.
    Path,
    /// Comma-separated values.
    List,
    /// Never printed; can also be read from the file that `NAME_FILE` names.
    Secret,
}

impl Kind {
    /// How `--help` names a value of this kind.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Choice => "WORD",
            Self::Number => "NUMBER",
            Self::Duration => "DURATION",
            Self::Bytes => "BYTES",
            Self::Path => "PATH",
            Self::List => "A,B,…",
            Self::Secret => "SECRET",
        }
    }
}

/// One variable, and with it the flag of the same name (`SHUTDOWN_GRACE`, `--shutdown-grace`).
///
/// Made by [`variables!`](crate::variables), so that the documentation of the constant is the text of `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// As the environment has it, for example `SHUTDOWN_GRACE`.
    pub name: &'static str,
    /// What its text is read as.
    pub kind: Kind,
    /// The value when it is unset or empty, read exactly as one that was given.
    pub default: Option<&'static str>,
    /// One or more sentences for the operator.
    pub meaning: &'static str,
}

impl Variable {
    /// The flag of the same name: `--shutdown-grace`.
    pub fn flag(&self) -> String {
        format!("--{}", self.name.to_ascii_lowercase().replace('_', "-"))
    }

    /// The variable that names a file with the value, for secrets: `JWT_SECRET_FILE`.
    pub fn file_name(&self) -> Option<String> {
        (self.kind == Kind::Secret).then(|| format!("{}_FILE", self.name))
    }
}

/// Declares variables, each a constant, and the table of them all that `--help` and the documentation list.
///
/// ```
/// synapse_chassis::variables! {
///     /// What the gateway reads.
///     pub VARIABLES:
///     /// How much may wait for one connection.
///     OUTBOX_BYTES: Bytes = "1MiB";
///     /// A file to write to.
///     TRACE_FILE: Path;
/// }
/// assert_eq!(VARIABLES[0], OUTBOX_BYTES);
/// assert_eq!(OUTBOX_BYTES.meaning.trim(), "How much may wait for one connection.");
/// ```
#[macro_export]
macro_rules! variables {
    (
        $(#[$about:meta])* $visible:vis $table:ident:
        $($(#[doc = $meaning:literal])+ $name:ident: $kind:ident $(= $default:literal)?;)+
    ) => {
        $(
            $(#[doc = $meaning])+
            $visible const $name: $crate::settings::Variable = $crate::settings::Variable {
                name: stringify!($name),
                kind: $crate::settings::Kind::$kind,
                default: $crate::variables!(@default $($default)?),
                meaning: concat!($($meaning),+),
            };
        )+
        $(#[$about])*
        $visible const $table: &[$crate::settings::Variable] = &[$($name),+];
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}
