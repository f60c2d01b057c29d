//! `alter-table`: changes of a table's columns, all in one commit.

use crate::args::{AlterTableArgs, CommitArgs};
use crate::{Context, Result, Status, print, schema_text};
use asof_engine::{Alteration, CommitOptions};

/// Changes a table's columns.
pub fn run(args: AlterTableArgs, context: &Context) -> Result {
    let alterations = schema_text::parse_alterations(&args.alterations)?;
    let what: Vec<String> = alterations.iter().map(describe).collect();
    let what = format!("alter table {}: {}", args.table, what.join(", "));
    let database = context.open(&args.database)?;
    let mut transaction = database.begin()?;
    for alteration in alterations {
        transaction.alter_table(&args.table, alteration)?;
    }
    if args.commit.dry_run {
        print::dry_run(context, &what)?;
        return Ok(Status::Done);
    }
    let committed = transaction.commit(commit_options("alter-table", &args.table, &args.commit))?;
    print::committed(context, &committed, &what)?;
    Ok(Status::Done)
}

fn describe(alteration: &Alteration) -> String {
    match alteration {
        Alteration::AddColumn(column) => format!("add {} {}", column.name, column.column_type),
        Alteration::DropColumn(name) => format!("drop {name}"),
        Alteration::RenameColumn { from, to } => format!("rename {from} to {to}"),
        Alteration::WidenColumn { name, to } => format!("widen {name} to {to}"),
        Alteration::AddCheck(check) => format!("add check {}", check.name),
        Alteration::DropCheck(name) => format!("drop check {name}"),
    }
}

/// What is said about a commit that changes the schema of a table.
pub(crate) fn commit_options(operation: &str, table: &str, args: &CommitArgs) -> CommitOptions {
    CommitOptions {
        operation: Some(operation.to_string()),
        parameters: [("table".to_string(), table.to_string())].into(),
        ..args.said.options()
    }
}
