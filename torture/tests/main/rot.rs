//! Bit rot of a small database.

use asof_torture::sim::{Rot, rot};

#[test]
fn every_damage_is_named_or_harmless() {
    let one_in = std::env::var("ASOF_ROT_ONE_IN").ok().and_then(|count| count.parse().ok()).unwrap_or(101);
    let rotten = rot(&Rot { seed: 1, one_in, threads: 2, first_only: false });
    println!("{} wrong", rotten.wrong.len());
    assert_eq!(rotten.wrong.iter().take(10).collect::<Vec<_>>(), Vec::<&String>::new());
    println!("{rotten:?}");
    assert!(rotten.named > rotten.harmless, "{} named, {} harmless", rotten.named, rotten.harmless);
}
