//! Histories that are hard on a store of versions, each in its own way.

use crate::table::Table;

/// A name, what happens, and how.
pub type History = (&'static str, &'static str, fn(&mut Table));

/// Rows of a table, where a history does not say otherwise.
const ROWS: usize = 10_000;
/// Changes of a commit, and commits between checkpoints: a twentieth of the table.
const CHANGES: usize = 50;
const COMMITS: usize = 10;

/// All histories.
pub const HISTORIES: &[History] = &[
    ("churn-2", "1 M rows, each replaced twice on average", |table| churn(table, 2, false)),
    ("churn-20", "1 M rows, each replaced 20 times on average", |table| churn(table, 20, false)),
    ("churn-200", "1 M rows, each replaced 200 times on average", |table| churn(table, 200, false)),
    ("zipf-2", "1 M rows, 2 M replacements, the n-th row with a share of about 1/n", |table| {
        churn(table, 2, true)
    }),
    ("zipf-20", "the same with 20 M", |table| churn(table, 20, true)),
    ("zipf-200", "the same with 200 M", |table| churn(table, 200, true)),
    ("growth", "from 10 k rows to 1 M, one row replaced for each two added", growth),
    ("shrinking", "from 1 M rows to 10 k, one row replaced for each two deleted", shrinking),
    ("append", "1 M rows, nothing replaced", append),
    ("reload", "1 M rows deleted and loaded anew 20 times, a tenth of them replaced in between", reload),
    ("mass-delete", "1 M rows, of which one commit deletes nine tenths, then churn", mass_delete),
    ("tiny", "500 rows, a million commits of one replacement", tiny),
    ("mixed", "1 M rows, then 200 commits: 5,000 replaced (1/n), 1,000 added, 500 deleted", mixed),
];

fn load(table: &mut Table, rows: usize) {
    (0..rows).for_each(|_| table.insert());
    table.commit();
    table.checkpoint(true);
}

fn some(table: &mut Table, zipf: bool) -> usize {
    if zipf { table.zipf() } else { table.below(table.alive.len()) }
}

fn churn(table: &mut Table, times: usize, zipf: bool) {
    load(table, ROWS);
    for commit in 1..=times * ROWS / CHANGES {
        for _ in 0..CHANGES {
            let index = some(table, zipf);
            table.update(index);
        }
        table.commit();
        if commit % COMMITS == 0 {
            table.checkpoint(true);
        }
    }
}

fn growth(table: &mut Table) {
    load(table, ROWS / 100);
    let mut changes = 0;
    while table.alive.len() < ROWS {
        let adds = (table.alive.len() / 200).max(2);
        for nth in 0..adds {
            table.insert();
            if nth % 2 == 0 {
                let index = some(table, false);
                table.update(index);
            }
        }
        table.commit();
        changes += adds;
        if changes * 20 >= table.alive.len() {
            table.checkpoint(true);
            changes = 0;
        }
    }
}

fn shrinking(table: &mut Table) {
    load(table, ROWS);
    let mut changes = 0;
    while table.alive.len() > ROWS / 100 {
        let deletes = (table.alive.len() / 200).max(2);
        for nth in 0..deletes {
            let index = some(table, false);
            table.delete(index);
            if nth % 2 == 0 {
                let index = some(table, false);
                table.update(index);
            }
        }
        table.commit();
        changes += deletes;
        if changes * 20 >= table.alive.len() {
            table.checkpoint(true);
            changes = 0;
        }
    }
}

fn append(table: &mut Table) {
    for commit in 1..=ROWS / CHANGES {
        (0..CHANGES).for_each(|_| table.insert());
        table.commit();
        if commit % COMMITS == 0 {
            table.checkpoint(true);
        }
    }
}

fn reload(table: &mut Table) {
    for _ in 0..20 {
        while !table.alive.is_empty() {
            table.delete(0);
        }
        load(table, ROWS);
        for commit in 1..=ROWS / 10 / CHANGES {
            for _ in 0..CHANGES {
                let index = some(table, false);
                table.update(index);
            }
            table.commit();
            if commit % COMMITS == 0 {
                table.checkpoint(true);
            }
        }
    }
}

fn mass_delete(table: &mut Table) {
    load(table, ROWS);
    churn_on(table, ROWS / 2);
    while table.alive.len() > ROWS / 10 {
        let index = some(table, false);
        table.delete(index);
    }
    table.commit();
    table.checkpoint(true);
    churn_on(table, ROWS / 2);
}

fn churn_on(table: &mut Table, updates: usize) {
    for commit in 1..=updates / CHANGES {
        for _ in 0..CHANGES {
            let index = some(table, false);
            table.update(index);
        }
        table.commit();
        if commit % COMMITS == 0 {
            table.checkpoint(true);
        }
    }
}

fn tiny(table: &mut Table) {
    load(table, 5);
    for commit in 1..=10_000 {
        let index = some(table, false);
        table.update(index);
        table.commit();
        if commit % 50 == 0 {
            table.checkpoint(true);
        }
    }
}

fn mixed(table: &mut Table) {
    load(table, ROWS);
    for commit in 1..=200 {
        for _ in 0..50 {
            let index = some(table, true);
            table.update(index);
        }
        (0..10).for_each(|_| table.insert());
        for _ in 0..5 {
            let index = some(table, false);
            table.delete(index);
        }
        table.commit();
        if commit % 20 == 0 {
            table.checkpoint(true);
        }
    }
}
