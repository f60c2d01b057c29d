//! Which versions of which tables a run of retention may let go, and which it must: the model's side of it.
//!
//! Retention counts states: what a table was from one change to the next. What a change is the engine alone knows (a row
//! that is written as it was may be one), so the model knows two bounds. Every state begins where a commit touched the
//! table, and there is one at least for each text of it that differs from the one before. Between these an answer is
//! taken for what it is, and from then on everything must agree with it.

use crate::model::{Model, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Versions that are gone, by table: half-open ranges, in order.
pub type Gone = BTreeMap<String, Vec<(u64, u64)>>;

/// Versions of a table that follow one another, that no commit touched it between, or that are gone together.
#[derive(Clone, Debug)]
struct Stretch {
    from: u64,
    /// Exclusive.
    to: u64,
    /// Whether it ends with the newest version: nothing has ended it yet.
    in_force: bool,
    gone: bool,
    /// Neighbours of one number may be one state: their texts are equal.
    group: usize,
}

impl Version {
    /// Which incarnation of a name there is.
    fn made_at(&self, table: &str) -> Option<u64> {
        self.tables.get(table).map(|table| table.made_at)
    }
}

/// The range that a version of a table is gone with.
fn range_of(gone: &Gone, table: &str, version: u64) -> Option<(u64, u64)> {
    let ranges = gone.get(table)?;
    ranges.iter().copied().find(|(from, to)| (*from..*to).contains(&version))
}

impl Model {
    /// Whether a version of a table is gone.
    pub fn is_gone(&self, table: &str, version: u64) -> bool {
        range_of(&self.gone, table, version).is_some()
    }

    /// How many versions of tables are gone.
    pub fn gone_count(&self) -> u64 {
        self.gone.values().flatten().map(|(from, to)| to - from).sum()
    }

    /// The tables of a version with their texts, those left out that are gone.
    pub fn readable(&self, version: u64) -> BTreeMap<String, Arc<str>> {
        let mut texts = self.versions[version as usize].texts.clone();
        texts.retain(|name, _| !self.is_gone(name, version));
        texts
    }

    /// Names of the tables of a version that are gone.
    pub fn gone_at(&self, version: u64) -> Vec<String> {
        let names = self.versions[version as usize].tables.keys();
        names.filter(|name| self.is_gone(name, version)).cloned().collect()
    }

    /// The first version from this one on that listings show: one of its tables can be read, or it has none.
    pub fn next_listed(&self, version: u64) -> u64 {
        (version..self.newest()).find(|version| self.is_listed(*version)).unwrap_or(self.newest())
    }

    /// Whether listings show a version.
    pub fn is_listed(&self, version: u64) -> bool {
        self.versions[version as usize].tables.is_empty() || !self.readable(version).is_empty()
    }

    /// The readable versions of a table that are nearest to one that is gone, the nearest first: before its range, and
    /// after it.
    pub fn nearest(&self, table: &str, version: u64) -> Vec<u64> {
        let Some((from, to)) = range_of(&self.gone, table, version) else { return Vec::new() };
        let made_at = self.versions[version as usize].made_at(table);
        let same = |near: &u64| {
            let near = self.versions.get(*near as usize);
            near.is_some_and(|near| near.made_at(table) == made_at)
        };
        let mut nearest: Vec<u64> = from.checked_sub(1).into_iter().chain([to]).filter(same).collect();
        nearest.sort_by_key(|near| near.abs_diff(version));
        nearest
    }

    /// Whether a table is gone at any version from `from` to `to`.
    pub fn is_gone_within(&self, table: &str, from: u64, to: u64) -> bool {
        let mut ranges = self.gone.get(table).into_iter().flatten();
        ranges.any(|(begin, end)| *begin <= to && from < *end)
    }

    /// Whether a run of retention that keeps the newest `last` states, of one table or of all, and what tags name, may
    /// leave `found` gone; or why it cannot.
    pub fn may_let_go(&self, table: Option<&str>, last: u64, found: &Gone) -> Result<(), String> {
        let names: BTreeSet<&String> =
            self.versions.iter().flat_map(|version| version.tables.keys()).collect();
        if let Some(stranger) = found.keys().find(|name| !names.contains(name)) {
            return Err(format!("{stranger} is gone, which never was"));
        }
        for name in names {
            if table.is_some_and(|table| table != name) {
                if found.get(name) != self.gone.get(name) {
                    let (before, after) = (self.gone.get(name), found.get(name));
                    return Err(format!("{name} was spared: gone was {before:?}, now is {after:?}"));
                }
                continue;
            }
            for life in self.lives(name) {
                self.may_let_go_of(name, &life, last, found)?;
            }
        }
        Ok(())
    }

    fn may_let_go_of(&self, name: &str, life: &[Stretch], last: u64, found: &Gone) -> Result<(), String> {
        let tagged = |stretch: &Stretch| {
            self.tags.values().any(|version| (stretch.from..stretch.to).contains(version))
        };
        for (index, stretch) in life.iter().enumerate() {
            // What was gone before counts for nothing.
            let newer = || life[index + 1..].iter().filter(|newer| !newer.gone);
            let groups: BTreeSet<usize> = newer().map(|newer| newer.group).collect();
            let newer_at_most = newer().count() as u64;
            let newer_at_least = groups.iter().filter(|group| **group != stretch.group).count() as u64;
            let mut group = life.iter().filter(|other| other.group == stretch.group);
            let stays = stretch.in_force || newer_at_most < last || tagged(stretch);
            let goes = newer_at_least >= last && !group.any(|other| other.in_force || tagged(other));
            let gone = range_of(found, name, stretch.from).is_some();
            let is = match gone {
                true if stays && !stretch.gone => "is gone, and must stay",
                false if stretch.gone => "is back, and was gone",
                false if goes => "stays, and must go",
                _ => "",
            };
            let whole =
                (stretch.from..stretch.to).all(|version| range_of(found, name, version).is_some() == gone);
            let is = if whole { is } else { "is gone in part" };
            if !is.is_empty() {
                let (from, to, tags) = (stretch.from, stretch.to, &self.tags);
                return Err(format!(
                    "{name} from version {from} up to {to} {is}: the newest {last} are kept, and tags {tags:?}; gone \
                     is {:?}",
                    found.get(name)
                ));
            }
        }
        Ok(())
    }

    /// The incarnations of a name, each as the stretches of its life.
    fn lives(&self, name: &str) -> Vec<Vec<Stretch>> {
        let mut lives: Vec<Vec<Stretch>> = Vec::new();
        for (number, version) in (0..).zip(&self.versions) {
            let Some(table) = version.tables.get(name) else { continue };
            let gone = self.is_gone(name, number);
            let mut stretch =
                Stretch { from: number, to: number + 1, in_force: number == self.newest(), gone, group: 0 };
            let before = self.versions.get(number.wrapping_sub(1) as usize);
            let before = before.filter(|before| before.made_at(name) == Some(table.made_at));
            let (Some(before), Some(life)) = (before, lives.last_mut()) else {
                lives.push(vec![stretch]);
                continue;
            };
            let last = life.last_mut().expect("a life begins with a stretch");
            let untouched = Arc::ptr_eq(&before.tables[name], table);
            if last.gone == gone && (gone || untouched) {
                (last.to, last.in_force) = (stretch.to, stretch.in_force);
                continue;
            }
            let same = !last.gone && !gone && before.texts[name] == version.texts[name];
            stretch.group = last.group + usize::from(!same);
            life.push(stretch);
        }
        lives
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Scenario, Shape, first_columns};
    use crate::step::{Action, Change, Columns, Value};

    /// A table made at version 1 and touched by each version up to `newest`, by the third and fourth without effect.
    fn touched(newest: u64) -> Model {
        let mut scenario = Scenario::new(1, Shape { schemas: false, ..Shape::default() });
        let mut model = Model::default();
        let create = vec![("orders".to_string(), Change::Create(first_columns("orders")))];
        let commit = |changes| Action::Commit { changes, allow_empty: true, id: None };
        model.push(model.outcome(&commit(create)).unwrap(), 1);
        while model.newest() < newest {
            let columns = model.tables()["orders"].columns.clone();
            let keys = Columns { rest: Vec::new(), ..columns.clone() };
            let row = (vec![Value::Number(1)], scenario.cells(&columns.rest));
            let change = match model.newest() {
                2 | 3 => Change::Delete(keys, Vec::new()),
                _ => Change::Upsert(columns, vec![row]),
            };
            let tables = model.outcome(&commit(vec![("orders".to_string(), change)])).unwrap();
            model.push(tables, 1);
        }
        model
    }

    fn gone(ranges: &[(u64, u64)]) -> Gone {
        Gone::from([("orders".to_string(), ranges.to_vec())])
    }

    #[test]
    fn what_must_stay_stays_and_what_must_go_goes() {
        let model = touched(8);
        let may = |last: u64, ranges: &[(u64, u64)]| model.may_let_go(None, last, &gone(ranges)).is_ok();
        assert!(may(3, &[(1, 6)]) && !may(3, &[(1, 5)]) && !may(3, &[(1, 7)]) && !may(3, &[(2, 6)]));
        // Versions 2 to 4 have one text: one state, two, or three.
        assert!(may(5, &[(1, 2)]) && may(5, &[(1, 4)]) && may(5, &[(1, 3)]) && !may(5, &[(1, 5)]));
        assert!(may(8, &[]) && may(6, &[]) && !may(6, &[(1, 4)]));
        let tagged = Model { tags: [("t".to_string(), 6)].into(), ..model.clone() };
        let may = |last: u64, ranges: &[(u64, u64)]| tagged.may_let_go(None, last, &gone(ranges)).is_ok();
        assert!(may(1, &[(1, 6), (7, 8)]) && !may(1, &[(1, 8)]) && !may(1, &[(1, 6)]));
        assert!(may(0, &[(1, 6), (7, 8)]) && !may(0, &[(1, 6), (7, 9)]));
    }

    #[test]
    fn what_was_gone_stays_gone_and_counts_for_nothing() {
        let before = Model { gone: gone(&[(1, 5)]), ..touched(8) };
        let may = |last: u64, ranges: &[(u64, u64)]| before.may_let_go(None, last, &gone(ranges)).is_ok();
        assert!(may(3, &[(1, 6)]) && !may(3, &[(2, 6)]) && !may(3, &[]));
        assert!(may(9, &[(1, 5)]) && !may(9, &[]));
        let between = Model { gone: gone(&[(6, 7)]), ..touched(8) };
        let may = |last: u64, ranges: &[(u64, u64)]| between.may_let_go(None, last, &gone(ranges)).is_ok();
        assert!(may(3, &[(1, 5), (6, 7)]) && !may(3, &[(1, 7)]) && may(2, &[(1, 7)]));
        assert!(before.may_let_go(Some("events"), 1, &gone(&[(1, 5)])).is_ok());
        assert!(before.may_let_go(Some("events"), 1, &gone(&[(1, 6)])).is_err());
        assert_eq!((before.nearest("orders", 2), before.is_gone_within("orders", 5, 8)), (vec![5], false));
        assert_eq!((before.gone_at(4), before.readable(4).len()), (vec!["orders".to_string()], 0));
    }
}
