//! Tables for people.

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Width, presets::NOTHING,
};

use crate::terminal::{Style, Terminal, harmless};

/// Columns that words have at least, however narrow the terminal is.
const WORDS: u16 = 16;

/// A column: its title and how its cells stand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    /// Names.
    Left(&'static str),
    /// Figures.
    Right(&'static str),
    /// Words, wrapped where the terminal is too narrow; names and figures never are, so that they can be copied.
    Words(&'static str),
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
            Column::Left(title) | Column::Right(title) | Column::Words(title) => {
                Cell::new(title).add_attribute(Attribute::Dim)
            }
        }));
        for (index, column) in columns.iter().enumerate() {
            if let Some(set) = table.column_mut(index) {
                set.set_padding((0, 2));
                if matches!(column, Column::Right(_)) {
                    set.set_cell_alignment(CellAlignment::Right);
                }
                set.set_constraint(match column {
                    Column::Words(_) => ColumnConstraint::LowerBoundary(Width::Fixed(WORDS)),
                    Column::Left(_) | Column::Right(_) => ColumnConstraint::ContentWidth,
                });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_narrow_words_are_wrapped_but_no_name_and_no_figure() {
        let columns = [Column::Left("STREAM"), Column::Right("COUNT"), Column::Words("WHY")];
        let mut table = Table::new(&columns, Terminal { colors: false, width: Some(45) });
        let cells = ["inference-events", "12,345", "rejected 12,000, undecodable 345"];
        table.row(&cells.map(|cell| (Style::Plain, cell.to_owned())));
        let text = table.render();
        assert!(text.contains("inference-events  12,345  rejected 12,000,\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 45), "{text}");
        let names = [Column::Left("STREAM"), Column::Right("COUNT")];
        let mut table = Table::new(&names, Terminal { colors: false, width: Some(20) });
        table.row(&["inference-events", "12,345"].map(|cell| (Style::Plain, cell.to_owned())));
        assert!(table.render().contains("inference-events  12,345\n"), "{}", table.render());
    }
}
