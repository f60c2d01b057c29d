//! Lists in columns, for people.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Row, Table, presets};

/// A list with a heading and columns as wide as their widest cell.
#[derive(Debug)]
pub struct Grid {
    table: Table,
    right: Vec<bool>,
}

impl Grid {
    /// A list with these headings; `>` before one puts the column's cells to the right.
    pub fn new(headings: &[&str]) -> Grid {
        let headings = headings.iter().map(|heading| match heading.strip_prefix('>') {
            Some(heading) => (heading.to_string(), true),
            None => (heading.to_string(), false),
        });
        let mut grid = Grid::with_preset(headings.collect(), presets::NOTHING);
        grid.table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
        grid
    }

    /// A table with lines around: its headings, and whether each column's cells stand to the right. Cells that do not fit a
    /// terminal have several lines.
    pub fn boxed(headings: Vec<(String, bool)>) -> Grid {
        let mut grid = Grid::with_preset(headings, presets::UTF8_FULL_CONDENSED);
        grid.table.set_content_arrangement(ContentArrangement::Dynamic);
        grid
    }

    fn with_preset(headings: Vec<(String, bool)>, preset: &str) -> Grid {
        let (headings, right): (Vec<String>, Vec<bool>) = headings.into_iter().unzip();
        let mut table = Table::new();
        table.load_preset(preset);
        let mut grid = Grid { table, right };
        let header = grid.row(headings);
        grid.table.set_header(header);
        grid
    }

    fn row(&self, cells: Vec<String>) -> Row {
        let cells = cells.into_iter().zip(&self.right).map(|(cell, right)| {
            Cell::new(cell).set_alignment(if *right { CellAlignment::Right } else { CellAlignment::Left })
        });
        Row::from(cells.collect::<Vec<_>>())
    }

    /// Adds a line.
    pub fn add(&mut self, cells: Vec<String>) {
        let row = self.row(cells);
        self.table.add_row(row);
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in self.table.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
