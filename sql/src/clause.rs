//! Time-travel clauses: found among the tokens of a statement, whichever dialect they come from, and replaced by marks
//! that any parser reads.
//!
//! Invariant: a clause is resolved or refused. What is not recognised here stays in the statement, where the parser
//! (which knows none of them) refuses it. A mark stands where a table's name stood; who plans the statement looks up
//! what it means, and what is marked cannot be read in another way.
//!
//! | spelling | from |
//! |---|---|
//! | `t VERSION AS OF 3`, `t TIMESTAMP AS OF '..'`, also with `FOR` or `SYSTEM_VERSION`, `SYSTEM_TIME` | Delta, Spark, Trino, Iceberg |
//! | `t FOR SYSTEM_TIME AS OF '..'`, `BETWEEN a AND b`, `FROM a TO b`, `CONTAINED IN (a, b)`, `ALL` | SQL:2011, SQL Server, BigQuery |
//! | `t AT (TIMESTAMP => ..)`, `AT (OFFSET => -60)`, `AT (STATEMENT => ..)`, `BEFORE (..)` | Snowflake |
//! | `t AT (VERSION => 3)`, `AT (TAG => ..)` | DuckLake, Nessie |
//! | `AS OF SYSTEM TIME '..'`, about all tables of the statement | CockroachDB |
//! | `t AS OF TIMESTAMP ..`, `AS OF SCN 3`, `VERSIONS BETWEEN a AND b` | Oracle |
//! | `t AS OF '..'` | Dolt |

use crate::error::{Error, Result};
use crate::script::{DIALECT, is_word, starts_with};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableFactor, Value,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Word};

/// The name of a mark: no table can have it, for it holds a control character.
pub(crate) const MARK: &str = "\u{1}asof";

/// A moment as typed.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) kind: MomentKind,
    pub(crate) value: Box<Expr>,
    /// The version before it.
    pub(crate) before: bool,
    pub(crate) location: Location,
}

/// What kind of moment a value names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MomentKind {
    /// A version's number; a text names a tag or another expression that is no time.
    Version,
    /// A time.
    Timestamp,
    /// Any as-of expression.
    Any,
    /// Seconds from now, negative.
    Offset,
    /// A tag.
    Tag,
    /// A commit's id.
    Statement,
    /// A number is a version, anything else a time.
    VersionOrTimestamp,
}

/// What a clause asks for.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a statement has few of them")]
pub(crate) enum Clause {
    /// The table as it was.
    At(Moment),
    /// Its row versions with their lives.
    Lives(Box<Period>),
    /// A table that is written, each row with what tells it from others.
    Target,
}

/// Which row versions.
#[derive(Clone, Debug)]
pub(crate) enum Period {
    /// All.
    All,
    /// Alive at some moment of [from, to].
    Between(Option<Moment>, Option<Moment>),
    /// Alive at some moment of [from, to).
    FromTo(Moment, Moment),
    /// Begun at or after `from`, ended at or before `to`.
    ContainedIn(Moment, Moment),
}

/// A table with a clause.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    pub(crate) name: ObjectName,
    pub(crate) clause: Clause,
    pub(crate) location: Location,
}

/// A statement without its clauses.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    pub(crate) tokens: Vec<TokenWithSpan>,
    /// The tables that had one; marks have their places here, from `first` on.
    pub(crate) marked: Vec<Marked>,
    /// `AS OF SYSTEM TIME`: the moment of all tables of the statement.
    pub(crate) whole: Option<Moment>,
}

/// Words that no table's name is without quotes, and that may stand before what looks like a clause.
const NO_TABLE: &[&str] = &[
    "all",
    "and",
    "any",
    "as",
    "between",
    "by",
    "case",
    "cross",
    "distinct",
    "else",
    "end",
    "except",
    "from",
    "full",
    "group",
    "having",
    "in",
    "inner",
    "intersect",
    "into",
    "is",
    "join",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "offset",
    "on",
    "or",
    "order",
    "outer",
    "over",
    "qualify",
    "returning",
    "right",
    "select",
    "set",
    "then",
    "to",
    "union",
    "using",
    "values",
    "when",
    "where",
    "with",
];

