//! A session: statements one after the other, each at one version, or in a transaction.

use crate::clause::{MARK, Moment, rewrite};
use crate::commands::{self, Command};
use crate::error::{Error, Result};
use crate::names::{CATALOG, MAIN};
use crate::outcome::{Outcome, Rows};
use crate::scope::{Known, Names, Scope, View};
use crate::script::{DIALECT, Statement, split};
use crate::write;
use asof_engine::{
    AsOf, CommitOptions, Database, ErrorKind, Isolation, Snapshot, Transaction, TransactionOptions,
};
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParserBuilder, Statement as ParsedStatement};
use datafusion::sql::sqlparser::ast::{self, TransactionIsolationLevel, TransactionMode};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// How often a statement by itself is done again where another transaction changed the same rows first.
const ATTEMPTS: usize = 8;
/// Of the stack that a statement is planned on; what is not needed is never touched.
const STACK_BYTES: usize = 256 << 20;
/// Bytes of a statement that a commit keeps, at most.
const STATEMENT_BYTES_MAX: usize = 4_096;

/// How statements are run.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// The version that queries read, as an as-of expression; the newest where there is none. Nothing can be written
    /// then.
    pub as_of: Option<String>,
    /// Who changes what, where a statement does not say.
    pub author: Option<String>,
    /// Why, where a statement does not say.
    pub message: Option<String>,
    /// Free keys and values of commits.
    pub meta: std::collections::BTreeMap<String, String>,
    /// Whether `CREATE EXTERNAL TABLE`, `COPY` and paths may reach files.
    pub allow_files: bool,
    /// Whether statements may change nothing.
    pub read_only: bool,
    /// Bytes of memory for sorts, joins and groups, beyond which they go to disk; the database's budget where not given.
    pub memory_bytes: Option<u64>,
}

/// Runs statements on a database.
pub struct Session {
    database: Database,
    options: SessionOptions,
    runtime: Arc<Runtime>,
    context: SessionContext,
    known: Known,
    open: Option<Open>,
}

/// A transaction that was begun.
struct Open {
    transaction: Arc<Mutex<Transaction>>,
    snapshot: Snapshot,
    comment: Option<String>,
    statements: Vec<String>,
    /// What went wrong in it: nothing can be done but to roll it back.
    failed: bool,
}

