//! Files rendered or opened a moment ago.
//!
//! A lookup has to render a Parquet file to know its size, and an open follows at once; a script opens one file again
//! and again. What was rendered or verified is kept for a few seconds so that the next open finds it; not longer,
//! because it may keep files of the database alive.

use asof_engine::Version;
use asof_engine::view::View;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a rendered file is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(10);
/// How many are kept: each is an open file.
pub const KEPT_MAX: usize = 64;
/// Layouts that are known at a time.
const LAYOUTS_MAX: usize = 65_536;

/// Files rendered or opened a moment ago, the latest last.
#[derive(Debug, Default)]
pub struct RecentViews {
    views: Mutex<VecDeque<(Instant, Arc<View>)>>,
}

impl RecentViews {
    /// Keeps a file for a while from now.
    pub fn keep(&self, view: &Arc<View>) {
        let mut views = self.views.lock();
        let known = views.iter().position(|(_, kept)| Arc::ptr_eq(kept, view));
        let mut dropped = known.and_then(|position| views.remove(position));
        views.push_back((Instant::now(), view.clone()));
        if views.len() > KEPT_MAX {
            dropped = views.pop_front();
        }
        drop(views);
        drop(dropped);
    }

    /// Lets go of what was kept long enough.
    pub fn sweep(&self) {
        let mut views = self.views.lock();
        let expired = views.iter().take_while(|(since, _)| since.elapsed() >= KEPT_FOR).count();
        let expired: Vec<_> = views.drain(..expired).collect();
        drop(views);
        drop(expired);
    }
}

/// A table's number, a version, and the layout of all data files it was read from.
type Place = (u32, Version, u64);

/// How the rows of tables lie in data files at versions, as it was found: so that a Parquet file is not stitched for each
/// lookup of it.
#[derive(Debug, Default)]
pub struct KnownLayouts(Mutex<HashMap<Place, u64>>);

impl KnownLayouts {
    /// The layout at a place, if it is known.
    pub fn get(&self, place: Place) -> Option<u64> {
        self.0.lock().get(&place).copied()
    }

    /// Keeps the layout at a place.
    pub fn keep(&self, place: Place, layout: u64) {
        let mut known = self.0.lock();
        if known.len() >= LAYOUTS_MAX {
            known.clear();
        }
        known.insert(place, layout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_kept_once_and_no_more_than_there_is_room_for() {
        let recent = RecentViews::default();
        let views: Vec<Arc<View>> =
            (0..KEPT_MAX + 10).map(|index| Arc::new(View::from_bytes(vec![0; index]))).collect();
        for view in views.iter().chain(&views) {
            recent.keep(view);
            recent.keep(view);
        }
        assert_eq!(recent.views.lock().len(), KEPT_MAX);
        recent.sweep();
        let kept = views.iter().filter(|view| Arc::strong_count(view) > 1).count();
        assert_eq!(kept, KEPT_MAX);
    }
}
