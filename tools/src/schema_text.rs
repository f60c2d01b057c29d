//! Schemas as people type them: a table's definition and its alterations, read and written.
//!
//! Reading errors name the column of the text. What [`write_definition`] writes, [`parse_definition`] reads to
//! the same schema.

use crate::{Error, Result, Status};
use asof_engine::arrow::array::ArrayRef;
use asof_engine::column_type::{quote_name, split_outside_parentheses, take_name};
use asof_engine::{Alteration, Check, Column, ColumnType, TableSchema, Transaction, text};

/// A table as typed: its columns and the names of its key columns.
#[derive(Debug, PartialEq)]
pub struct Definition {
    /// The columns in their order.
    pub columns: Vec<Column>,
    /// The key columns in key order; empty for a table without a key.
    pub key: Vec<String>,
    /// What rows have to fulfil.
    pub checks: Vec<Check>,
}

impl Definition {
    /// Makes the table.
    pub fn create(self, transaction: &mut Transaction, table: &str) -> Result<()> {
        transaction.create_table(table, self.columns, &self.key)?;
        for check in self.checks {
            transaction.alter_table(table, Alteration::AddCheck(check))?;
        }
        Ok(())
    }
}

/// Reads `col type [not null] [default VALUE] [primary key], .., primary key (col, ..), constraint NAME check (SQL)`.
pub fn parse_definition(typed: &str) -> Result<Definition> {
    let mut definition = Definition { columns: Vec::new(), key: Vec::new(), checks: Vec::new() };
    let mut key_given = false;
    for item in split_outside_parentheses(typed) {
        let words = Words::new(typed, item);
        if let Some(names) = words.clone().take_key_clause()? {
            if key_given {
                return Err(words.error("there are two primary keys"));
            }
            (definition.key, key_given) = (names, true);
            continue;
        }
        if let Some(check) = words.clone().take_check()? {
            definition.checks.push(check);
            continue;
        }
        let (column, is_key) = words.clone().take_column()?;
        if is_key && key_given {
            return Err(
                words.error("there are two primary keys; name all key columns in one: primary key (a, b)")
            );
        }
        if is_key {
            (definition.key, key_given) = (vec![column.name.clone()], true);
        }
        definition.columns.push(column);
    }
    Ok(definition)
}

/// Reads `add col type .. | add constraint NAME check (SQL) | drop col | drop constraint NAME | rename col to col | widen col [to] type`, several with commas.
pub fn parse_alterations(typed: &str) -> Result<Vec<Alteration>> {
    split_outside_parentheses(typed)
        .into_iter()
        .map(|item| Words::new(typed, item).take_alteration())
        .collect()
}

/// Writes a schema as [`parse_definition`] reads it, one column a line.
pub fn write_definition(schema: &TableSchema) -> String {
    let mut lines: Vec<String> = schema
        .columns
        .iter()
        .map(|column| {
            let mut line = format!("{} {}", quote_name(&column.name), column.column_type);
            if !column.nullable {
                line.push_str(" not null");
            }
            if let Some(value) = text::default_text(column) {
                line.push_str(&format!(" default {value}"));
            }
            line
        })
        .collect();
    if schema.has_key() {
        let names: Vec<String> = schema.key_columns().map(|column| quote_name(&column.name)).collect();
        lines.push(format!("primary key ({})", names.join(", ")));
    }
    let checks = schema.checks.iter();
    lines.extend(
        checks.map(|check| format!("constraint {} check ({})", quote_name(&check.name), check.expression)),
    );
    lines.join(",\n")
}

