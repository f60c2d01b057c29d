//! Every planted bug is caught. Alone in its process, for bugs are switched on for all of it.

#![cfg(feature = "planted")]

use asof_torture::planted::catch;
use asof_wal::planted::Bug;

#[test]
fn every_planted_bug_is_caught() {
    // A panic that a bug causes is a catch, not news.
    std::panic::set_hook(Box::new(|_| {}));
    let only = std::env::var("ASOF_BUG").ok();
    let named = |names: &String, bug: &Bug| names.split(',').any(|name| name == format!("{bug:?}"));
    let wanted = |bug: &&Bug| only.as_ref().is_none_or(|names| named(names, bug));
    let mut catches = Vec::new();
    for bug in Bug::ALL.iter().filter(wanted) {
        let caught = catch(*bug, 2);
        let finding: String = caught.finding.chars().take(160).collect();
        println!("{bug:?} | {} | {}", caught.by.unwrap_or("NOT CAUGHT"), finding.replace('\n', " "));
        catches.push(caught);
    }
    let missed: Vec<_> = catches.iter().filter(|catch| catch.by.is_none()).map(|catch| catch.bug).collect();
    let _ = std::panic::take_hook();
    assert_eq!(missed, Vec::<Bug>::new());
}
