//! Which types the columns of a new table get: what `--types` says.

use asof_engine::column_type::{split_outside_parentheses, take_name};
use asof_engine::{ColumnType, Error, Result};

/// Types of new columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Types {
    /// Columns that are not named are text; otherwise their types are inferred.
    pub all_text: bool,
    /// Columns whose types were named.
    pub named: Vec<(String, ColumnType)>,
}

impl Types {
    /// Reads `infer`, `string`, or `column:type,..`; the words may stand in the list too, for all other columns.
    pub fn parse(text: &str) -> Result<Types> {
        let mut types = Types::default();
        for part in split_outside_parentheses(text) {
            match part {
                "infer" => types.all_text = false,
                "string" | "text" => types.all_text = true,
                part => {
                    let (name, rest) = take_column(part).ok_or_else(|| {
                        Error::invalid(format!(
                            "'{part}' is not column:type; give infer, string or such as id:int64"
                        ))
                    })?;
                    if types.named.iter().any(|(other, _)| *other == name) {
                        return Err(Error::invalid(format!("the type of column '{name}' is given twice")));
                    }
                    types.named.push((name, ColumnType::parse(rest)?));
                }
            }
        }
        Ok(types)
    }

    /// The type named for a column.
    pub fn of(&self, name: &str) -> Option<&ColumnType> {
        self.named.iter().find(|(other, _)| other == name).map(|(_, column_type)| column_type)
    }
}

/// Takes `name:` off the front; the name may stand in double quotes.
fn take_column(part: &str) -> Option<(String, &str)> {
    if part.starts_with('"') {
        let (name, rest) = take_name(part)?;
        return Some((name, rest.trim_start().strip_prefix(':')?));
    }
    let (name, rest) = part.split_once(':')?;
    let name = name.trim();
    (!name.is_empty()).then(|| (name.to_string(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_a_word_or_a_list() {
        assert_eq!(Types::parse("infer").unwrap(), Types::default());
        assert!(Types::parse("string").unwrap().all_text);
        let types =
            Types::parse("id:int64, price:decimal(9,2),\"a:b,c\":struct(x int8, y text),string").unwrap();
        assert!(types.all_text);
        assert_eq!(types.of("id"), Some(&ColumnType::Int64));
        assert_eq!(types.of("price"), Some(&ColumnType::Decimal(9, 2)));
        assert_eq!(types.of("a:b,c").unwrap().to_string(), "struct(x int8, y text)");
        assert_eq!(types.of("other"), None);
        for bad in ["", "id", "id:", ":int64", "id:int64,id:text", "id:what", "\"id:int64"] {
            assert!(Types::parse(bad).is_err(), "{bad}");
        }
    }
}
