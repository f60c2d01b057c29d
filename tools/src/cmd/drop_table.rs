//! `drop-table`: the end of a table; earlier versions keep it.

use crate::args::DropTableArgs;
use crate::cmd::alter_table::commit_options;
use crate::{Context, Result, Status, print};

/// Drops a table.
pub fn run(args: DropTableArgs, context: &Context) -> Result {
    let what = format!("drop table {}", args.table);
    let database = context.open(&args.database)?;
    let mut transaction = database.begin()?;
    transaction.drop_table(&args.table)?;
    if args.commit.dry_run {
        print::dry_run(context, &what)?;
        return Ok(Status::Done);
    }
    let committed = transaction.commit(commit_options("drop-table", &args.table, &args.commit))?;
    print::committed(context, &committed, &what)?;
    Ok(Status::Done)
}
