//! What the names in one statement mean: the version that it reads, its marks, its views and its functions.
//!
//! Invariant: everything that a statement reads without a clause of its own is read at one version, and a mark is
//! planned here or nowhere.

use crate::catalog::Catalogs;
use crate::clause::{Clause, Marked, Moment, Period, mark_of};
use crate::error::{Error, Result};
use crate::functions;
use crate::moment::{Moments, Range};
use crate::names::{self, CATALOG, Found};
use crate::scans::tell_apart;
use crate::system;
use crate::table::{Generated, Table};
use asof_engine::{Database, Snapshot, Transaction, Version};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result as PlanResult, TableReference, plan_datafusion_err};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning, TypePlanner,
};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::sql::planner::{ContextProvider, SqlToRel};
use datafusion::sql::sqlparser::ast::{self, Spanned, TableFactor};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// Views within views, at most.
const DEPTH_MAX: usize = 32;

/// A view of a session: a query that is planned anew whenever it is read.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) query: Box<ast::Query>,
    pub(crate) columns: Vec<ast::Ident>,
    pub(crate) text: String,
    /// The moment of all its tables, where its query says one.
    pub(crate) whole: Option<Moment>,
}

/// What a session knows beside the database.
#[derive(Clone, Default)]
pub(crate) struct Known {
    pub(crate) views: BTreeMap<String, View>,
    /// Tables over files, where files are allowed.
    pub(crate) external: HashMap<String, Arc<dyn TableProvider>>,
    /// The clauses of views, then those of the statement that runs.
    pub(crate) marked: Vec<Marked>,
    /// How many of them are of views.
    pub(crate) kept: usize,
}

/// Names as one statement, or a view at another version, means them.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) database: Database,
    pub(crate) state: SessionState,
    pub(crate) known: Arc<Known>,
    /// The version that is read where nothing else is said.
    pub(crate) snapshot: Snapshot,
    /// The transaction that is open, whose changes are seen where nothing else is said.
    pub(crate) transaction: Option<Arc<Mutex<Transaction>>>,
    /// The transaction that the statement writes to.
    pub(crate) written: Option<Arc<Mutex<Transaction>>>,
    pub(crate) depth: usize,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("version", &self.snapshot.version()).finish_non_exhaustive()
    }
}

/// A scope to plan in.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) names: Arc<Names>,
    planners: Vec<Arc<dyn RelationPlanner>>,
}

impl Scope {
    pub(crate) fn new(names: Arc<Names>) -> Scope {
        let planner: Arc<dyn RelationPlanner> = Arc::new(MarkPlanner { names: names.clone() });
        Scope { names, planners: vec![planner] }
    }

    /// Plans a statement.
    pub(crate) fn plan(&self, statement: ast::Statement) -> Result<LogicalPlan> {
        let planner = SqlToRel::new_with_options(self, names::parser_options(&self.names.state));
        tell_apart(planner.sql_statement_to_plan(statement)?)
    }

    /// Plans a statement as DataFusion's parser gives it.
    pub(crate) fn plan_parsed(&self, statement: datafusion::sql::parser::Statement) -> Result<LogicalPlan> {
        let planner = SqlToRel::new_with_options(self, names::parser_options(&self.names.state));
        tell_apart(planner.statement_to_plan(statement)?)
    }

    /// Plans a query.
    pub(crate) fn plan_query(&self, query: ast::Query) -> Result<LogicalPlan> {
        self.plan(ast::Statement::Query(Box::new(query)))
    }
}

impl Names {
    /// The same names at another version, without what the open transaction changed.
    fn at(&self, snapshot: Snapshot) -> Names {
        Names { snapshot, transaction: None, written: None, ..self.clone() }
    }

    /// The same names, whose catalog tells of what they see.
    pub(crate) fn with_own_catalog(self) -> Arc<Names> {
        let list = Arc::new(Catalogs(Arc::new(self.clone())));
        let state =
            SessionStateBuilder::new_from_existing(self.state.clone()).with_catalog_list(list).build();
        Arc::new(Names { state, ..self })
    }

    /// The version that a moment names.
    pub(crate) fn version(&self, scope: &Scope, moment: &Moment) -> Result<Version> {
        Moments { database: &self.database, state: &self.state, provider: scope }.version(moment)
    }

    fn range(&self, scope: &Scope, period: &Period) -> Result<Range> {
        let moments = Moments { database: &self.database, state: &self.state, provider: scope };
        moments.period(period, self.snapshot.version())
    }

    /// The names of all tables of the database that are seen.
    pub(crate) fn table_names(&self) -> asof_engine::Result<Vec<String>> {
        match &self.transaction {
            Some(transaction) => Ok(transaction.lock().table_names()),
            None => self.snapshot.table_names(),
        }
    }

