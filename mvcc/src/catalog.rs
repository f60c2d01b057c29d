//! Which tables there are, and under which schema, at every version.
//!
//! A [`Catalog`] is an immutable value; a commit that changes schemas makes another one. It holds
//! the whole history, so the same catalog answers for every version up to the one it was made for,
//! and entries of a commit that is not published yet are invisible to readers of published
//! versions. A table's key never changes: another key makes another table of the same name.

use crate::schema::TableSchema;
use crate::version::Version;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Number of a table, from 1, never given twice within a database.
pub type TableId = u32;

/// A table with its whole history.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its number.
    pub id: TableId,
    /// Full name: `customers` or `gold.customers`.
    pub name: String,
    /// When it existed: half-open ranges of versions, ascending; the last may be open.
    pub lives: Vec<(Version, Option<Version>)>,
    /// Its schemas, ascending by the version from which each holds.
    pub schemas: Vec<(Version, Arc<TableSchema>)>,
    /// The id that the next added column gets.
    pub next_column_id: u32,
}

impl Table {
    /// A new table that exists from `version` on.
    pub fn new(id: TableId, name: String, schema: Arc<TableSchema>, version: Version) -> Table {
        let next_column_id = schema.columns.iter().map(|column| column.id).max().unwrap_or(0) + 1;
        Table { id, name, lives: vec![(version, None)], schemas: vec![(version, schema)], next_column_id }
    }

    /// The table as it was at a version, which is not before its first.
    fn up_to(self: &Arc<Table>, version: Version) -> Arc<Table> {
        if self.is_as_of(version) {
            return self.clone();
        }
        let mut table = Table::clone(self);
        table.schemas.retain(|(from, _)| *from <= version);
        table.lives.retain(|(from, _)| *from <= version);
        if let Some((_, to)) = table.lives.last_mut() {
            *to = to.filter(|to| *to <= version);
        }
        Arc::new(table)
    }

    /// Whether nothing of it is newer than a version.
    fn is_as_of(&self, version: Version) -> bool {
        let is_newer =
            |(from, to): &(Version, Option<Version>)| *from > version || to.is_some_and(|to| to > version);
        self.schemas.last().is_none_or(|(from, _)| *from <= version) && !self.lives.iter().any(is_newer)
    }

    /// Whether the table exists at a version.
    pub fn exists_at(&self, version: Version) -> bool {
        self.lives.iter().any(|&(from, to)| from <= version && to.is_none_or(|to| version < to))
    }

    /// Those of its lives that it had at some version from `from` to `to`.
    pub fn lives_within(
        &self,
        from: Version,
        to: Version,
    ) -> impl Iterator<Item = (Version, Option<Version>)> {
        let overlaps =
            move |(begin, end): &(Version, Option<Version>)| *begin <= to && end.is_none_or(|end| end > from);
        self.lives.iter().copied().filter(overlaps)
    }

    /// The schema in force at a version; the first one before that.
    pub fn schema_at(&self, version: Version) -> &Arc<TableSchema> {
        &self.schemas[self.schema_index_at(version)].1
    }

    /// The index in [`Table::schemas`] of the schema in force at a version.
    pub fn schema_index_at(&self, version: Version) -> usize {
        self.schemas.partition_point(|(from, _)| *from <= version).saturating_sub(1)
    }

    /// The schema in force now.
    pub fn newest_schema(&self) -> &Arc<TableSchema> {
        &self.schemas.last().expect("a table has at least one schema").1
    }

    /// Ends the table at a version.
    pub fn drop_at(&mut self, version: Version) {
        if let Some((_, to @ None)) = self.lives.last_mut() {
            *to = Some(version);
        }
    }

    /// Begins another life at a version, with the rows that were there when the last one ended.
    pub fn revive_at(&mut self, version: Version) {
        if self.lives.last().is_some_and(|(_, to)| to.is_some()) {
            self.lives.push((version, None));
        }
    }

    /// The version at which the table was dropped, if it is not there at `version`: the last one before.
    pub fn dropped_before(&self, version: Version) -> Option<Version> {
        let ends = self.lives.iter().filter_map(|(_, to)| *to).filter(|to| *to <= version);
        if self.exists_at(version) { None } else { ends.max() }
    }

    /// Puts another schema in force from a version on; a second change in one version replaces the first.
    pub fn set_schema(&mut self, schema: Arc<TableSchema>, version: Version) {
        let highest = schema.columns.iter().map(|column| column.id).max().unwrap_or(0);
        self.next_column_id = self.next_column_id.max(highest + 1);
        match self.schemas.last_mut() {
            Some((from, last)) if *from == version => *last = schema,
            _ => self.schemas.push((version, schema)),
        }
    }
}

/// All tables with their whole history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    tables: BTreeMap<TableId, Arc<Table>>,
}

impl Catalog {
    /// A catalog of tables.
    pub fn new(tables: impl IntoIterator<Item = Table>) -> Catalog {
        Catalog { tables: tables.into_iter().map(|table| (table.id, Arc::new(table))).collect() }
    }

