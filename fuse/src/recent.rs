//! Files rendered a moment ago.
//!
//! A lookup has to render a Parquet file to know its size, and an open follows at once. What was rendered is kept for
//! a few seconds so that this open finds it; not longer, because a rendering may keep files of the database alive.

use asof_engine::view::View;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a rendered file is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(10);
/// How many are kept: each is an open file.
pub const KEPT_MAX: usize = 64;

/// Files rendered a moment ago.
#[derive(Debug, Default)]
pub struct RecentViews {
    views: Mutex<VecDeque<(Instant, Arc<View>)>>,
}

impl RecentViews {
    /// Keeps a file for a while.
    pub fn keep(&self, view: Arc<View>) {
        let mut views = self.views.lock();
        views.push_back((Instant::now(), view));
        let dropped = if views.len() > KEPT_MAX { views.pop_front() } else { None };
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