    fn has_table(&self, table: &str) -> bool {
        match &self.transaction {
            Some(transaction) => transaction.lock().has_table(table),
            None => self.snapshot.schema(table).is_ok(),
        }
    }

    /// A table by its name in the database.
    pub(crate) fn table(&self, table: &str) -> asof_engine::Result<Table> {
        match &self.transaction {
            Some(transaction) => {
                let seen = transaction.lock().table_as_changed(table)?;
                Ok(Table::of_transaction(table, seen))
            }
            None => Table::of_snapshot(&self.snapshot, table),
        }
    }

    /// What a reference means here.
    pub(crate) fn find(&self, reference: &TableReference) -> Result<Found> {
        names::find(reference, &self.known, |table| self.has_table(table))
    }

    /// What is read where a reference stands without a clause.
    pub(crate) fn provider(self: &Arc<Names>, reference: &TableReference) -> Result<Arc<dyn TableProvider>> {
        Ok(match self.find(reference)? {
            Found::Table(name) => Arc::new(self.table(&name)?),
            Found::View(name) => Arc::new(self.view(&name)?),
            Found::External(table) => table,
            Found::System(table) => system::table(self, table)?,
            Found::At(name, expression) => {
                let asof = asof_engine::AsOf::parse(&expression, &self.database.options().time_zone)?;
                let snapshot = self.database.snapshot(self.database.resolve(&asof)?.version)?;
                Arc::new(Table::of_snapshot(&snapshot, &name)?)
            }
            Found::Information(table) => {
                let schema = self.state.schema_for_ref(TableReference::full(
                    CATALOG,
                    "information_schema",
                    "tables",
                ))?;
                let found = futures::executor::block_on(schema.table(&table))?;
                found.ok_or_else(|| Error::new(format!("there is no table information_schema.{table}")))?
            }
            Found::Nothing => {
                // The engine's error names what is nearest.
                let name = names::plain(reference);
                let error = match self.table(&name) {
                    Err(error) => Error::from(error),
                    Ok(_) => Error::new(format!("there is no table '{reference}'")),
                };
                return Err(self.with_other_case(error, &name));
            }
        })
    }

    /// Names without quotes are lowercase: says so where that is what is wrong.
    pub(crate) fn with_other_case(&self, error: Error, name: &str) -> Error {
        let names = self.table_names().unwrap_or_default();
        match names.iter().find(|other| *other != name && other.eq_ignore_ascii_case(name)) {
            Some(other) => Error::new(format!(
                "there is no table '{name}'; did you mean \"{}\"? names with capitals need quotes",
                other.replace('"', "\"\"")
            )),
            None => error,
        }
    }

    /// A view, planned at the version of these names.
    fn view(self: &Arc<Names>, name: &str) -> Result<ViewTable> {
        let view =
            self.known.views.get(name).ok_or_else(|| Error::new(format!("there is no view {name}")))?;
        if self.depth >= DEPTH_MAX {
            return Err(Error::new(format!(
                "view {name} reads itself, or views are nested more than {DEPTH_MAX} deep"
            )));
        }
        let names = match &view.whole {
            None => Names { depth: self.depth + 1, ..(**self).clone() },
            Some(moment) => {
                let version = self.version(&Scope::new(self.clone()), moment)?;
                Names { depth: self.depth + 1, ..self.at(self.database.snapshot(version)?) }
            }
        };
        let mut plan = Scope::new(names.with_own_catalog()).plan_query((*view.query).clone())?;
        if !view.columns.is_empty() {
            let fields = plan.schema().columns();
            if fields.len() != view.columns.len() {
                return Err(Error::new(format!(
                    "view {name} names {} columns, but its query has {}",
                    view.columns.len(),
                    fields.len()
                )));
            }
            let renamed = fields.into_iter().zip(&view.columns);
            let renamed = renamed.map(|(field, name)| Expr::Column(field).alias(names::normal(name)));
            plan = LogicalPlanBuilder::from(plan).project(renamed)?.build()?;
        }
        Ok(ViewTable::new(plan, Some(view.text.clone())))
    }

