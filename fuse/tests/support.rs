//! A small database with a known history, and mounts that are always unmounted.

use asof_engine::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use asof_engine::arrow::record_batch::RecordBatch;
use asof_engine::view::Format;
use asof_engine::{
    Column, ColumnType, CommitOptions, CommitTime, Committed, Database, Options, Tag, Transaction, Version,
};
use asof_fuse::attributes::Permissions;
use asof_fuse::view::{Entry, FileSystem, FileSystemOptions, Found};
use asof_fuse::{Mount, MountOptions, mount};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// A directory for a database, its cache and its mount point.
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("mnt")).unwrap();
        Place { directory }
    }

    pub fn database_path(&self) -> PathBuf {
        self.directory.path().join("db")
    }

    pub fn mount_point(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn options(&self) -> Options {
        self.options_with_cache("cache")
    }

    pub fn options_with_cache(&self, name: &str) -> Options {
        Options { view_cache_dir: Some(self.directory.path().join(name)), ..Options::default() }
    }

    /// Another handle to the database, as another process has it.
    pub fn open(&self) -> Database {
        Database::open(self.database_path(), self.options()).unwrap()
    }

    /// The database that SEMANTICS.md describes.
    pub fn example(&self) -> Database {
        let database = Database::create(self.database_path(), self.options()).unwrap();
        let mut transaction = database.begin().unwrap();
        transaction.create_table("orders", order_columns(), &["id".to_string()]).unwrap();
        transaction
            .insert(
                "orders",
                &orders(&[(1, Some("tea"), 2.5), (2, Some("milk, fresh"), 1.25), (3, None, 0.5)]),
            )
            .unwrap();
        commit_at(transaction, "2025-08-01T09:00:00Z");

        let mut transaction = database.begin().unwrap();
        let columns = vec![Column::new("id", ColumnType::Int64), Column::new("name", ColumnType::Text)];
        transaction.create_table("gold.customers", columns, &["id".to_string()]).unwrap();
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let names: ArrayRef = Arc::new(StringArray::from(vec!["Ada"]));
        let rows =
            RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("name", names, true)]).unwrap();
        transaction.insert("gold.customers", &rows).unwrap();
        commit_at(transaction, "2025-08-01T17:30:00Z");

        let mut transaction = database.begin().unwrap();
        transaction.upsert("orders", &orders(&[(1, Some("tea"), 2.75)])).unwrap();
        commit_at(transaction, "2025-08-26T10:00:00.000001Z");
        database.tag(tag("audit", 2), false).unwrap();
        database
    }

    /// A database whose table `numbers` has `rows` rows of about 60 bytes as CSV in version 1.
    pub fn numbers(&self, rows: i64) -> Database {
        let database = Database::create(self.database_path(), self.options()).unwrap();
        let mut transaction = database.begin().unwrap();
        transaction.create_table("numbers", order_columns(), &["id".to_string()]).unwrap();
        let items: Vec<String> = (0..rows).map(|row| format!("{:040x}", (row as u128).pow(3))).collect();
        let rows: Vec<(i64, Option<&str>, f64)> =
            (0..rows).zip(&items).map(|(row, item)| (row, Some(item.as_str()), row as f64 / 7.0)).collect();
        transaction.insert("numbers", &orders(&rows)).unwrap();
        transaction.commit(CommitOptions::default()).unwrap();
        database
    }

    /// The same after `commits` commits that each changed every `step`th row, so that row groups show a part of their rows
    /// at most versions.
    pub fn changed_numbers(&self, rows: i64, commits: i64, step: i64) -> Database {
        let database = self.numbers(rows);
        database.checkpoint().unwrap();
        for commit in 1..=commits {
            change_numbers(&database, rows, commit, step);
        }
        database.checkpoint().unwrap();
        database
    }

    pub fn mount(&self, database: &Database) -> Mount {
        self.mount_with(database, MountOptions::default())
    }

    pub fn mount_with(&self, database: &Database, options: MountOptions) -> Mount {
        mount(database.clone(), self.mount_point(), options)
            .unwrap_or_else(|error| panic!("these tests need to mount, which fails: {error}"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that failed may have left its mount; removing the directory must not walk into it.
        while asof_fuse::mount_table::mount_at(&self.mount_point()).is_ok_and(|entry| entry.is_some()) {
            if !Command::new("umount").arg("-l").arg(self.mount_point()).status().is_ok_and(|s| s.success()) {
                break;
            }
        }
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Has the kernel forget all names and inodes of a mount that nobody uses. It takes root.
pub fn forget_names(mount: &Path) {
    // The kernel does it whenever a file system is mounted again with other options.
    rustix::mount::mount_remount(mount, rustix::mount::MountFlags::RDONLY, "").unwrap();
}

/// Waits until something is so; fails with what was waited for.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed().as_secs() < 60, "waited in vain until {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

pub fn order_columns() -> Vec<Column> {
    vec![
        Column::new("id", ColumnType::Int64),
        Column::new("item", ColumnType::Text),
        Column::new("price", ColumnType::Float64),
    ]
}

pub fn orders(rows: &[(i64, Option<&str>, f64)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>());
    let items: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>());
    let prices: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Float64Array>());
    RecordBatch::try_from_iter_with_nullable([
        ("id", ids, false),
        ("item", items, true),
        ("price", prices, true),
    ])
    .unwrap()
}

pub fn commit_at(transaction: Transaction, time: &str) -> Committed {
    let time: jiff::Timestamp = time.parse().unwrap();
    let time = Some(CommitTime(time.as_microsecond()));
    transaction.commit(CommitOptions { time, ..CommitOptions::default() }).unwrap()
}

/// One more commit: changes a row of `orders`.
pub fn commit_price(database: &Database, price: f64) -> Version {
    let mut transaction = database.begin().unwrap();
    transaction.upsert("orders", &orders(&[(2, Some("milk, fresh"), price)])).unwrap();
    transaction.commit(CommitOptions::default()).unwrap().version
}

/// One more commit: changes every `step`th row of `numbers`.
pub fn change_numbers(database: &Database, rows: i64, commit: i64, step: i64) -> Version {
    let items: Vec<String> = (0..rows).map(|row| format!("{:x}", row * commit)).collect();
    let changed = (commit % step..rows).step_by(step as usize);
    let rows: Vec<_> =
        changed.map(|row| (row, Some(items[row as usize].as_str()), (row + commit) as f64 / 3.0)).collect();
    let mut transaction = database.begin().unwrap();
    transaction.upsert("numbers", &orders(&rows)).unwrap();
    transaction.commit(CommitOptions::default()).unwrap().version
}

pub fn tag(name: &str, version: u64) -> Tag {
    Tag {
        name: name.to_string(),
        version: Version(version),
        message: None,
        created: CommitTime(0),
        expires: None,
    }
}

/// The file system without a kernel.
pub fn view_of(database: &Database) -> Arc<FileSystem> {
    view_with(database, None, &[Format::Parquet, Format::Csv])
}

pub fn view_with(database: &Database, at: Option<u64>, formats: &[Format]) -> Arc<FileSystem> {
    let permissions = Permissions::of_mounter(1000, 1000);
    let options = FileSystemOptions { at: at.map(Version), permissions, formats: formats.to_vec() };
    FileSystem::new(database.clone(), options).unwrap()
}

/// Looks up each component of a path.
pub fn walk(view: &Arc<FileSystem>, path: &str) -> Option<Entry> {
    let mut inode = asof_fuse::tree::ROOT_INODE;
    let mut last = None;
    for name in path.split('/') {
        match view.lookup(inode, OsStr::new(name)).and_then(|answer| answer.wait()).unwrap() {
            Found::Entry(entry) => {
                inode = entry.attributes.inode;
                last = Some(entry);
            }
            Found::Missing(_) => return None,
        }
    }
    last
}

/// The whole content of a file.
pub fn content(view: &Arc<FileSystem>, path: &str) -> Vec<u8> {
    let entry = walk(view, path).unwrap_or_else(|| panic!("{path} is not there"));
    let opened = view.open(entry.attributes.inode, libc::O_RDONLY).and_then(|answer| answer.wait()).unwrap();
    let bytes = view.read(opened.handle, 0, u32::MAX).and_then(|answer| answer.wait()).unwrap();
    view.release(opened.handle).unwrap();
    assert_eq!(bytes.len() as u64, entry.attributes.size, "size of {path}");
    bytes
}

/// What a directory lists, in order, without `.` and `..`; `batch` entries at a time.
pub fn listing(view: &Arc<FileSystem>, path: &str, batch: usize) -> Vec<String> {
    let inode = match path {
        "" => asof_fuse::tree::ROOT_INODE,
        _ => walk(view, path).unwrap_or_else(|| panic!("{path} is not there")).attributes.inode,
    };
    let opened = view.open_directory(inode).unwrap();
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let before = offset;
        let mut room = batch;
        view.read_directory(opened.handle, offset, &mut |listed| {
            if room == 0 {
                return true;
            }
            room -= 1;
            offset = listed.next;
            names.push(listed.name.clone());
            false
        })
        .unwrap();
        if offset == before {
            break;
        }
    }
    view.release(opened.handle).unwrap();
    assert_eq!(names[..2], [".", ".."], "{path}");
    names.split_off(2)
}

/// What a shell prints on both outputs, standing in a directory.
pub fn shell(directory: &Path, command: &str) -> String {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("exec 2>&1; {command}"))
        .current_dir(directory)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}
