//! Lines for a terminal: colours where they are wanted, cut to its width, without the control characters of others.

use std::{
    borrow::Cow,
    env,
    fmt::Write as _,
    io::{IsTerminal as _, stdout},
};

use unicode_width::UnicodeWidthChar as _;

/// When to write colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always, for example into `less -R`.
    Always,
    /// Never.
    Never,
}

/// How standard output shows lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Whether colours are written.
    pub(crate) colors: bool,
    /// Columns to cut lines to; `None` for files and pipes, which get everything.
    pub(crate) width: Option<usize>,
}

impl Terminal {
    /// What standard output is.
    pub(crate) fn of_stdout(color: Color) -> Self {
        let is_terminal = stdout().is_terminal();
        let unset = |name| env::var_os(name).is_none_or(|value| value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colors = match color {
            Color::Auto => is_terminal && unset("NO_COLOR") && !dumb,
            Color::Always => true,
            Color::Never => false,
        };
        Self { colors, width: terminal_width() }
    }

    /// The same after the window may have changed its size.
    pub(crate) fn measured_again(self) -> Self {
        Self { width: terminal_width(), ..self }
    }
}

fn terminal_width() -> Option<usize> {
    let stdout = stdout();
    if !stdout.is_terminal() {
        return None;
    }
    terminal_size::terminal_size_of(stdout).map(|(width, _)| usize::from(width.0).max(20))
}

/// The look of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// As it comes.
    Plain,
    /// Less important.
    Dim,
    /// More important.
    Bold,
    /// A failure.
    Failure,
    /// Something to look at.
    Warning,
    /// All is well.
    Good,
    /// One of six colours that tell names apart.
    Name(u8),
}

impl Style {
    /// The colour of a name, the same each time.
    pub(crate) fn of_name(name: &str) -> Self {
        // This factor gives the services, and the streams, colours that differ.
        let hash = name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(79).wrapping_add(byte.into()));
        Self::Name(u8::try_from((hash >> 3) % 6).unwrap_or(0))
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "2",
            Self::Bold => "1",
            Self::Failure => "31",
            Self::Warning => "33",
            Self::Good => "32",
            Self::Name(0) => "36",
            Self::Name(1) => "35",
            Self::Name(2) => "34",
            Self::Name(3) => "96",
            Self::Name(4) => "95",
            Self::Name(_) => "94",
        }
    }
}

/// One line of styled pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pieces: Vec<(Style, String)>,
}

impl Line {
    /// Adds a piece; control characters in it are shown, not obeyed.
    pub(crate) fn push(&mut self, style: Style, text: &str) {
        self.pieces.push((style, harmless(text).into_owned()));
    }

    /// Adds a piece filled up with spaces to a number of columns.
    pub(crate) fn push_padded(&mut self, style: Style, text: &str, columns: usize) {
        let mut text = harmless(text).into_owned();
        let missing = columns.saturating_sub(width(&text));
        text.extend(std::iter::repeat_n(' ', missing));
        self.pieces.push((style, text));
    }

    /// The line for a terminal, without a line end; cut with an ellipsis where it is too wide.
    pub(crate) fn render(&self, terminal: Terminal) -> String {
        let total: usize = self.pieces.iter().map(|(_, text)| width(text)).sum();
        let mut room = match terminal.width {
            Some(columns) if total > columns => columns.saturating_sub(1),
            _ => usize::MAX,
        };
        let cut = room != usize::MAX;
        let mut line = String::new();
        for (style, text) in &self.pieces {
            let shown = prefix(text, room);
            room -= width(shown).min(room);
            paint(&mut line, *style, shown, terminal.colors);
            if shown.len() < text.len() {
                break;
            }
        }
        if cut {
            line + "…"
        } else {
            line.truncate(line.trim_end().len());
            line
        }
    }
}

/// Text in a style, for tables and notes.
pub(crate) fn painted(style: Style, text: &str, colors: bool) -> String {
    let mut painted = String::new();
    paint(&mut painted, style, text, colors);
    painted
}

fn paint(line: &mut String, style: Style, text: &str, colors: bool) {
    if colors && style != Style::Plain && !text.is_empty() {
        // Writing to a string can't fail.
        let _ = write!(line, "\u{1b}[{}m{text}\u{1b}[0m", style.code());
    } else {
        line.push_str(text);
    }
}

/// The columns a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The longest beginning that takes at most so many columns.
fn prefix(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (index, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > columns {
            return &text[..index];
        }
    }
    text
}

/// The lines of a text that is broken at blanks; a word that is too long by itself stays whole.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<&str> {
    let (mut lines, mut start, mut end) = (Vec::new(), 0, 0);
    for word in text.split(' ') {
        // Where the word lies in the text: the blank before it is not part of it.
        let from = if end == 0 && start == 0 { 0 } else { end + 1 };
        let to = from + word.len();
        if from > start && width(&text[start..to]) > columns {
            lines.push(&text[start..end]);
            start = from;
        }
        end = to;
    }
    lines.push(&text[start..]);
    lines
}

/// Text from elsewhere with its control characters and changes of direction written out (`\n`, `\u{1b}`).
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if harmful(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests;
