//! What fuzz targets share: a small database with all there can be in it, and hands that change its files and put right
//! every checksum above the change, so that what reads it is reached and not its guard.

use asof_engine::manifest::Manifest;
use asof_engine::{CommitOptions, Database, DiffKind, Options, ScanOptions, Version};
use asof_torture::sim::Machine;
use asof_torture::{Model, Scenario, Shape, Step};
use asof_wal::sim::{Cut, Image, SimDisk};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use asof_torture::sim::machine::DB;

/// Steps of the scenario that the database is made by.
const STEPS: usize = 32;

/// A change of some bytes: where, and what stands there instead.
pub type Edit = (u16, Vec<u8>);

/// A database on a disk, to be copied.
pub struct Base {
    image: Image,
    /// Its newest manifest, and the manifest's file.
    pub manifest: Manifest,
    manifest_path: PathBuf,
    /// Files that hold rows, history and ids.
    pub files: Vec<PathBuf>,
}

impl Base {
    /// The same in every run.
    pub fn get() -> &'static Base {
        static BASE: OnceLock<Base> = OnceLock::new();
        BASE.get_or_init(Base::make)
    }

    fn make() -> Base {
        asof_engine::guard::silence();
        let machine = Machine::new(5);
        let mut crew = machine.crew(1);
        let shape = Shape { processes: 1, checkpoint_in: 7, ..Shape::default() };
        let (mut scenario, mut model) = (Scenario::new(5, shape), Model::default());
        for _ in 0..STEPS {
            let step = scenario.step(&model);
            crew.play(&step, &mut model).expect("nothing goes wrong on a good disk");
        }
        // The log has a tail.
        for _ in 0..6 {
            let step = Step { process: 0, action: scenario.commit(model.tables()) };
            crew.play(&step, &mut model).expect("nothing goes wrong on a good disk");
        }
        crew.close_all();
        let all = machine.disk.files();
        let within = |dir: &str| {
            let dir = Path::new(DB).join(dir);
            let files = all.iter().filter(move |path| path.starts_with(&dir));
            files.cloned().collect::<Vec<_>>()
        };
        let mut files = [within("data"), within("ends"), within("history"), within("ids")].concat();
        files.sort();
        let manifest_path = within("manifest").into_iter().max().expect("a database has a manifest");
        let bytes = machine.disk.read(&manifest_path).expect("it is there");
        let manifest = Manifest::from_bytes(&bytes, "manifest").expect("it is whole");
        Base { image: machine.disk.image(), manifest, manifest_path, files }
    }

    /// A disk with the database.
    pub fn disk(&self) -> SimDisk {
        SimDisk::from_image(&self.image, Cut::Kill)
    }

    /// Puts a manifest in the place of the newest.
    pub fn put_manifest(&self, disk: &SimDisk, manifest: &Manifest) {
        disk.overwrite(&self.manifest_path, &manifest.to_bytes()).expect("it is there");
    }
}

/// How a process opens a database on a disk.
pub fn options(disk: &SimDisk) -> Options {
    Machine::with_disk(disk.clone(), 9).options(&disk.process())
}

/// Changes bytes, and cuts them off at some length.
pub fn edited(mut bytes: Vec<u8>, edits: &[Edit], cut: Option<u16>) -> Vec<u8> {
    for (offset, new) in edits {
        let offset = usize::from(*offset) % bytes.len().max(1);
        let count = new.len().min(bytes.len() - offset);
        bytes[offset..offset + count].copy_from_slice(&new[..count]);
    }
    if let Some(cut) = cut {
        bytes.truncate(usize::from(cut));
    }
    bytes
}

/// The frame around a body, as engine/FORMAT.md has it.
pub fn frame(magic: &[u8; 8], body: &[u8]) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&out).update(body);
    out.extend_from_slice(hasher.finalize().as_bytes());
    out.extend_from_slice(body);
    out
}

/// Asks a database on a disk everything, and writes to it. Errors are answers; panics are not.
pub fn exercise(disk: &SimDisk) {
    let Ok(database) = Database::open(Path::new(DB), options(disk)) else { return };
    let newest = database.latest().unwrap_or(Version(0));
    drop(database.info());
    drop(database.verify());
    let settled = Base::get().manifest.version;
    for version in [1, settled / 2, settled, newest.0] {
        drop(read_version(&database, Version(version)));
    }
    if newest > Version(0) {
        drop(changes(&database, newest));
    }
    drop(write(&database));
    drop(database.checkpoint());
    drop(database);
    let Ok(database) = Database::open(Path::new(DB), options(disk)) else { return };
    drop(database.latest().and_then(|newest| read_version(&database, newest)));
}

fn read_version(database: &Database, version: Version) -> asof_engine::Result<()> {
    let snapshot = database.snapshot(version)?;
    drop(database.commit_info(version));
    for name in snapshot.table_names()? {
        drop(snapshot.table(&name));
        let Ok(schema) = snapshot.schema(&name) else { continue };
        let Ok(scan) = snapshot.scan(&name, ScanOptions::default()) else { continue };
        let Some(Ok(batch)) = scan.take(100).last() else { continue };
        if schema.has_key() && batch.num_rows() > 0 {
            let row = batch.slice(batch.num_rows() - 1, 1);
            drop(snapshot.get(&name, &row));
            drop(database.history(&name, &row));
        }
    }
    Ok(())
}

fn changes(database: &Database, newest: Version) -> asof_engine::Result<()> {
    for name in database.snapshot(newest)?.table_names()? {
        for (kind, from) in [(DiffKind::Net, 0), (DiffKind::Feed, newest.0 / 2)] {
            if let Ok(diff) = database.diff(Version(from), newest, &name, kind) {
                drop(diff.take(100).last());
            }
        }
    }
    Ok(())
}

fn write(database: &Database) -> asof_engine::Result<()> {
    let newest = database.snapshot(database.latest()?)?;
    let mut transaction = database.begin()?;
    for name in newest.table_names()? {
        let Some(Ok(batch)) = newest.scan(&name, ScanOptions::default())?.next() else { continue };
        let row = batch.slice(0, batch.num_rows().min(1));
        match newest.schema(&name)?.has_key() {
            true => transaction.upsert(&name, &row)?,
            false => transaction.insert(&name, &row)?,
        }
    }
    transaction.commit(CommitOptions::default()).map(drop)
}