    /// What is read where a mark stands.
    fn marked(
        self: &Arc<Names>,
        marked: &Marked,
        reference: &TableReference,
    ) -> Result<Arc<dyn TableProvider>> {
        let scope = Scope::new(self.clone());
        match &marked.clause {
            Clause::At(moment) => {
                let version = self.version(&scope, moment)?;
                let snapshot = self.database.snapshot(version)?;
                let names = Arc::new(self.at(snapshot));
                match names.find(reference)? {
                    Found::Table(_) | Found::View(_) | Found::Nothing => names.provider(reference),
                    Found::System(table) => system::table(&names, table),
                    _ => Err(Error::new(format!(
                        "'{reference}' has no past: a time-travel clause is for tables and views"
                    ))),
                }
            }
            Clause::Lives(period) => {
                let range = self.range(&scope, period)?;
                let name = match self.find(reference)? {
                    Found::Table(name) => name,
                    Found::Nothing => names::plain(reference),
                    _ => {
                        return Err(Error::new(format!(
                            "'{reference}' has no row versions: they are of tables alone"
                        )));
                    }
                };
                Ok(Arc::new(functions::lives(&self.snapshot, &name, range)?))
            }
            Clause::Target => {
                let Some(transaction) = &self.written else {
                    return Err(Error::new("a table is written in a transaction"));
                };
                let found = names::find(reference, &self.known, |table| transaction.lock().has_table(table))?;
                let name = match found {
                    Found::Table(name) => name,
                    _ => names::plain(reference),
                };
                let seen = transaction.lock().table_as_changed(&name)?;
                if seen.schema().has_key() {
                    return Ok(Arc::new(Table::of_transaction(&name, seen)));
                }
                let mut fields: Vec<_> = seen.schema().to_arrow().fields().iter().cloned().collect();
                fields.push(Arc::new(datafusion::arrow::datatypes::Field::new(
                    asof_engine::ROW_COLUMN,
                    DataType::Binary,
                    true,
                )));
                let schema = Arc::new(datafusion::arrow::datatypes::Schema::new(fields));
                Ok(Arc::new(Generated::new(name, schema, seen.row_count(), move || seen.rows_told_apart())))
            }
        }
    }
}

/// Plans what marks stand for.
#[derive(Debug)]
struct MarkPlanner {
    names: Arc<Names>,
}

impl MarkPlanner {
    fn plan(&self, number: Option<usize>, context: &dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let marked = number.and_then(|number| self.names.known.marked.get(number));
        let marked = marked.ok_or_else(|| Error::new("a time-travel clause stands where none can be"))?;
        let at = |error: Error| error.at(marked.location);
        let reference = context.object_name_to_table_reference(marked.name.clone())?;
        let provider = self.names.marked(marked, &reference).map_err(at)?;
        Ok(LogicalPlanBuilder::scan(reference, provider_as_source(provider), None)?.build()?)
    }
}

impl RelationPlanner for MarkPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> PlanResult<RelationPlanning> {
        match relation {
            TableFactor::Table {
                ref args,
                ref sample,
                ref with_hints,
                ref partitions,
                ref index_hints,
                ..
            } => {
                // What the planner would pass over without a word.
                if sample.is_some()
                    || !with_hints.is_empty()
                    || !partitions.is_empty()
                    || !index_hints.is_empty()
                {
                    let what =
                        if sample.is_some() { "TABLESAMPLE" } else { "a hint or partition of a table" };
                    return Err(Error::new(format!("{what} is not supported; leave it out"))
                        .at(relation.span().start)
                        .into());
                }
                let number = mark_of(&relation);
                if args.is_none() || number.is_none() {
                    return Ok(RelationPlanning::Original(Box::new(relation)));
                }
                let plan = self.plan(number, context)?;
                let TableFactor::Table { alias, .. } = relation else { unreachable!("it was matched above") };
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
            }
            other => Ok(RelationPlanning::Original(Box::new(other))),
        }
    }
}

impl ContextProvider for Scope {
    fn get_table_source(&self, name: TableReference) -> PlanResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(self.names.provider(&name).map_err(DataFusionError::from)?))
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> PlanResult<Arc<dyn TableSource>> {
        if let Some(table) = functions::call(&self.names, name, &args)? {
            return Ok(provider_as_source(table));
        }
        let function = self.names.state.table_functions().get(name);
        let function = function.ok_or_else(|| {
            Error::new(format!(
                "there is no table function '{name}'; there are {}",
                functions::NAMES.join(", ")
            ))
        })?;
        let args = datafusion::catalog::TableFunctionArgs::new(&args, &self.names.state);
        Ok(provider_as_source(function.create_table_provider_with_args(args)?))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> PlanResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.names.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        None
    }

    fn get_file_type(
        &self,
        extension: &str,
    ) -> PlanResult<Arc<dyn datafusion::common::file_options::file_type::FileType>> {
        let format = self.names.state.get_file_format_factory(extension);
        let format = format.ok_or_else(|| plan_datafusion_err!("there is no file format '{extension}'"))?;
        Ok(datafusion::datasource::file_format::format_as_file_type(format))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.names.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.names.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.names.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.names.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.names.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.names.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.names.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.names.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.names.state.window_functions().keys().cloned().collect()
    }
}
