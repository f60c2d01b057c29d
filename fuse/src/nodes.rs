//! The inodes that the kernel knows, with what it takes to answer for them later: their size, time and where to read
//! them again.
//!
//! Invariants: a number belongs to one identity as long as the kernel may use it, that is until as many lookups are
//! forgotten as were answered. A name that leads elsewhere after a new layout of the data files is believed only while it
//! is on the list of those that the kernel is told of then. The lock is held for map operations only, never over the
//! engine's work.

use crate::tree::{Door, Node, ROOT_INODE};
use asof_engine::view::View;
use asof_engine::{CommitTime, Version};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// An inode.
#[derive(Debug)]
pub struct Inode {
    /// Its number.
    pub number: u64,
    /// What it is.
    pub node: Node,
    /// Exact size of a file's content; 0 for directories.
    pub size: u64,
    /// Bytes of the content that are holes, at least.
    pub hole_bytes: u64,
    /// Its modification time; directories at the top take the newest commit's instead.
    pub time: CommitTime,
    /// Full name of the table it shows, if it does.
    pub table: Option<Arc<str>>,
    /// A version to read the table at. The latest lookup's, for that one is readable.
    version: AtomicU64,
    /// The rendered file, as long as someone uses it.
    view: Mutex<Weak<View>>,
    /// The rendered file of a log, which nobody can render again once the log has grown.
    pub log: Option<Arc<View>>,
    /// Whether the content turned out to have another size: the identity gets a new number.
    stale: AtomicBool,
}

impl Inode {
    /// An inode that shows no table. Its number is given when it enters the table of inodes.
    pub fn new(node: Node, size: u64, time: CommitTime) -> Inode {
        Inode {
            number: 0,
            node,
            size,
            hole_bytes: 0,
            time,
            table: None,
            version: AtomicU64::new(0),
            view: Mutex::new(Weak::new()),
            log: None,
            stale: AtomicBool::new(false),
        }
    }

    /// An inode that shows a table.
    pub fn of_table(node: Node, size: u64, time: CommitTime, table: &str, version: Version) -> Inode {
        Inode {
            table: Some(table.into()),
            version: AtomicU64::new(version.0),
            ..Inode::new(node, size, time)
        }
    }

    /// A version to read the table at.
    pub fn version(&self) -> Version {
        Version(self.version.load(Ordering::Relaxed))
    }

    /// Takes note of a version at which the table was just found.
    pub fn found_at(&self, version: Version) {
        self.version.store(version.0, Ordering::Relaxed);
    }

    /// Makes the next lookup of the identity give it another inode.
    pub fn make_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    fn is(&self, node: &Node) -> bool {
        self.node == *node && !self.stale.load(Ordering::Relaxed)
    }

    /// The rendered file, if someone uses it.
    pub fn view(&self) -> Option<Arc<View>> {
        self.log.clone().or_else(|| self.view.lock().upgrade())
    }

    /// Remembers the rendered file as long as someone uses it. One that is used already stays: who has it open may open
    /// it again, also when nobody could render it so any more.
    pub fn remember_view(&self, view: &Arc<View>) {
        let mut known = self.view.lock();
        if known.strong_count() == 0 {
            *known = Arc::downgrade(view);
        }
    }
}

/// The inodes the kernel knows.
#[derive(Debug)]
pub struct Inodes {
    table: Mutex<Table>,
}

/// Names that lead elsewhere when data files have another layout, by the number of their directory.
pub type LaidNames = HashMap<u64, HashSet<Box<str>>>;

#[derive(Debug)]
struct Table {
    known: HashMap<u64, Known>,
    /// The layout of data files that the names below are of; none where nobody follows.
    layout: Option<u64>,
    /// Those that the kernel believes until it is told of another layout.
    laid: LaidNames,
}

#[derive(Debug)]
struct Known {
    inode: Arc<Inode>,
    /// Lookups answered and not yet forgotten; the root's count is never spent.
    lookups: u64,
}

impl Inodes {
    /// A table of inodes that knows the root.
    pub fn new(mut root: Inode) -> Inodes {
        assert!(matches!(root.node, Node::Root | Node::State { door: Door::Root, .. }), "the root is a root");
        root.number = ROOT_INODE;
        let known = HashMap::from([(ROOT_INODE, Known { inode: Arc::new(root), lookups: 1 })]);
        Inodes { table: Mutex::new(Table { known, layout: None, laid: HashMap::new() }) }
    }

    /// The inode of a number that the kernel was told.
    pub fn get(&self, number: u64) -> Option<Arc<Inode>> {
        self.table.lock().known.get(&number).map(|known| known.inode.clone())
    }

    /// The inode of an identity if it is known, counting one lookup.
    pub fn enter_known(&self, node: &Node) -> Option<Arc<Inode>> {
        let known = &mut self.table.lock().known;
        let mut number = node.inode();
        loop {
            let found = known.get_mut(&number)?;
            if found.inode.is(node) {
                found.lookups += 1;
                return Some(found.inode.clone());
            }
            number = next(number);
        }
    }

    /// Makes an inode known unless its identity is, counting one lookup.
    pub fn enter(&self, mut inode: Inode) -> Arc<Inode> {
        let known = &mut self.table.lock().known;
        let mut number = inode.node.inode();
        while let Some(found) = known.get_mut(&number) {
            if found.inode.is(&inode.node) {
                found.lookups += 1;
                return found.inode.clone();
            }
            number = next(number);
        }
        inode.number = number;
        let inode = Arc::new(inode);
        known.insert(number, Known { inode: inode.clone(), lookups: 1 });
        inode
    }

