//! Which transactions must have come before which, as lists that only grow tell, and which anomalies follow.
//!
//! After Kingsbury and Alvaro, *Elle: Inferring Isolation Anomalies from Experimental Observations* (VLDB 2020): every
//! value appended is unique, so the final list of a key is the order of its writes, and a list read tells after which
//! write it was read, and before which. An anomaly of Adya's is a cycle of such dependencies.

use std::collections::{BTreeMap, BTreeSet};

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    /// Appended a value to the list of a key.
    Append(i64, u64),
    /// Read the list of a key, its own appends included.
    Read(i64, Vec<u64>),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Acknowledged.
    Committed,
    /// Refused.
    Failed,
    /// Nobody knows: the process died.
    Unknown,
}

/// One transaction.
#[derive(Clone, Debug)]
pub struct Done {
    /// What it did, in order.
    pub did: Vec<Did>,
    /// How it ended.
    pub end: End,
    /// A clock of the test's own before it began and after its answer came.
    pub began: u64,
    /// See `began`.
    pub ended: u64,
}

/// Kinds of dependencies between two transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    WriteWrite,
    WriteRead,
    ReadWrite,
    /// Acknowledged before the other began.
    RealTime,
}

/// The anomalies of a history, by Adya's names; `broken` for what no order of whole transactions explains at all.
pub fn anomalies(history: &[Done], last: &BTreeMap<i64, Vec<u64>>) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut writer: BTreeMap<u64, usize> = BTreeMap::new();
    let mut appends: BTreeMap<(usize, i64), Vec<u64>> = BTreeMap::new();
    for (number, done) in history.iter().enumerate() {
        for did in &done.did {
            if let Did::Append(key, value) = did {
                writer.insert(*value, number);
                appends.entry((number, *key)).or_default().push(*value);
            }
        }
    }
    let final_values: BTreeSet<u64> = last.values().flatten().copied().collect();
    // Whoever died in between committed if any append of it is there; then all must be.
    let is_committed = |number: usize| match history[number].end {
        End::Committed => true,
        End::Failed => false,
        End::Unknown => history[number]
            .did
            .iter()
            .any(|did| matches!(did, Did::Append(_, value) if final_values.contains(value))),
    };
    for (key, list) in last {
        let mut rest = list.as_slice();
        while let Some(first) = rest.first() {
            // The appends of one transaction to a key stand together, all of them, in order.
            let whole = writer.get(first).and_then(|number| appends.get(&(*number, *key)));
            match whole {
                Some(whole) if rest.starts_with(whole) => rest = &rest[whole.len()..],
                _ => {
                    found.insert("broken");
                    rest = &rest[1..];
                }
            }
            if writer.get(first).is_some_and(|number| !is_committed(*number)) {
                found.insert("G1a");
            }
        }
    }
    for ((number, key), values) in &appends {
        let there = last.get(key).is_some_and(|list| values.iter().all(|value| list.contains(value)));
        if is_committed(*number) && !there {
            found.insert("lost");
        }
    }

    let mut edges: BTreeSet<(usize, usize, Edge)> = BTreeSet::new();
    let mut add = |from: usize, to: usize, edge: Edge| {
        if from != to {
            edges.insert((from, to, edge));
        }
    };
    for list in last.values() {
        for pair in list.windows(2) {
            if let (Some(from), Some(to)) = (writer.get(&pair[0]), writer.get(&pair[1])) {
                add(*from, *to, Edge::WriteWrite);
            }
        }
    }
    let mut readers: BTreeMap<(i64, usize), Vec<usize>> = BTreeMap::new();
    for (number, done) in history.iter().enumerate().filter(|(number, _)| is_committed(*number)) {
        let mut own: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        for did in &done.did {
            let (key, list) = match did {
                Did::Append(key, value) => {
                    own.entry(*key).or_default().push(*value);
                    continue;
                }
                Did::Read(key, list) => (*key, list),
            };
            let own = own.get(&key).map_or(&[][..], Vec::as_slice);
            let Some(others) = list.strip_suffix(own) else {
                found.insert("broken");
                continue;
            };
            let order = last.get(&key).map_or(&[][..], Vec::as_slice);
            if !order.starts_with(others) {
                found.insert("broken");
            }
            if let Some(value) = others.last()
                && let Some(from) = writer.get(value)
            {
                if !is_committed(*from) {
                    found.insert("G1a");
                }
                if appends[&(*from, key)].last() != Some(value) {
                    found.insert("G1b");
                }
                add(*from, number, Edge::WriteRead);
            }
            if let Some(next) = order.get(others.len()).and_then(|value| writer.get(value)) {
                add(number, *next, Edge::ReadWrite);
            }
            if appends.contains_key(&(number, key)) {
                readers.entry((key, others.len())).or_default().push(number);
            }
        }
    }
    for both in readers.values_mut() {
        both.sort_unstable();
        both.dedup();
        if both.len() > 1 {
            found.insert("lost update");
        }
    }
    for (before, one) in history.iter().enumerate().filter(|(_, done)| done.end == End::Committed) {
        for (after, other) in history.iter().enumerate() {
            if one.ended < other.began && is_committed(after) {
                edges.insert((before, after, Edge::RealTime));
            }
        }
    }

    let reach =
        |kinds: &[Edge]| Reach::new(history.len(), edges.iter().filter(|(.., edge)| kinds.contains(edge)));
    let writes = reach(&[Edge::WriteWrite]);
    let flow = reach(&[Edge::WriteWrite, Edge::WriteRead]);
    let timed = reach(&[Edge::WriteWrite, Edge::WriteRead, Edge::RealTime]);
    let all = reach(&[Edge::WriteWrite, Edge::WriteRead, Edge::RealTime, Edge::ReadWrite]);
    let anti = || edges.iter().filter(|(.., edge)| *edge == Edge::ReadWrite);
    let cycles = [
        ("G0", writes.has_cycle()),
        ("G1c", flow.has_cycle()),
        ("G-single", anti().any(|(from, to, _)| timed.leads(*to, *from))),
        ("G2", anti().any(|(from, to, _)| all.leads(*to, *from))),
        ("real time", timed.has_cycle()),
    ];
    found.extend(cycles.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name));
    found
}

