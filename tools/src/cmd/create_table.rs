//! `create-table`: a new table, as one commit.

use crate::args::CreateTableArgs;
use crate::cmd::alter_table::commit_options;
use crate::{Context, Result, Status, print, schema_text};

/// Makes a table, and the database where it is missing.
pub fn run(args: CreateTableArgs, context: &Context) -> Result {
    let definition = schema_text::parse_definition(&args.definition)?;
    if args.commit.dry_run {
        return dry_run(&args, definition, context);
    }
    let database = context.open_or_create(&args.database)?;
    let mut transaction = database.begin()?;
    definition.create(&mut transaction, &args.table)?;
    let committed = transaction.commit(commit_options("create-table", &args.table, &args.commit))?;
    print::committed(context, &committed, &format!("create table {}", args.table))?;
    Ok(Status::Done)
}

/// Checks against the database if there is one; makes none.
fn dry_run(args: &CreateTableArgs, definition: schema_text::Definition, context: &Context) -> Result {
    if asof_engine::Database::exists(&args.database, &context.options())? {
        let mut transaction = context.open(&args.database)?.begin()?;
        definition.create(&mut transaction, &args.table)?;
    } else {
        asof_engine::TableSchema::new(definition.columns, &definition.key)
            .map_err(asof_engine::Error::from)?;
    }
    print::dry_run(context, &format!("create table {}", args.table))?;
    Ok(Status::Done)
}