    /// Takes back answered lookups; an inode without any is gone.
    pub fn forget(&self, number: u64, lookups: u64) {
        if number == ROOT_INODE {
            return;
        }
        let mut table = self.table.lock();
        if let Some(found) = table.known.get_mut(&number) {
            found.lookups = found.lookups.saturating_sub(lookups);
            if found.lookups == 0 {
                table.known.remove(&number);
                table.laid.remove(&number);
            }
        }
    }

    /// Puts a name in a directory, found in a layout, on the list of those that the kernel is told of with the next one:
    /// until then it may believe it. `false` where nobody follows, or that layout is followed no more.
    pub fn believe(&self, directory: u64, name: &str, layout: u64) -> bool {
        let mut table = self.table.lock();
        let listed = table.layout == Some(layout) && table.known.contains_key(&directory);
        if listed {
            let names = table.laid.entry(directory).or_default();
            if !names.contains(name) {
                names.insert(name.into());
            }
        }
        listed
    }

    /// Follows a layout from now on: where it is another than before, gives the names to tell the kernel of, with their
    /// directories.
    pub fn follow(&self, layout: u64) -> Option<LaidNames> {
        let mut table = self.table.lock();
        let is_new = table.layout.replace(layout) != Some(layout);
        is_new.then(|| std::mem::take(&mut table.laid))
    }

    /// How many inodes the kernel knows.
    pub fn len(&self) -> usize {
        self.table.lock().known.len()
    }

    /// Never: the root is always known.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// The number to try where another identity has this one.
fn next(number: u64) -> u64 {
    number.wrapping_add(1) & (u64::MAX >> 1) | 1 << 62
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inodes() -> Inodes {
        Inodes::new(Inode::new(Node::Root, 0, CommitTime(0)))
    }

    fn commit(version: u64) -> Inode {
        Inode::new(Node::Commit { version: Version(version) }, version, CommitTime(0))
    }

    #[test]
    fn an_identity_has_one_number_until_all_its_lookups_are_forgotten() {
        let inodes = inodes();
        let first = inodes.enter(commit(1));
        let second = inodes.enter_known(&first.node).expect("known");
        assert_eq!(first.number, second.number);
        inodes.forget(first.number, 1);
        assert!(inodes.get(first.number).is_some());
        inodes.forget(first.number, 1);
        assert!(inodes.get(first.number).is_none());
        assert!(inodes.enter_known(&first.node).is_none());
    }

    #[test]
    fn a_stale_inode_keeps_its_number_and_the_identity_gets_another() {
        let inodes = inodes();
        let first = inodes.enter(commit(1));
        first.make_stale();
        assert!(inodes.enter_known(&first.node).is_none());
        let second = inodes.enter(commit(1));
        assert_ne!(first.number, second.number);
        assert_eq!(inodes.enter_known(&first.node).expect("known").number, second.number);
    }

    #[test]
    fn a_view_that_is_in_use_is_not_replaced() {
        let inode = commit(1);
        let views = [1, 2].map(|length| Arc::new(View::from_bytes(vec![0; length])));
        inode.remember_view(&views[0]);
        inode.remember_view(&views[1]);
        let [first, second] = views;
        drop(second);
        assert_eq!(inode.view().expect("in use").size(), 1);
        drop(first);
        assert!(inode.view().is_none());
    }

    #[test]
    fn a_name_is_believed_until_the_layout_is_another_one() {
        let inodes = inodes();
        let directory = inodes.enter(commit(1)).number;
        assert!(!inodes.believe(directory, "a", 7), "nobody follows");
        assert!(inodes.follow(7).expect("the first").is_empty());
        assert!(inodes.believe(directory, "a", 7) && inodes.believe(directory, "a", 7));
        assert!(inodes.believe(ROOT_INODE, "b", 7));
        assert!(!inodes.believe(directory, "c", 6), "another layout");
        assert!(!inodes.believe(directory + 1, "d", 7), "nobody knows the directory");
        assert!(inodes.follow(7).is_none());
        let names = |name: &str| HashSet::from([name.into()]);
        let told = HashMap::from([(ROOT_INODE, names("b")), (directory, names("a"))]);
        assert_eq!(inodes.follow(8), Some(told));
        assert!(!inodes.believe(directory, "a", 7) && inodes.believe(directory, "a", 8));
        // What the kernel has forgotten it is not told of.
        inodes.forget(directory, 1);
        assert_eq!(inodes.follow(9), Some(HashMap::new()));
    }

    #[test]
    fn the_root_is_never_forgotten() {
        let inodes = inodes();
        inodes.forget(ROOT_INODE, u64::MAX);
        assert!(inodes.get(ROOT_INODE).is_some());
    }

    #[test]
    fn identities_of_one_number_are_kept_apart() {
        let inodes = inodes();
        let (one, two) = (commit(1), commit(2));
        // Puts another identity where the second would go.
        let taken = Known { inode: Arc::new(one), lookups: 1 };
        inodes.table.lock().known.insert(two.node.inode(), taken);
        assert!(inodes.enter_known(&two.node).is_none());
        let entered = inodes.enter(two);
        assert_eq!(entered.number, next(entered.node.inode()));
        assert_eq!(inodes.enter_known(&entered.node).expect("known").number, entered.number);
        assert_eq!(inodes.get(entered.node.inode()).expect("taken").size, 1);
    }
}
