//! Texts of several statements, cut into statements of tokens that know where they stand.

use crate::error::{Error, Result};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

/// The dialect of everything that is parsed: DataFusion's own.
pub(crate) const DIALECT: GenericDialect = GenericDialect {};

/// One statement: its tokens without white space and comments.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) tokens: Vec<TokenWithSpan>,
    /// The text between its first and last token.
    pub(crate) text: String,
    /// What `COMMENT '..'` at its end says of the commit.
    pub(crate) comment: Option<String>,
}

impl Statement {
    /// The text of some of its tokens that follow one another.
    pub(crate) fn text_of(&self, tokens: &[TokenWithSpan]) -> &str {
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return "" };
        let (lines, start) = (LineOffsets::new(&self.text), self.start());
        let offset = |location: Location| {
            let same_line = location.line == start.line;
            let column = if same_line { location.column + 1 - start.column } else { location.column };
            lines.of(&self.text, Location { line: location.line + 1 - start.line, column })
        };
        self.text.get(offset(first.span.start)..offset(last.span.end)).unwrap_or_default()
    }

    /// Where it begins.
    pub(crate) fn start(&self) -> Location {
        self.tokens.first().map_or(Location { line: 0, column: 0 }, |token| token.span.start)
    }
}

/// Whether a token is a word without quotes, whatever its case.
pub(crate) fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// Whether tokens begin with these words.
pub(crate) fn starts_with(tokens: &[TokenWithSpan], words: &[&str]) -> bool {
    tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| is_word(token, word))
}

/// Operators that may follow one another, at most: each is a step of depth.
const OPERATORS_MAX: usize = 1_000;

/// Parentheses within one another, at most: the parser tries some in several ways, each time all the way down.
const NESTED_MAX: usize = 48;

/// Refuses statements that are deeper than what can be walked.
pub(crate) fn check_depth(tokens: &[TokenWithSpan]) -> Result<()> {
    let words =
        ["and", "or", "not", "union", "except", "intersect", "join", "is", "like", "case", "struct", "array"];
    let mut counts = vec![0usize];
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace if counts.len() >= NESTED_MAX => {
                return Err(Error::new(format!("parentheses are nested more than {NESTED_MAX} deep"))
                    .at(token.span.start));
            }
            Token::LParen | Token::LBracket | Token::LBrace => counts.push(0),
            Token::RParen | Token::RBracket | Token::RBrace if counts.len() > 1 => drop(counts.pop()),
            Token::Comma => counts.last_mut().into_iter().for_each(|count| *count = 0),
            Token::Word(_) if !words.iter().any(|word| is_word(token, word)) => continue,
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Period
            | Token::RParen
            | Token::RBracket
            | Token::RBrace => continue,
            _ => {}
        }
        let count = counts.last_mut().expect("the outermost is never left");
        *count += 1;
        if *count > OPERATORS_MAX {
            return Err(Error::new(format!(
                "more than {OPERATORS_MAX} operators follow one another: use IN (..), VALUES or a table instead"
            ))
            .at(token.span.start));
        }
    }
    Ok(())
}

/// Cuts a text into statements at its semicolons.
pub(crate) fn split(sql: &str) -> Result<Vec<Statement>> {
    let tokens = Tokenizer::new(&DIALECT, sql)
        .tokenize_with_location()
        .map_err(|error| Error::new(error.message.clone()).at(error.location))?;
    let offsets = LineOffsets::new(sql);
    let mut statements = Vec::new();
    let mut current: Vec<TokenWithSpan> = Vec::new();
    for token in tokens {
        match &token.token {
            Token::SemiColon => statements.extend(finish(std::mem::take(&mut current), sql, &offsets)),
            Token::Whitespace(_) | Token::EOF => {}
            _ => current.push(token),
        }
    }
    statements.extend(finish(current, sql, &offsets));
    Ok(statements)
}

/// Whether a text ends within a statement that goes on: in a string, a comment, or without a semicolon.
pub fn is_complete(sql: &str) -> bool {
    match Tokenizer::new(&DIALECT, sql).tokenize() {
        Ok(tokens) => {
            let last = tokens.iter().rev().find(|token| !matches!(token, Token::Whitespace(_) | Token::EOF));
            last.is_none_or(|token| *token == Token::SemiColon)
        }
        Err(_) => false,
    }
}

fn finish(mut tokens: Vec<TokenWithSpan>, sql: &str, offsets: &LineOffsets) -> Option<Statement> {
    let (first, last) = (tokens.first()?.span.start, tokens.last()?.span.end);
    let text = sql.get(offsets.of(sql, first)..offsets.of(sql, last)).unwrap_or_default().to_string();
    let comment = match &tokens[..] {
        [.., word, text] if is_word(word, "comment") && tokens.len() > 2 => match &text.token {
            Token::SingleQuotedString(comment) => Some(comment.clone()),
            _ => None,
        },
        _ => None,
    };
    // `ALTER .. COMMENT '..'` and the like mean the same: the commit's message.
    if comment.is_some() {
        tokens.truncate(tokens.len() - 2);
    }
    Some(Statement { tokens, text, comment })
}

/// Where lines begin.
struct LineOffsets(Vec<usize>);

impl LineOffsets {
    fn new(sql: &str) -> LineOffsets {
        let ends = sql.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        LineOffsets(std::iter::once(0).chain(ends).collect())
    }

    /// The byte at a location; the end where there is none.
    fn of(&self, sql: &str, location: Location) -> usize {
        let Some(line) = location.line.checked_sub(1).and_then(|line| self.0.get(line as usize)) else {
            return sql.len();
        };
        let column = location.column.saturating_sub(1) as usize;
        sql[*line..].char_indices().nth(column).map_or(sql.len(), |(at, _)| line + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_in_strings_and_comments_end_nothing() {
        let sql = "SELECT ';' -- ;\n, 2; /* ; */ INSERT INTO t VALUES (1) COMMENT 'why; not' ;;";
        let statements = split(sql).unwrap();
        let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
        assert_eq!(texts, ["SELECT ';' -- ;\n, 2", "INSERT INTO t VALUES (1) COMMENT 'why; not'"]);
        assert_eq!(statements[1].comment.as_deref(), Some("why; not"));
        assert_eq!(statements[0].comment, None);
        assert_eq!(statements[1].start(), Location { line: 2, column: 14 });
    }

    #[test]
    fn a_statement_is_complete_at_its_semicolon() {
        assert!(is_complete("") && is_complete("select 1;") && is_complete("select ';' ; -- done"));
        assert!(!is_complete("select 1") && !is_complete("select ';") && !is_complete("select 1 /* ;"));
    }
}