    /// A table by number.
    pub fn table(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id)
    }

    /// Every table that ever was, by number.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    /// The table of a name at a version.
    pub fn find(&self, name: &str, version: Version) -> Option<&Arc<Table>> {
        self.tables.values().find(|table| table.name == name && table.exists_at(version))
    }

    /// Every table of a name that ever was, oldest first.
    pub fn incarnations<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Arc<Table>> {
        self.tables.values().filter(move |table| table.name == name)
    }

    /// The table of a name at a version or, where there is none, the one that was dropped last before.
    pub fn find_last(&self, name: &str, version: Version) -> Option<&Arc<Table>> {
        let dropped = || {
            let named = self.tables.values().filter(|table| table.name == name);
            let known = named.filter_map(|table| Some((table.dropped_before(version)?, table)));
            known.max_by_key(|(end, table)| (*end, table.id)).map(|(_, table)| table)
        };
        self.find(name, version).or_else(dropped)
    }

    /// The tables at a version, by name.
    pub fn tables_at(&self, version: Version) -> Vec<&Arc<Table>> {
        let mut tables: Vec<_> = self.tables.values().filter(|table| table.exists_at(version)).collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables
    }

    /// The catalog as it was at a version: without what newer commits, published or not, made of it.
    pub fn up_to(self: &Arc<Catalog>, version: Version) -> Arc<Catalog> {
        // As a rule there is nothing newer.
        if self.tables.values().all(|table| table.is_as_of(version)) {
            return self.clone();
        }
        let known = self.tables.iter().filter(|(_, table)| table.schemas[0].0 <= version);
        Arc::new(Catalog { tables: known.map(|(id, table)| (*id, table.up_to(version))).collect() })
    }

    /// Adds or replaces a table.
    pub fn put(&mut self, table: Table) {
        self.tables.insert(table.id, Arc::new(table));
    }

    /// A table to change.
    pub fn table_mut(&mut self, id: TableId) -> Option<&mut Table> {
        self.tables.get_mut(&id).map(Arc::make_mut)
    }

    /// The number that the next new table gets.
    pub fn next_table_id(&self) -> TableId {
        self.tables.keys().next_back().map_or(1, |last| last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column_type::ColumnType;
    use crate::schema::Column;

    fn schema(columns: &[&str]) -> Arc<TableSchema> {
        let columns = columns.iter().map(|name| Column::new(*name, ColumnType::Int64)).collect();
        Arc::new(TableSchema::new(columns, &["id"]).unwrap())
    }

    #[test]
    fn a_table_that_comes_back_has_two_lives() {
        let mut catalog = Catalog::default();
        catalog.put(Table::new(1, "a".into(), schema(&["id"]), Version(1)));
        catalog.table_mut(1).unwrap().drop_at(Version(3));
        catalog.put(Table::new(2, "a".into(), schema(&["id"]), Version(4)));
        let found =
            |catalog: &Catalog, version| catalog.find_last("a", Version(version)).map(|table| table.id);
        assert_eq!(
            (0..6).map(|v| found(&catalog, v)).collect::<Vec<_>>(),
            [None, Some(1), Some(1), Some(1), Some(2), Some(2)]
        );
        catalog.table_mut(2).unwrap().drop_at(Version(6));
        assert_eq!(found(&catalog, 7), Some(2), "it was dropped last");
        catalog.table_mut(1).unwrap().revive_at(Version(8));
        let table = catalog.table(1).unwrap();
        assert_eq!(table.lives, [(Version(1), Some(Version(3))), (Version(8), None)]);
        let there = [1, 2, 3, 7, 8, 9].map(|version| table.exists_at(Version(version)));
        assert_eq!(there, [true, true, false, false, true, true]);
        assert_eq!(found(&catalog, 9), Some(1));
        catalog.table_mut(1).unwrap().revive_at(Version(9));
        assert_eq!(catalog.table(1).unwrap().lives.len(), 2, "it is there already");
        let before = Arc::new(catalog).up_to(Version(7));
        assert_eq!(before.table(1).unwrap().lives, [(Version(1), Some(Version(3)))]);
    }

    #[test]
    fn a_catalog_up_to_a_version_knows_nothing_of_newer_ones() {
        let mut catalog = Catalog::default();
        catalog.put(Table::new(1, "a".into(), schema(&["id"]), Version(1)));
        catalog.put(Table::new(2, "b".into(), schema(&["id"]), Version(3)));
        catalog.table_mut(1).unwrap().set_schema(schema(&["id", "more"]), Version(4));
        catalog.table_mut(2).unwrap().drop_at(Version(5));
        let catalog = Arc::new(catalog);
        let seen = |version: u64| {
            let catalog = catalog.up_to(Version(version));
            let later = Version(version + 1);
            let tables = catalog.tables_at(later).into_iter();
            tables.map(|table| (table.name.clone(), table.newest_schema().columns.len())).collect::<Vec<_>>()
        };
        assert_eq!(seen(0), []);
        assert_eq!(seen(2), [("a".to_string(), 1)]);
        assert_eq!(seen(3), [("a".to_string(), 1), ("b".to_string(), 1)]);
        assert_eq!(seen(4), [("a".to_string(), 2), ("b".to_string(), 1)]);
        assert_eq!(seen(5), [("a".to_string(), 2)]);
        assert!(Arc::ptr_eq(&catalog.up_to(Version(5)), &catalog), "there is nothing to leave out");
    }
}