/// What may stand right before a table in a query.
const BEFORE_TABLE: &[&str] = &["from", "join", "using", "lateral"];

/// Finds the clauses of a statement. `first` is the number of the first mark.
pub(crate) fn rewrite(tokens: &[TokenWithSpan], first: usize) -> Result<Rewritten> {
    let mut rewritten = Rewritten::default();
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(&tokens[at..], &["as", "of", "system", "time"]) {
            let location = tokens[at].span.start;
            let reads = ["select", "from", "table", "show", "describe", "desc"];
            let changes = ["update", "delete", "merge", "truncate", "alter", "drop"];
            if changes.iter().any(|word| is_word(&tokens[0], word)) {
                return Err(written(location));
            }
            if ["insert", "replace"].iter().any(|word| is_word(&tokens[0], word))
                && !tokens[..at].iter().any(|token| is_word(token, "select"))
            {
                return Err(written(location));
            }
            if !tokens[..at].iter().any(|token| reads.iter().any(|word| is_word(token, word))) {
                return Err(misplaced(location));
            }
            if rewritten.whole.is_some() {
                return Err(
                    Error::new("AS OF SYSTEM TIME is about the whole statement: say it once").at(location)
                );
            }
            let mut rest = Rest::new(tokens, at + 4)?;
            rewritten.whole = Some(rest.moment(MomentKind::Timestamp)?);
            at = rest.place;
            continue;
        }
        let stands_after_name = at > 0 && may_be_name(&tokens[at - 1]);
        match Head::of(&tokens[at..]) {
            Some(head) if stands_after_name => {
                let location = tokens[at].span.start;
                let mut rest = Rest::new(tokens, at + head.words())?;
                let clause = rest.clause(&head, tokens[at].span.start)?;
                mark(&mut rewritten, clause, location, first)?;
                at = rest.place;
            }
            Some(head) if head.is_certain() && at > 0 => return Err(misplaced(tokens[at].span.start)),
            _ => {
                rewritten.tokens.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    Ok(rewritten)
}

pub(crate) fn misplaced(location: Location) -> Error {
    Error::new("a time-travel clause stands right after the name of a table; of a query in parentheses, put it inside")
        .at(location)
}

fn written(location: Location) -> Error {
    Error::new("the past cannot be written: a time-travel clause cannot stand on a table that is changed")
        .at(location)
}

fn may_be_name(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => {
            !NO_TABLE.iter().any(|reserved| word.value.eq_ignore_ascii_case(reserved))
        }
        Token::Word(_) | Token::SingleQuotedString(_) => true,
        _ => false,
    }
}

/// Takes the table (and its alias) off the tokens before a clause, and puts a mark there.
fn mark(rewritten: &mut Rewritten, clause: Clause, location: Location, first: usize) -> Result<()> {
    let tokens = &mut rewritten.tokens;
    let is_period = |token: &TokenWithSpan| token.token == Token::Period;
    let name_start = |tokens: &[TokenWithSpan], mut end: usize| {
        while end >= 2 && is_period(&tokens[end - 1]) && may_be_name(&tokens[end - 2]) {
            end -= 2;
        }
        end
    };
    let last = tokens.len() - 1;
    let mut start = name_start(tokens, last);
    let mut end = tokens.len();
    if start == last && last >= 1 {
        // `t AS x` or `t x` before the clause.
        let before = if is_word(&tokens[last - 1], "as") { last.checked_sub(2) } else { Some(last - 1) };
        if let Some(before) = before.filter(|before| may_be_name(&tokens[*before]) && !leads(tokens, *before))
        {
            start = name_start(tokens, before);
            end = before + 1;
        }
    }
    let lead = start.checked_sub(1).map(|lead| &tokens[lead]);
    let has_lead = |words: &[&str]| lead.is_some_and(|lead| words.iter().any(|word| is_word(lead, word)));
    let second = start.checked_sub(2).map(|second| &tokens[second]);
    let deleted = has_lead(&["from"]) && second.is_some_and(|second| is_word(second, "delete"));
    if deleted
        || has_lead(&[
            "update",
            "into",
            "table",
            "overwrite",
            "merge",
            "truncate",
            "clone",
            "like",
            "replace",
        ])
    {
        return Err(written(location));
    }
    let opens = lead.is_some_and(|lead| matches!(lead.token, Token::Comma | Token::LParen));
    if !opens && !has_lead(BEFORE_TABLE) {
        return Err(misplaced(location));
    }
    let alias: Vec<TokenWithSpan> = tokens[end..].to_vec();
    let name: Vec<TokenWithSpan> = tokens[start..end].to_vec();
    let mut parser = parser(name.clone());
    let name_location = name[0].span.start;
    let name = parser.parse_object_name(false).map_err(|_| misplaced(location))?;
    tokens.truncate(start);
    let number = first + rewritten.marked.len();
    tokens.extend(mark_tokens(number, name_location));
    tokens.extend(alias);
    rewritten.marked.push(Marked { name, clause, location });
    Ok(())
}

/// Whether the token is one that leads to a table rather than a table itself.
fn leads(tokens: &[TokenWithSpan], at: usize) -> bool {
    let words = ["update", "into", "table", "overwrite", "merge", "truncate", "lateral", "only", "describe"];
    words.iter().any(|word| is_word(&tokens[at], word)) && (at == 0 || !is_word(&tokens[at - 1], "from"))
}

/// `"mark"(number)`.
fn mark_tokens(number: usize, location: Location) -> [TokenWithSpan; 4] {
    let span = Span { start: location, end: location };
    let word = Word { value: MARK.to_string(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
    [Token::Word(word), Token::LParen, Token::Number(number.to_string(), false), Token::RParen]
        .map(|token| TokenWithSpan { token, span })
}

/// The name and arguments of a mark in a syntax tree.
pub(crate) fn mark_name() -> ObjectName {
    ObjectName::from(vec![Ident::with_quote('"', MARK)])
}

/// The number that a mark carries.
fn mark_number(argument: &Expr) -> Option<usize> {
    match argument {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.to_string().parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// The number of the mark that a relation is, if it is one.
pub(crate) fn mark_of(relation: &TableFactor) -> Option<usize> {
    let TableFactor::Table { name, args: Some(args), .. } = relation else { return None };
    if name.0.first()?.as_ident()?.value != MARK {
        return None;
    }
    match &args.args[..] {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(number))] => mark_number(number),
        _ => None,
    }
}

/// How a clause begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    /// `FOR SYSTEM_TIME`, what follows not being `AS OF`; how many words.
    SystemTime(usize),
    /// `[FOR] VERSION AS OF`, ..
    AsOf(MomentKind, usize),
    /// `AT (`, `BEFORE (`
    Function { before: bool },
    /// `VERSIONS BETWEEN`
    VersionsBetween,
    /// `CHANGES (`
    Changes,
}

impl Head {
    fn of(tokens: &[TokenWithSpan]) -> Option<Head> {
        let with_for = tokens.first().is_some_and(|token| is_word(token, "for"));
        let rest = if with_for { &tokens[1..] } else { tokens };
        for (words, kind) in [
            (["version", "as", "of"], MomentKind::Version),
            (["system_version", "as", "of"], MomentKind::Version),
            (["timestamp", "as", "of"], MomentKind::Timestamp),
            (["system_time", "as", "of"], MomentKind::Timestamp),
        ] {
            // `SELECT version AS of, ..` is an alias.
            let is_alias = |token: &TokenWithSpan| {
                is_word(token, "from") || matches!(token.token, Token::Comma | Token::RParen)
            };
            if starts_with(rest, &words) && rest.get(3).is_some_and(|token| !is_alias(token)) {
                return Some(Head::AsOf(kind, 3 + with_for as usize));
            }
        }
        if with_for {
            return starts_with(rest, &["system_time"]).then_some(Head::SystemTime(2));
        }
        let opens = |at: usize| tokens.get(at).is_some_and(|token| token.token == Token::LParen);
        let arrow = |at: usize| tokens.get(at).is_some_and(|token| token.token == Token::RArrow);
        if opens(1) && arrow(3) {
            let before = is_word(&tokens[0], "before");
            if before || is_word(&tokens[0], "at") {
                return Some(Head::Function { before });
            }
            if is_word(&tokens[0], "changes") {
                return Some(Head::Changes);
            }
        }
        if starts_with(tokens, &["versions", "between"]) {
            return Some(Head::VersionsBetween);
        }
        if !starts_with(tokens, &["as", "of"]) {
            return None;
        }
        // `SELECT x AS of, ..` is an alias: a value has to follow.
        for (word, kind) in [
            ("timestamp", MomentKind::Timestamp),
            ("scn", MomentKind::Version),
            ("version", MomentKind::Version),
        ] {
            if tokens.get(2).is_some_and(|token| is_word(token, word)) && tokens.len() > 3 {
                return Some(Head::AsOf(kind, 3));
            }
        }
        let value = &tokens.get(2)?.token;
        matches!(value, Token::SingleQuotedString(_) | Token::Number(..) | Token::LParen)
            .then_some(Head::AsOf(MomentKind::Any, 2))
    }

    /// How many words it has.
    fn words(&self) -> usize {
        match self {
            Head::SystemTime(words) | Head::AsOf(_, words) => *words,
            Head::Function { .. } | Head::VersionsBetween | Head::Changes => 2,
        }
    }

    /// Whether it can be nothing else than a clause, wherever it stands.
    fn is_certain(&self) -> bool {
        match self {
            Head::SystemTime(_) | Head::Function { .. } | Head::Changes => true,
            Head::AsOf(kind, words) => *kind != MomentKind::Any && *words >= 3,
            Head::VersionsBetween => false,
        }
    }
}

/// The tokens behind the beginning of a clause.
struct Rest<'a> {
    tokens: &'a [TokenWithSpan],
    place: usize,
}

fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&DIALECT).with_tokens_with_locations(tokens)
}

