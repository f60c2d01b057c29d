//! The commands in SEMANTICS.md print what it says.

use crate::support::{Place, shell};
use asof_engine::view::Format;
use asof_fuse::MountOptions;

#[test]
fn the_examples_of_the_semantics_page_are_true() {
    let place = Place::new();
    let database = place.example();
    let options = MountOptions { formats: vec![Format::Csv], ..MountOptions::default() };
    let mount = place.mount_with(&database, options);
    let page = include_str!("../SEMANTICS.md");
    let mut commands = 0;
    for block in page.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for example in block.split("$ ").skip(1) {
            let (command, expected) = example.split_once('\n').unwrap();
            // Files belong to whoever runs this.
            assert_eq!(shell(&place.mount_point(), command), expected, "$ {command}");
            commands += 1;
        }
    }
    assert!(commands > 20, "the page has {commands} commands");
    mount.unmount().unwrap();
}
