//! Tables for people.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, presets::NOTHING};

use crate::terminal::{Style, Terminal, harmless};

/// A column: its title and how its cells stand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    /// Words.
    Left(&'static str),
    /// Figures.
    Right(&'static str),
}

/// A table with a title row and no lines.
#[derive(Debug)]
pub(crate) struct Table {
    table: comfy_table::Table,
}

impl Table {
    /// An empty table for a terminal.
    pub(crate) fn new(columns: &[Column], terminal: Terminal) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).force_no_tty();
        if terminal.colors {
            table.enforce_styling();
        }
        if let Some(width) = terminal.width {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
        }
        table.set_header(columns.iter().map(|column| match column {
            Column::Left(title) | Column::Right(title) => Cell::new(title).add_attribute(Attribute::Dim),
        }));
        for (index, column) in columns.iter().enumerate() {
            if let Some(set) = table.column_mut(index) {
                set.set_padding((0, 2));
                if matches!(column, Column::Right(_)) {
                    set.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { table }
    }

    /// Adds a row of styled cells.
    pub(crate) fn row(&mut self, cells: &[(Style, String)]) {
        self.table.add_row(cells.iter().map(|(style, text)| {
            let cell = Cell::new(harmless(text));
            match style {
                Style::Plain => cell,
                Style::Bold => cell.add_attribute(Attribute::Bold),
                Style::Dim => cell.add_attribute(Attribute::Dim),
                Style::Failure => cell.fg(Color::DarkRed),
                Style::Warning => cell.fg(Color::DarkYellow),
                Style::Good => cell.fg(Color::DarkGreen),
                Style::Name(_) => cell.fg(Color::DarkCyan),
            }
        }));
    }

    /// The text, with a line end.
    pub(crate) fn render(&self) -> String {
        self.table.trim_fmt() + "\n"
    }
}
