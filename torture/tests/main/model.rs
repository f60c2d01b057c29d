//! Scenarios without faults: the engine agrees with the model.

use asof_torture::sim::{Machine, soak};
use asof_torture::{Action, Model, Scenario, Shape, Step, check};

/// How many seeds to run: `ASOF_SEEDS`, for longer runs, or the default.
pub fn seeds(default: u64) -> u64 {
    std::env::var("ASOF_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

fn run(seed: u64, shape: Shape, steps: u64) -> Model {
    soak(seed, &shape, steps).expect("the engine agrees with the model")
}

#[test]
fn random_scenarios_of_several_processes_agree_with_the_model() {
    let (mut versions, mut gone) = (0, 0);
    for seed in 0..seeds(8) {
        let shape = Shape { processes: 1 + seed as usize % 3, ..Shape::default() };
        let model = run(seed, shape, 80);
        (versions, gone) = (versions + model.newest(), gone + model.gone_count());
    }
    assert!(versions > 20 * seeds(8), "there were only {versions} versions");
    assert!(gone > 10 * seeds(8), "only {gone} versions of tables went");
}

#[test]
fn the_same_seed_makes_the_same_versions() {
    let digests = |model: &Model| model.versions.iter().map(|v| (v.digest(), v.time)).collect::<Vec<_>>();
    let run = || digests(&run(7, Shape::default(), 60));
    assert_eq!(run(), run());
}

#[test]
fn a_step_survives_being_sent_to_another_process() {
    let mut scenario = Scenario::new(3, Shape::default());
    let model = run(3, Shape::default(), 40);
    for _ in 0..100 {
        let step = scenario.step(&model);
        let sent = serde_json::to_string(&step).expect("steps are plain data");
        assert_eq!(serde_json::from_str::<Step>(&sent).expect("it was just written"), step);
    }
}

#[test]
fn a_wrong_version_is_noticed() {
    let machine = Machine::new(1);
    let mut crew = machine.crew(1);
    let mut scenario = Scenario::new(1, Shape::default());
    let mut model = Model::default();
    while model.newest() < 8 {
        let action = scenario.commit(model.tables());
        crew.play(&Step { process: 0, action }, &mut model).expect("nothing fails");
    }
    let database = crew.database(0).expect("the database is open");
    let good = model.clone();
    let (older, newer) = (model.versions[4].clone(), model.versions[5].clone());
    assert_ne!(older.digest(), newer.digest(), "the versions differ");
    model.versions[4] = newer;
    assert!(check::everything(&database, &model).is_err());
    let lost = Model { versions: good.versions[..8].to_vec(), ..good.clone() };
    assert!(check::everything(&database, &lost).is_err());
    assert!(perform_unknown(&good).is_err());
    assert_eq!(check::everything(&database, &good), Ok(()));
}

fn perform_unknown(model: &Model) -> Result<(), String> {
    model.clone().accept(&Action::Repeat { id: "never".into() }, &asof_torture::Done::Repeated { version: 1 })
}