impl<'a> Rest<'a> {
    fn new(tokens: &'a [TokenWithSpan], place: usize) -> Result<Rest<'a>> {
        match tokens.get(place) {
            Some(_) => Ok(Rest { tokens, place }),
            None => Err(Error::new("a time-travel clause ends before it says when")
                .at(tokens.last().map_or(Location { line: 0, column: 0 }, |token| token.span.start))),
        }
    }

    fn location(&self) -> Location {
        let token = self.tokens.get(self.place).or(self.tokens.last());
        token.map_or(Location { line: 0, column: 0 }, |token| token.span.start)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.place).is_some_and(|token| is_word(token, word));
        self.place += found as usize;
        found
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.place).is_some_and(|found| found.token == *token);
        self.place += found as usize;
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        match self.take_word(word) {
            true => Ok(()),
            false => Err(Error::new(format!("expected {} in a time-travel clause", word.to_uppercase()))
                .at(self.location())),
        }
    }

    fn expect(&mut self, token: &Token) -> Result<()> {
        match self.take(token) {
            true => Ok(()),
            false => Err(Error::new(format!("expected {token} in a time-travel clause")).at(self.location())),
        }
    }

    /// An expression, as far as it goes; within BETWEEN, up to AND.
    fn value(&mut self, within_between: bool) -> Result<Expr> {
        let location = self.location();
        let mut parser = parser(self.tokens[self.place.min(self.tokens.len())..].to_vec());
        let value = if within_between {
            // AND binds loosest of what may stand there.
            parser.parse_subexpr(20)
        } else {
            parser.parse_expr()
        };
        let value = value.map_err(|error| {
            let error = datafusion::common::DataFusionError::SQL(Box::new(error), None);
            Error::from(error).at(location)
        })?;
        self.place += parser.index();
        Ok(value)
    }

    fn moment(&mut self, kind: MomentKind) -> Result<Moment> {
        self.moment_in(kind, false)
    }

    fn moment_in(&mut self, kind: MomentKind, within_between: bool) -> Result<Moment> {
        let location = self.location();
        let value = Box::new(self.value(within_between)?);
        Ok(Moment { kind, value, before: false, location })
    }

    fn clause(&mut self, head: &Head, start: Location) -> Result<Clause> {
        Ok(match head {
            Head::AsOf(kind, _) => Clause::At(self.moment(*kind)?),
            Head::Function { before } => Clause::At(self.function(*before)?),
            Head::Changes => {
                return Err(Error::new(
                    "CHANGES is not read here: use the table function changes('t', FROM, TO), with versions or times",
                )
                .at(start));
            }
            Head::VersionsBetween => {
                let kind = if self.take_word("timestamp") {
                    MomentKind::Timestamp
                } else if self.take_word("scn") || self.take_word("version") {
                    MomentKind::Version
                } else {
                    MomentKind::VersionOrTimestamp
                };
                let from = if self.take_word("minvalue") { None } else { Some(self.moment_in(kind, true)?) };
                self.expect_word("and")?;
                let to = if self.take_word("maxvalue") { None } else { Some(self.moment_in(kind, true)?) };
                Clause::Lives(Box::new(Period::Between(from, to)))
            }
            Head::SystemTime(_) => Clause::Lives(Box::new(self.period()?)),
        })
    }

    fn period(&mut self) -> Result<Period> {
        let kind = MomentKind::VersionOrTimestamp;
        if self.take_word("all") {
            return Ok(Period::All);
        }
        if self.take_word("between") {
            let from = self.moment_in(kind, true)?;
            self.expect_word("and")?;
            return Ok(Period::Between(Some(from), Some(self.moment_in(kind, true)?)));
        }
        if self.take_word("from") {
            let from = self.moment(kind)?;
            self.expect_word("to")?;
            return Ok(Period::FromTo(from, self.moment(kind)?));
        }
        if self.take_word("contained") {
            self.expect_word("in")?;
            self.expect(&Token::LParen)?;
            let from = self.moment(kind)?;
            self.expect(&Token::Comma)?;
            let to = self.moment(kind)?;
            self.expect(&Token::RParen)?;
            return Ok(Period::ContainedIn(from, to));
        }
        Err(Error::new(
            "FOR SYSTEM_TIME takes AS OF t, BETWEEN a AND b, FROM a TO b, CONTAINED IN (a, b) or ALL",
        )
        .at(self.location()))
    }

    /// `TIMESTAMP => ..)` and its like.
    fn function(&mut self, before: bool) -> Result<Moment> {
        let location = self.location();
        let kinds = [
            ("timestamp", MomentKind::Timestamp),
            ("version", MomentKind::Version),
            ("snapshot", MomentKind::Version),
            ("offset", MomentKind::Offset),
            ("tag", MomentKind::Tag),
            ("statement", MomentKind::Statement),
        ];
        let kind = kinds.into_iter().find(|(word, _)| self.take_word(word)).map(|(_, kind)| kind);
        let kind = kind.ok_or_else(|| {
            Error::new(
                "AT and BEFORE take TIMESTAMP, VERSION, OFFSET, TAG or STATEMENT, as AT (VERSION => 3)",
            )
            .at(location)
        })?;
        self.expect(&Token::RArrow)?;
        let moment = self.moment(kind)?;
        self.expect(&Token::RParen)?;
        Ok(Moment { before, ..moment })
    }
}
