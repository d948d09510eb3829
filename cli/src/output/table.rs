//! Tables for people.

use std::fmt;

use super::harmless::harmless;

/// Rows in columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    rows: Vec<Vec<String>>,
    /// What stands below.
    note: Option<String>,
}

impl Table {
    /// A table of one thing: each row has what it is, and its value.
    #[must_use]
    pub fn of_one(rows: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Self {
        let rows = rows.into_iter().filter_map(|(label, value)| Some(vec![label.to_owned(), value?]));
        Self { rows: rows.collect(), note: None }
    }

    /// A table of several things, with a head. What no row has is left out.
    #[must_use]
    pub fn of_many(head: &[&str], rows: Vec<Vec<String>>) -> Self {
        if rows.is_empty() {
            return Self { rows, note: Some("none".to_owned()) };
        }
        let used: Vec<bool> =
            (0..head.len()).map(|at| rows.iter().any(|row| row.get(at).is_some_and(|cell| !cell.is_empty()))).collect();
        let head = head.iter().map(|text| text.to_uppercase()).collect();
        let keep =
            |row: Vec<String>| row.into_iter().zip(&used).filter(|(_, used)| **used).map(|(cell, _)| cell).collect();
        Self { rows: [head].into_iter().chain(rows).map(keep).collect(), note: None }
    }

    /// The same with a line below.
    #[must_use]
    pub fn with_note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Vec<_>> = self.rows.iter().map(|row| row.iter().map(|cell| harmless(cell)).collect()).collect();
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
        let widths: Vec<_> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        self.note.iter().try_for_each(|note| writeln!(f, "{}", harmless(note)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let rows = [["5000", "", "web-1"], ["10000", "", "w"]].map(|row| row.map(str::to_owned).to_vec()).to_vec();
        let table = Table::of_many(&["port", "owner", "name"], rows);
        assert_eq!(table.to_string(), "PORT   NAME\n5000   web-1\n10000  w\n");
        assert_eq!(Table::of_many(&["port"], Vec::new()).to_string(), "none\n");
        let one = Table::of_one([("port", Some("5000".to_owned())), ("owner", None), ("name", Some("w".to_owned()))]);
        assert_eq!(one.to_string(), "port  5000\nname  w\n");
    }
}
