//! Rows of text cells as they were read: one text for all, and where each cell ends.
//!
//! Invariant: a cell is either null or a text, which may be empty; the two are never the same.

use super::chunk::Place;

/// Marks the end of a cell that is null.
const NULL: u32 = 1 << 31;

/// Some rows of equal width.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    width: usize,
    text: String,
    ends: Vec<u32>,
    places: Vec<Place>,
}

impl Cells {
    /// No rows of a width.
    pub fn new(width: usize) -> Cells {
        Cells { width, ..Cells::default() }
    }

    /// Whole rows held.
    pub fn rows(&self) -> usize {
        self.places.len()
    }

    /// Bytes of text held.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Adds a cell, or pieces of one: the cell ends with [`Cells::end_text`].
    pub fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Ends the cell whose text was pushed.
    pub fn end_text(&mut self) {
        self.ends.push(self.end());
    }

    /// Adds a null cell.
    pub fn push_null(&mut self) {
        self.ends.push(self.end() | NULL);
    }

    /// Ends the row whose cells were pushed.
    pub fn end_row(&mut self, place: Place) {
        debug_assert_eq!(self.ends.len(), (self.places.len() + 1) * self.width);
        self.places.push(place);
    }

    /// Drops the cells after the last whole row.
    pub fn drop_unfinished(&mut self) {
        self.ends.truncate(self.places.len() * self.width);
        self.text.truncate(self.ends.last().map_or(0, |&end| (end & !NULL) as usize));
    }

    fn end(&self) -> u32 {
        assert!(self.text.len() < NULL as usize, "a chunk ends long before its text has 2 GiB");
        self.text.len() as u32
    }

    /// Where a row stood.
    pub fn place(&self, row: usize) -> &Place {
        &self.places[row]
    }

    /// One cell.
    pub fn get(&self, row: usize, column: usize) -> Option<&str> {
        let index = row * self.width + column;
        let start = if index == 0 { 0 } else { (self.ends[index - 1] & !NULL) as usize };
        let end = self.ends[index];
        (end & NULL == 0).then(|| &self.text[start..end as usize])
    }

    /// The cells of a column.
    pub fn column(&self, column: usize) -> impl Iterator<Item = Option<&str>> + Clone {
        (0..self.rows()).map(move |row| self.get(row, column))
    }

    /// Those rows that are to stay.
    pub fn retain(&self, keep: &[bool]) -> Cells {
        let mut kept = Cells::new(self.width);
        for row in (0..self.rows()).filter(|&row| keep[row]) {
            for column in 0..self.width {
                match self.get(row, column) {
                    Some(text) => {
                        kept.push_text(text);
                        kept.end_text();
                    }
                    None => kept.push_null(),
                }
            }
            kept.end_row(self.places[row]);
        }
        kept
    }

    /// A row as a line of CSV, without the line end.
    pub fn record(&self, row: usize) -> String {
        let mut line = String::new();
        for column in 0..self.width {
            if column > 0 {
                line.push(',');
            }
            write_cell(self.get(row, column), &mut line);
        }
        line
    }
}

/// Writes a cell as CSV: null as nothing, the empty text as `""`.
pub fn write_cell(cell: Option<&str>, out: &mut String) {
    let Some(text) = cell else { return };
    if text.is_empty() || text.contains(['"', ',', '\n', '\r']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}