/// One item of a list, read word by word.
#[derive(Clone, Debug)]
struct Words<'a> {
    /// All that was typed.
    whole: &'a str,
    /// What is still to be read.
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn new(whole: &'a str, item: &'a str) -> Words<'a> {
        Words { whole, rest: item.trim() }
    }

    /// Where in the whole text the rest begins: characters from 1.
    fn column(&self) -> usize {
        let offset = self.rest.as_ptr() as usize - self.whole.as_ptr() as usize;
        self.whole[..offset].chars().count() + 1
    }

    fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::new(Status::Failed, "invalid", format!("column {} of the text: {message}", self.column()))
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest[bytes..].trim_start();
    }

    /// Takes a word if it comes next, whatever its case.
    fn take_word(&mut self, word: &str) -> bool {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let found = self.rest[..end].eq_ignore_ascii_case(word);
        if found {
            self.skip(end);
        }
        found
    }

    fn take_words(&mut self, words: [&str; 2]) -> bool {
        let mut ahead = self.clone();
        let found = ahead.take_word(words[0]) && ahead.take_word(words[1]);
        if found {
            *self = ahead;
        }
        found
    }

    fn take_name(&mut self, what: &str) -> Result<String> {
        match take_name(self.rest) {
            Some((name, rest)) => {
                self.rest = rest.trim_start();
                Ok(name)
            }
            None if self.rest.starts_with('"') => Err(self.error("a name in double quotes does not end")),
            None => Err(self.error(format_args!("{what} is missing"))),
        }
    }

    /// Takes everything up to the first of the words that may follow, outside parentheses and quotes.
    fn take_until(&mut self, ends: &[&str]) -> &'a str {
        let (mut depth, mut quote, mut word_before) = (0i32, None, true);
        let mut end = self.rest.len();
        for (at, c) in self.rest.char_indices() {
            if depth == 0 && quote.is_none() && word_before && at > 0 {
                let ahead = Words { whole: self.whole, rest: &self.rest[at..] };
                if ends.iter().any(|word| ahead.clone().take_word(word)) {
                    end = at;
                    break;
                }
            }
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(c),
                (None, '(') => depth += 1,
                (None, ')') => depth -= 1,
                (None, _) => {}
            }
            word_before = c.is_whitespace() || c == ')';
        }
        let taken = self.rest[..end].trim_end();
        self.skip(end);
        taken
    }

    fn take_type(&mut self, ends: &[&str]) -> Result<ColumnType> {
        let at = self.clone();
        let taken = self.take_until(ends);
        if taken.is_empty() || ends.iter().any(|word| at.clone().take_word(word)) {
            return Err(at.error("a type is missing"));
        }
        ColumnType::parse(taken).map_err(|error| at.error(error))
    }

    /// Takes `primary key (a, b)`; `None` where the item is something else.
    fn take_key_clause(mut self) -> Result<Option<Vec<String>>> {
        if !self.take_words(["primary", "key"]) || !self.rest.starts_with('(') {
            return Ok(None);
        }
        let Some(inside) = self.rest[1..].strip_suffix(')') else {
            return Err(self.error("a parenthesis does not end"));
        };
        let names = split_outside_parentheses(inside).into_iter().map(|item| {
            let mut words = Words::new(self.whole, item);
            let name = words.take_name("a key column")?;
            words.end()?;
            Ok(name)
        });
        names.collect::<Result<_>>().map(Some)
    }

    /// Takes `constraint name check (condition)`: no type is called so.
    fn take_check(mut self) -> Result<Option<Check>> {
        if !self.take_word("constraint") {
            return Ok(None);
        }
        let Ok(name) = self.take_name("the name of a check") else { return Ok(None) };
        if !self.take_word("check") || !self.rest.starts_with('(') {
            return Ok(None);
        }
        match self.rest[1..].strip_suffix(')') {
            Some(inside) => Ok(Some(Check { name, expression: inside.trim().to_string() })),
            None => Err(self.error("a parenthesis does not end")),
        }
    }

    /// Takes `name type [not null|null] [default VALUE] [primary key]`.
    fn take_column(mut self) -> Result<(Column, bool)> {
        let name = self.take_name("a column's name")?;
        let column_type = self.take_type(&["not", "null", "default", "primary"])?;
        let mut column = Column::new(name, column_type);
        let mut is_key = false;
        while !self.is_empty() {
            if self.take_words(["not", "null"]) {
                column.nullable = false;
            } else if self.take_word("null") {
                column.nullable = true;
            } else if self.take_word("default") {
                column.default = self.take_value(&column.column_type)?;
            } else if self.take_words(["primary", "key"]) {
                is_key = true;
            } else {
                return Err(self.error("expected not null, default VALUE, primary key or a comma"));
            }
        }
        Ok((column, is_key))
    }

    /// Takes a value: in single quotes (a doubled quote stands for one), or up to the next clause; null is none.
    fn take_value(&mut self, column_type: &ColumnType) -> Result<Option<ArrayRef>> {
        let at = self.clone();
        let value = match self.rest.strip_prefix('\'') {
            Some(_) => self.take_quoted()?,
            None => self.take_until(&["not", "null", "default", "primary"]).to_string(),
        };
        if value.is_empty() && !at.rest.starts_with('\'') {
            return Err(at.error("a default value is missing"));
        }
        if value.eq_ignore_ascii_case("null") && !at.rest.starts_with('\'') {
            return Ok(None);
        }
        text::parse_scalar(column_type, &value).map(Some).map_err(|error| at.error(error))
    }

    fn take_quoted(&mut self) -> Result<String> {
        let (mut value, mut at) = (String::new(), 1);
        loop {
            let Some(end) = self.rest[at..].find('\'') else {
                return Err(self.error("a value in single quotes does not end"));
            };
            value.push_str(&self.rest[at..at + end]);
            at += end + 1;
            if !self.rest[at..].starts_with('\'') {
                break;
            }
            value.push('\'');
            at += 1;
        }
        self.skip(at);
        Ok(value)
    }

    fn take_alteration(mut self) -> Result<Alteration> {
        let at = self.clone();
        let verb = ["add", "drop", "rename", "widen"].into_iter().find(|verb| self.take_word(verb));
        // `drop column` drops the column of that name, `drop column a` the column a.
        let mut ahead = self.clone();
        if ahead.take_word("column") && !ahead.is_empty() && !ahead.clone().take_word("to") {
            // `add column text` adds a column of that name.
            let a_type_follows = verb == Some("add") && ColumnType::parse(ahead.rest).is_ok();
            if !a_type_follows {
                self = ahead;
            }
        }
        let alteration = match verb {
            Some("add") => {
                if let Some(check) = self.clone().take_check()? {
                    return Ok(Alteration::AddCheck(check));
                }
                let (column, is_key) = self.clone().take_column()?;
                if is_key {
                    return Err(self.error("a column that is added cannot become the primary key"));
                }
                return Ok(Alteration::AddColumn(column));
            }
            Some("drop") => {
                let name = self.take_name("a column's name")?;
                // `drop constraint` drops the column of that name.
                match name == "constraint" && !self.is_empty() {
                    true => Alteration::DropCheck(self.take_name("the name of a check")?),
                    false => Alteration::DropColumn(name),
                }
            }
            Some("rename") => {
                let from = self.take_name("a column's name")?;
                if !self.take_word("to") {
                    return Err(self.error("expected to NEW_NAME"));
                }
                Alteration::RenameColumn { from, to: self.take_name("the new name")? }
            }
            Some("widen") => {
                let name = self.take_name("a column's name")?;
                self.take_word("to");
                return Ok(Alteration::WidenColumn { name, to: self.take_type(&[])? });
            }
            _ => return Err(at.error("expected add, drop, rename or widen")),
        };
        self.end()?;
        Ok(alteration)
    }

    fn end(&self) -> Result<()> {
        if self.is_empty() { Ok(()) } else { Err(self.error("expected a comma or the end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(typed: &str) -> TableSchema {
        let definition = parse_definition(typed).unwrap_or_else(|error| panic!("{typed}: {error}"));
        TableSchema::new(definition.columns, &definition.key).unwrap()
    }

    #[test]
    fn what_is_written_reads_back_to_the_same_schema() {
        for typed in [
            "id int64, primary key (id)",
            "id int64 primary key, name text default 'it''s, so' not null",
            "a text, b decimal(10,2) not null default 1.50, \"c d\" list(struct(x int8, y text)), primary key (b, a)",
            "t timestamp(us,Europe/Paris) default '2025-01-01T00:00:00Z', d double precision, f bool default true",
            "a date default 2025-01-01, b binary(2) default '00ff', c text default '', d int64 default -5",
            "\"primary\" int64, \"not\" text, \"Zürich\"\"s\" int8 null",
            "defaults text, nullable text, primaries text",
            "a text default 'null', b int64 default null, c list(int64) default '[1,2]'",
        ] {
            let first = schema(typed);
            let written = write_definition(&first);
            assert_eq!(schema(&written), first, "{typed} -> {written}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (typed, expected) in [
            ("", "column 1 of the text: a column's name is missing"),
            ("id", "column 3 of the text: a type is missing"),
            ("id not null", "column 4 of the text: a type is missing"),
            ("id int64, name strange", "column 16 of the text: 'strange' is not a type"),
            ("id int64,, b text", "column 10 of the text: a column's name is missing"),
            ("id int64 default x", "column 18 of the text: "),
            ("id int64 default", "column 17 of the text: a default value is missing"),
            ("é int64 not, b text", "column 9 of the text: expected not null"),
            ("id int64 default 'x", "column 18 of the text: a value in single quotes does not end"),
            ("a int64 primary key, b int64 primary key", "column 22 of the text: there are two primary keys"),
            ("a int64, primary key (a b)", "column 25 of the text: expected a comma or the end"),
            ("a int64, primary key (a", "column 22 of the text: a parenthesis does not end"),
            ("\"a int64", "column 1 of the text: a name in double quotes does not end"),
        ] {
            let error = parse_definition(typed).map(|_| typed).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{typed}: {error}");
        }
    }

    #[test]
    fn alterations_are_read_in_their_order() {
        let read = parse_alterations(
            "add note text default 'a, b', drop old, rename column a to \"b c\", widen n to int64, widen column m int32, \
             add column text, drop column, add column x decimal(9,2)",
        )
        .unwrap();
        let mut note = Column::new("note", ColumnType::Text);
        note.default = Some(text::parse_scalar(&ColumnType::Text, "a, b").unwrap());
        assert_eq!(
            read,
            vec![
                Alteration::AddColumn(note),
                Alteration::DropColumn("old".to_string()),
                Alteration::RenameColumn { from: "a".to_string(), to: "b c".to_string() },
                Alteration::WidenColumn { name: "n".to_string(), to: ColumnType::Int64 },
                Alteration::WidenColumn { name: "m".to_string(), to: ColumnType::Int32 },
                Alteration::AddColumn(Column::new("column", ColumnType::Text)),
                Alteration::DropColumn("column".to_string()),
                Alteration::AddColumn(Column::new("x", ColumnType::Decimal(9, 2))),
            ]
        );
        for (typed, expected) in [
            ("grow a", "column 1 of the text: expected add, drop, rename or widen"),
            ("drop a b", "column 8 of the text: expected a comma or the end"),
            ("rename a b", "column 10 of the text: expected to NEW_NAME"),
            ("drop a, widen n to", "column 19 of the text: a type is missing"),
        ] {
            let error = parse_alterations(typed).map(|_| typed).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{typed}: {error}");
        }
    }
}