/// Who comes before whom.
struct Reach(Vec<Vec<bool>>);

impl Reach {
    fn new<'a>(count: usize, edges: impl Iterator<Item = &'a (usize, usize, Edge)>) -> Reach {
        let mut next = vec![Vec::new(); count];
        edges.for_each(|(from, to, _)| next[*from].push(*to));
        let from_one = |start: usize| {
            let mut seen = vec![false; count];
            let mut left: Vec<usize> = next[start].clone();
            while let Some(node) = left.pop() {
                if !std::mem::replace(&mut seen[node], true) {
                    left.extend_from_slice(&next[node]);
                }
            }
            seen
        };
        Reach((0..count).map(from_one).collect())
    }

    fn leads(&self, from: usize, to: usize) -> bool {
        self.0[from][to]
    }

    fn has_cycle(&self) -> bool {
        (0..self.0.len()).any(|node| self.leads(node, node))
    }
}

mod tests {
    use super::*;

    fn done(did: &[Did]) -> Done {
        Done { did: did.to_vec(), end: End::Committed, began: 0, ended: 9 }
    }

    fn check(history: &[Done], last: &[(i64, &[u64])], expected: &[&str]) {
        let last = last.iter().map(|(key, list)| (*key, list.to_vec())).collect();
        let found: Vec<&str> = anomalies(history, &last).into_iter().collect();
        assert_eq!(found, expected, "{history:?}");
    }

    #[test]
    fn a_serial_history_has_no_anomaly() {
        let first = done(&[Did::Append(1, 10), Did::Read(1, vec![10]), Did::Append(2, 11)]);
        let second = done(&[Did::Read(2, vec![11]), Did::Append(1, 20), Did::Read(1, vec![10, 20])]);
        check(&[first, second], &[(1, &[10, 20]), (2, &[11])], &[]);
    }

    #[test]
    fn every_anomaly_is_found() {
        use Did::{Append, Read};
        let mixed = [done(&[Append(1, 10), Append(2, 11)]), done(&[Append(1, 20), Append(2, 21)])];
        check(&mixed, &[(1, &[10, 20]), (2, &[21, 11])], &["G0", "G1c", "real time"]);
        let circular = [done(&[Append(1, 10), Read(2, vec![20])]), done(&[Append(2, 20), Read(1, vec![10])])];
        check(&circular, &[(1, &[10]), (2, &[20])], &["G1c", "real time"]);
        let failed = Done { end: End::Failed, ..done(&[Append(1, 10)]) };
        check(&[failed, done(&[Read(1, vec![10])])], &[], &["G1a", "broken"]);
        let twice = [done(&[Append(1, 10), Append(1, 11)]), done(&[Read(1, vec![10])])];
        check(&twice, &[(1, &[10, 11])], &["G-single", "G1b", "G2"]);
        let lost = [done(&[Read(1, vec![]), Append(1, 10)]), done(&[Read(1, vec![]), Append(1, 20)])];
        check(&lost, &[(1, &[10, 20])], &["G-single", "G2", "lost update"]);
        check(&lost, &[(1, &[10])], &["lost", "lost update"]);
        let skew = [done(&[Append(1, 10), Append(2, 11)]), done(&[Read(1, vec![10]), Read(2, vec![])])];
        check(&skew, &[(1, &[10]), (2, &[11])], &["G-single", "G2"]);
        let write_skew = [done(&[Read(2, vec![]), Append(1, 10)]), done(&[Read(1, vec![]), Append(2, 20)])];
        check(&write_skew, &[(1, &[10]), (2, &[20])], &["G2"]);
        let half = Done { end: End::Unknown, ..done(&[Append(1, 10), Append(2, 11)]) };
        check(&[half], &[(1, &[10])], &["lost"]);
        let early = Done { ended: 1, ..done(&[Append(1, 10)]) };
        let late = Done { began: 2, ..done(&[Read(1, vec![])]) };
        check(&[early, late], &[(1, &[10])], &["G-single", "G2"]);
    }
}