impl Session {
    /// A session on a database.
    pub fn new(database: Database, options: SessionOptions) -> Result<Session> {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("asof sql")
            // Plans of deep statements are walked recursively.
            .thread_stack_size(16 << 20)
            .build();
        let runtime = runtime.map_err(|error| Error::new(format!("threads cannot be started: {error}")))?;
        let memory = options.memory_bytes.unwrap_or(database.options().memory_bytes) as usize;
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
            .with_disk_manager_builder(DiskManagerBuilder::default())
            .build_arc()?;
        let zone = database.options().time_zone.iana_name().unwrap_or("UTC").to_string();
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, MAIN)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true)
            .with_target_partitions(threads)
            .with_collect_statistics(true);
        let settings = config.options_mut();
        settings.sql_parser.collect_spans = true;
        // Values are stored as text: nothing is gained by the other form.
        settings.sql_parser.map_string_types_to_utf8view = false;
        settings.execution.time_zone = Some(zone);
        // Key columns are unverified to DataFusion, but true: one row for each.
        let context = SessionContext::new_with_config_rt(config, environment);
        Ok(Session {
            database,
            options,
            runtime: Arc::new(runtime),
            context,
            known: Known::default(),
            open: None,
        })
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    /// Splits a text into statements. Errors tell their place in this text.
    pub fn prepare(&self, sql: &str) -> Result<Vec<Prepared>> {
        Ok(split(sql)?.into_iter().map(Prepared).collect())
    }

    /// Runs all statements of a text, and gives the outcome of each to `each`; stops at the first that fails.
    pub fn run(&mut self, sql: &str, mut each: impl FnMut(Outcome) -> Result<()>) -> Result<()> {
        for statement in self.prepare(sql)? {
            each(self.execute(&statement)?)?;
        }
        Ok(())
    }

    /// Runs one statement. Rows are to be read before the next one.
    pub fn execute(&mut self, statement: &Prepared) -> Result<Outcome> {
        let statement = &statement.0;
        let ends = ["rollback", "commit", "end", "abort"];
        let may_follow = ends.iter().any(|word| crate::script::starts_with(&statement.tokens, &[word]));
        if self.open.as_ref().is_some_and(|open| open.failed) && !may_follow {
            return Err(
                Error::new("the transaction has failed: ROLLBACK, and begin it again").at(statement.start())
            );
        }
        let done = self.on_own_stack(statement);
        self.known.marked.truncate(self.known.kept);
        if done.is_err()
            && let Some(open) = &mut self.open
        {
            open.failed = true;
        }
        done
    }

    /// Statements are walked recursively, in debug builds with large steps: the caller's stack need not be up to it.
    fn on_own_stack(&mut self, statement: &Statement) -> Result<Outcome> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("asof sql".to_string()).stack_size(STACK_BYTES);
            let started = thread.spawn_scoped(scope, || self.execute_statement(statement));
            let done =
                started.map_err(|error| Error::new(format!("a thread cannot be started: {error}")))?.join();
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn execute_statement(&mut self, statement: &Statement) -> Result<Outcome> {
        crate::script::check_depth(&statement.tokens)?;
        if let Some(command) = commands::parse(statement)? {
            return self.run_command(command, statement);
        }
        let first = self.known.marked.len();
        let rewritten = rewrite(&statement.tokens, first)?;
        let whole = rewritten.whole;
        self.known.marked.extend(rewritten.marked);
        let mut parser = DFParserBuilder::new(rewritten.tokens).with_dialect(&DIALECT).build()?;
        let mut parsed = parser.parse_statements().map_err(|error| {
            let error = Error::from(error);
            // A mark is nothing that was typed.
            Error::new(error.message().replace(&format!("\"{MARK}\""), "a table with a time-travel clause"))
                .at(error.place().unwrap_or(crate::error::Place { line: 0, column: 0 }))
        })?;
        let (Some(mut parsed), true) = (parsed.pop_front(), parsed.is_empty()) else {
            return Err(Error::new("expected one statement").at(statement.start()));
        };
        crate::parts::check(&mut parsed)?;
        crate::shadow::check(&parsed, &self.known.marked, first)?;
        match parsed {
            ParsedStatement::Statement(parsed) => self.run_statement(*parsed, statement, whole.as_ref()),
            ParsedStatement::Explain(explain) => match *explain.statement {
                ParsedStatement::Statement(inner) if matches!(*inner, ast::Statement::Query(_)) => {
                    let explain = datafusion::sql::parser::ExplainStatement {
                        statement: Box::new(ParsedStatement::Statement(inner)),
                        ..explain
                    };
                    self.query(ParsedStatement::Explain(explain), whole.as_ref())
                }
                _ => Err(Error::new("EXPLAIN is for queries").at(statement.start())),
            },
            other @ (ParsedStatement::CreateExternalTable(_) | ParsedStatement::CopyTo(_)) => {
                if !self.options.allow_files {
                    return Err(Error::new("files are out of reach: allow them with --allow-files")
                        .at(statement.start()));
                }
                self.with_files(other, whole.as_ref())
            }
            ParsedStatement::Reset(_) => self.apply_setting(parsed, whole.as_ref()),
        }
    }

    fn run_statement(
        &mut self,
        parsed: ast::Statement,
        statement: &Statement,
        whole: Option<&Moment>,
    ) -> Result<Outcome> {
        use ast::Statement::*;
        let reads = match &parsed {
            Query(_)
            | ShowTables { .. }
            | ShowColumns { .. }
            | ExplainTable { .. }
            | Explain { .. }
            | CreateView(_) => true,
            Insert(insert) => insert.source.is_some(),
            CreateTable(create) => create.query.is_some(),
            _ => false,
        };
        if let (Some(moment), false) = (whole, reads) {
            return Err(Error::new("AS OF SYSTEM TIME is for queries: leave it out").at(moment.location));
        }
        match parsed {
            Query(_)
            | ShowTables { .. }
            | ShowColumns { .. }
            | ShowVariable { .. }
            | ShowFunctions { .. }
            | ExplainTable { .. } => self.query(ParsedStatement::Statement(Box::new(parsed)), whole),
            Explain { statement: ref inner, .. } if matches!(**inner, Query(_)) => {
                self.query(ParsedStatement::Statement(Box::new(parsed)), whole)
            }
            Explain { .. } => Err(Error::new("EXPLAIN is for queries").at(statement.start())),
            Set(_) => self.apply_setting(ParsedStatement::Statement(Box::new(parsed)), whole),
            StartTransaction { modes, .. } => self.begin(&modes, statement),
            Commit { chain: false, .. } => self.commit(statement),
            Rollback { chain: false, savepoint: None } => self.rollback(),
            CreateView(view) => self.create_view(view, statement, whole),
            Drop { object_type: ast::ObjectType::View, names, if_exists, .. } => {
                self.drop_views(&names, if_exists)
            }
            other if write::is_write(&other) => self.write(other, statement, whole),
            Savepoint { .. } | ReleaseSavepoint { .. } | Rollback { .. } => {
                Err(Error::new("there are no savepoints: ROLLBACK takes back the whole transaction")
                    .at(statement.start()))
            }
            Prepare { .. } | Execute { .. } | Deallocate { .. } => {
                Err(Error::new("statements are not prepared: a version is chosen when one is run")
                    .at(statement.start()))
            }
            Comment { .. } => Err(Error::new(
                "comments are of commits: end the statement that changes something with COMMENT '..'",
            )
            .at(statement.start())),
            other => {
                Err(Error::new(format!("{} is not supported", first_words(&other))).at(statement.start()))
            }
        }
    }

    /// The names that a statement sees.
    fn names(&self, whole: Option<&Moment>) -> Result<Arc<Names>> {
        let transaction = self.open.as_ref().map(|open| open.transaction.clone());
        let snapshot = match (&self.open, &self.options.as_of) {
            (Some(open), _) => open.snapshot.clone(),
            (None, Some(expression)) => {
                let asof = AsOf::parse(expression, &self.database.options().time_zone)?;
                self.database.snapshot(self.database.resolve(&asof)?.version)?
            }
            (None, None) => self.database.snapshot(self.database.refresh()?)?,
        };
        let names = self.names_at(snapshot, transaction);
        let Some(moment) = whole else { return Ok(names) };
        let version = names.version(&Scope::new(names.clone()), moment)?;
        Ok(self.names_at(self.database.snapshot(version)?, None))
    }

    fn names_at(&self, snapshot: Snapshot, transaction: Option<Arc<Mutex<Transaction>>>) -> Arc<Names> {
        let mut state = self.context.state();
        state.mark_start_execution();
        let names = Names {
            database: self.database.clone(),
            state,
            known: Arc::new(self.known.clone()),
            snapshot,
            transaction,
            written: None,
            depth: 0,
        };
        names.with_own_catalog()
    }

    fn query(&self, parsed: ParsedStatement, whole: Option<&Moment>) -> Result<Outcome> {
        let scope = Scope::new(self.names(whole)?);
        let plan = scope.plan_parsed(parsed)?;
        Ok(Outcome::Rows(self.rows(&scope.names.state, plan)?))
    }

    /// Runs a plan that changes nothing.
    pub(crate) fn rows(&self, state: &SessionState, plan: LogicalPlan) -> Result<Rows> {
        datafusion::execution::context::SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)
            .map_err(|_| Error::new("this changes something where only a query can stand"))?;
        Rows::of_plan(self.runtime.clone(), state, plan)
    }

    fn apply_setting(&self, parsed: ParsedStatement, whole: Option<&Moment>) -> Result<Outcome> {
        let scope = Scope::new(self.names(whole)?);
        let plan = scope.plan_parsed(parsed)?;
        self.runtime.block_on(self.context.execute_logical_plan(plan))?;
        Ok(Outcome::Done("set".to_string()))
    }

    fn with_files(&mut self, parsed: ParsedStatement, whole: Option<&Moment>) -> Result<Outcome> {
        let names = self.names(whole)?;
        let scope = Scope::new(names.clone());
        let plan = scope.plan_parsed(parsed)?;
        if let LogicalPlan::Ddl(datafusion::logical_expr::DdlStatement::CreateExternalTable(create)) = &plan {
            let name = create.name.table().to_string();
            if !create.or_replace && (self.known.external.contains_key(&name) || names.table(&name).is_ok()) {
                if create.if_not_exists {
                    return Ok(Outcome::Done(format!("table {name} is there")));
                }
                return Err(Error::new(format!("there is a table '{name}' already")));
            }
            let factory = names.state.table_factories().get(&create.file_type.to_uppercase()).cloned();
            let factory = factory
                .ok_or_else(|| Error::new(format!("there is no file format '{}'", create.file_type)))?;
            let table = self.runtime.block_on(factory.create(&names.state, create))?;
            self.known.external.insert(name.clone(), table);
            return Ok(Outcome::Done(format!("external table {name}, as long as this session lasts")));
        }
        Ok(Outcome::Rows(Rows::of_plan(self.runtime.clone(), &names.state, plan)?))
    }

    fn check_writable(&self, statement: &Statement) -> Result<()> {
        if self.options.as_of.is_some() {
            return Err(Error::new("the past cannot be written: leave --as-of out to change something")
                .at(statement.start()));
        }
        if self.options.read_only {
            return Err(Error::new("this session reads only").at(statement.start()));
        }
        Ok(())
    }

    fn begin(&mut self, modes: &[TransactionMode], statement: &Statement) -> Result<Outcome> {
        if self.open.is_some() {
            return Err(Error::new("a transaction is open already: COMMIT or ROLLBACK it first")
                .at(statement.start()));
        }
        self.check_writable(statement)?;
        let mut options = TransactionOptions::default();
        for mode in modes {
            match mode {
                TransactionMode::IsolationLevel(TransactionIsolationLevel::Serializable) => {
                    options.isolation = Isolation::Serializable;
                }
                // Stronger than asked for.
                TransactionMode::IsolationLevel(_) | TransactionMode::AccessMode(_) => {}
            }
        }
        self.database.refresh()?;
        let transaction = self.database.begin_with(options)?;
        let snapshot = self.database.snapshot(transaction.read_version())?;
        let version = snapshot.version();
        let transaction = Arc::new(Mutex::new(transaction));
        let (comment, statements) = (statement.comment.clone(), Vec::new());
        self.open = Some(Open { transaction, snapshot, comment, statements, failed: false });
        Ok(Outcome::Done(format!("begun at version {version}")))
    }

    fn commit(&mut self, statement: &Statement) -> Result<Outcome> {
        let Some(open) = self.open.take() else {
            return Err(Error::new("no transaction is open").at(statement.start()));
        };
        if open.failed {
            return Err(Error::new("a statement of the transaction failed: nothing was committed")
                .at(statement.start()));
        }
        let transaction = Arc::try_unwrap(open.transaction)
            .map_err(|_| Error::new("rows of the transaction are still being read: read them first"))?;
        let comment = statement.comment.clone().or(open.comment);
        let options = self.commit_options("sql", comment, &open.statements.join(";\n"));
        let committed = transaction.into_inner().commit(options)?;
        Ok(Outcome::Committed(committed))
    }

    fn rollback(&mut self) -> Result<Outcome> {
        match self.open.take() {
            Some(_) => Ok(Outcome::Done("rolled back".to_string())),
            None => Err(Error::new("no transaction is open")),
        }
    }

    fn commit_options(&self, operation: &str, comment: Option<String>, statement: &str) -> CommitOptions {
        let mut text = statement.to_string();
        if text.len() > STATEMENT_BYTES_MAX {
            let end = (0..=STATEMENT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
            text.push_str("..");
        }
        CommitOptions {
            operation: Some(operation.to_string()),
            parameters: [("statement".to_string(), text)].into(),
            message: comment.or_else(|| self.options.message.clone()),
            author: self.options.author.clone(),
            meta: self.options.meta.clone(),
            ..CommitOptions::default()
        }
    }

    fn write(
        &mut self,
        parsed: ast::Statement,
        statement: &Statement,
        whole: Option<&Moment>,
    ) -> Result<Outcome> {
        self.check_writable(statement)?;
        write::check_target(&parsed).map_err(|error| error.at(statement.start()))?;
        let operation = write::operation(&parsed);
        if let Some(open) = &self.open {
            if statement.comment.is_some() {
                return Err(
                    Error::new("in a transaction, COMMENT goes to BEGIN or COMMIT").at(statement.start())
                );
            }
            let transaction = open.transaction.clone();
            let (names, targets) = (self.names(whole)?, self.names(None)?);
            let write = write::Writer { session: self, names, targets, transaction, alone: false };
            let done = write.run(parsed)?;
            if let Some(open) = &mut self.open {
                open.statements.push(statement.text.clone());
            }
            return Ok(Outcome::Changed(done));
        }
        let mut attempt = 1;
        loop {
            self.database.refresh()?;
            let transaction = self.database.begin()?;
            let snapshot = self.database.snapshot(transaction.read_version())?;
            let transaction = Arc::new(Mutex::new(transaction));
            let mut names = self.names_at(snapshot, Some(transaction.clone()));
            let targets = names.clone();
            if let Some(moment) = whole {
                let version = names.version(&Scope::new(names.clone()), moment)?;
                names = self.names_at(self.database.snapshot(version)?, None);
            }
            let transaction_of = transaction.clone();
            let write =
                write::Writer { session: self, names, targets, transaction: transaction_of, alone: true };
            write.run(parsed.clone())?;
            drop(write);
            let transaction = Arc::try_unwrap(transaction)
                .map_err(|_| Error::new("rows of the transaction are still being read"))?;
            let options = self.commit_options(operation, statement.comment.clone(), &statement.text);
            match transaction.into_inner().commit(options) {
                // Another one changed the same rows first: done again on what is there now.
                Err(error) if error.kind() == ErrorKind::Conflict && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error.into()),
                Ok(committed) => return Ok(Outcome::Committed(committed)),
            }
        }
    }

    /// Does something to a table that brings back what was: in the open transaction, or by itself.
    fn bring_back(
        &mut self,
        statement: &Statement,
        operation: &str,
        table: &str,
        work: impl Fn(&mut Transaction) -> asof_engine::Result<()>,
    ) -> Result<Outcome> {
        self.check_writable(statement)?;
        if let Some(open) = &mut self.open {
            if statement.comment.is_some() {
                return Err(
                    Error::new("in a transaction, COMMENT goes to BEGIN or COMMIT").at(statement.start())
                );
            }
            let mut transaction = open.transaction.lock();
            work(&mut transaction)?;
            let done = transaction.counts()?.get(table).copied().unwrap_or_default();
            open.statements.push(statement.text.clone());
            return Ok(Outcome::Changed(done));
        }
        let mut attempt = 1;
        loop {
            self.database.refresh()?;
            // All that was read holds when it is committed.
            let isolation = Isolation::Serializable;
            let mut transaction = self.database.begin_with(TransactionOptions { isolation })?;
            work(&mut transaction)?;
            let options = self.commit_options(operation, statement.comment.clone(), &statement.text);
            match transaction.commit(options) {
                Err(error) if error.kind() == ErrorKind::Conflict && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error.into()),
                Ok(committed) => return Ok(Outcome::Committed(committed)),
            }
        }
    }

    fn create_view(
        &mut self,
        view: ast::CreateView,
        statement: &Statement,
        whole: Option<&Moment>,
    ) -> Result<Outcome> {
        let name = single_name(&view.name)?;
        if view.materialized {
            return Err(Error::new("views are not materialised: CREATE TABLE .. AS keeps a result")
                .at(statement.start()));
        }
        if self.names(None)?.table(&name).is_ok() {
            return Err(Error::new(format!("there is a table '{name}' already")).at(statement.start()));
        }
        if self.known.views.contains_key(&name) && !view.or_replace {
            if view.if_not_exists {
                return Ok(Outcome::Done(format!("view {name} is there")));
            }
            return Err(Error::new(format!("there is a view '{name}' already: CREATE OR REPLACE VIEW"))
                .at(statement.start()));
        }
        let columns = view.columns.iter().map(|column| column.name.clone()).collect();
        let made = View { query: view.query, columns, text: statement.text.clone(), whole: whole.cloned() };
        let before = self.known.views.insert(name.clone(), made);
        // It is planned once to see whether it can be.
        let names = self.names(None)?;
        let reference = datafusion::common::TableReference::bare(name.as_str());
        if let Err(error) = names.provider(&reference) {
            match before {
                Some(before) => self.known.views.insert(name, before),
                None => self.known.views.remove(&name),
            };
            return Err(error);
        }
        self.known.kept = self.known.marked.len();
        Ok(Outcome::Done(format!("view {name}, as long as this session lasts")))
    }

    fn drop_views(&mut self, names: &[ast::ObjectName], if_exists: bool) -> Result<Outcome> {
        let names = names.iter().map(single_name).collect::<Result<Vec<_>>>()?;
        for name in &names {
            if !self.known.views.contains_key(name) && !if_exists {
                return Err(Error::new(format!("there is no view '{name}'")));
            }
        }
        names.iter().for_each(|name| drop(self.known.views.remove(name)));
        Ok(Outcome::Done("dropped".to_string()))
    }

    fn run_command(&mut self, command: Command, statement: &Statement) -> Result<Outcome> {
        match command {
            Command::Query(sql) => {
                let Some(inner) = split(&sql)?.pop() else { return Err(Error::new("nothing to run")) };
                self.execute_statement(&inner).map_err(|error| {
                    // Places are those of the text that was made of it.
                    error.moved_to(statement.start())
                })
            }
            Command::Optimize(table) => {
                self.check_writable(statement)?;
                let names = self.names(None)?;
                let name = table.as_ref().map(|table| names.database_table(table)).transpose()?;
                let parameters = asof_engine::compact::Parameters::BY_HAND;
                self.database.checkpoint()?;
                let report = self.database.compact(name.as_deref(), &parameters)?;
                Ok(Outcome::Done(match report.files_read {
                    0 => "nothing to do: no file is worth being rewritten".to_string(),
                    files => format!(
                        "rewrote {files} files of {} bytes as {} of {} bytes",
                        report.bytes_read, report.files_written, report.bytes_written
                    ),
                }))
            }
            Command::Vacuum(table, vacuum) => {
                let name = self.names(None)?.database_table(&table)?;
                if vacuum.is_dry() {
                    return vacuum.plan(&self.database, &name, self.runtime.clone()).map(Outcome::Rows);
                }
                self.check_writable(statement)?;
                vacuum.execute(&self.database, &name).map(Outcome::Done)
            }
            Command::ShowCreate { table, moment } => {
                let names = self.names(moment.as_deref())?;
                commands::show_create(&names, &table, self.runtime.clone()).map(Outcome::Rows)
            }
            Command::Restore { table, moment } => {
                let names = self.names(None)?;
                let version = names.version(&Scope::new(names.clone()), &moment)?;
                let table = names.table_once(&table)?;
                self.bring_back(statement, "restore", &table, |transaction| {
                    transaction.restore(version, std::slice::from_ref(&table), 0).map(drop)
                })
            }
            Command::Undrop(table) => {
                let table = self.names(None)?.table_once(&table)?;
                self.bring_back(statement, "undrop", &table, |transaction| {
                    transaction.undrop(&table, 0).map(drop)
                })
            }
            Command::Refused(message) => Err(Error::new(message).at(statement.start())),
        }
    }

    /// Names to complete what is being typed: tables, columns, views, tags, functions.
    pub fn completions(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Ok(names) = self.names(None) {
            for table in names.table_names().unwrap_or_default() {
                if let Ok(schema) = names.snapshot.schema(&table) {
                    words.extend(schema.columns.iter().map(|column| quoted(&column.name)));
                }
                words.push(table.split('.').map(quoted).collect::<Vec<_>>().join("."));
            }
            words.extend(names.state.scalar_functions().keys().cloned());
            words.extend(names.state.aggregate_functions().keys().cloned());
        }
        words.extend(self.database.tags().unwrap_or_default().into_iter().map(|tag| tag.name));
        words.extend(self.known.views.keys().cloned());
        words.extend(crate::functions::NAMES.iter().map(|name| name.to_string()));
        words.sort_unstable();
        words.dedup();
        words
    }
}

/// One statement of a text.
#[derive(Clone, Debug)]
pub struct Prepared(Statement);

impl Prepared {
    /// Its text.
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

/// A name as SQL writes it.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty();
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn single_name(name: &ast::ObjectName) -> Result<String> {
    match &name.0[..] {
        [part] => part.as_ident().map(crate::names::normal).ok_or_else(|| Error::new("expected a name")),
        _ => Err(Error::new(format!("'{name}': views have no namespace"))),
    }
}

/// The first words of a statement, as they name it.
fn first_words(statement: &ast::Statement) -> String {
    let text = statement.to_string();
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    words.join(" ").to_uppercase()
}
