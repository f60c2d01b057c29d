use super::*;
use std::sync::atomic::AtomicUsize;

const BYTES: &[u8] = b"id\n1\n2\n";

fn key(table: u32) -> ViewKey {
    ViewKey { lineage: [7; 16], table, changed: Version(3), schema: [8; 16], format: Format::Csv, layout: 0 }
}

/// A disk that is full so many times.
fn full_for(times: usize) -> (Render, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let render = move |out: &mut dyn Write| {
        out.write_all(BYTES)?;
        match counted.fetch_add(1, Ordering::Relaxed) < times {
            true => Err(io::Error::from(io::ErrorKind::StorageFull).into()),
            false => Ok(BYTES.len() as u64),
        }
    };
    (Box::new(render), calls)
}

fn content(file: &SealedFile) -> Vec<u8> {
    let mut bytes = vec![0; file.size as usize];
    file.file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn what_has_no_room_in_the_cache_is_rendered_elsewhere() {
    let place = tempfile::tempdir().unwrap();
    let cache = ViewCache::open(Some(place.path()), 1 << 20, 1 << 10);
    // In the cache, there again after making room, in a file without a name, in memory.
    for (table, times, kept, held) in
        [(0, 0, 2, 0), (1, 1, 2, 0), (2, 2, 0, 0), (3, 3, 0, BYTES.len() as u64)]
    {
        let (render, calls) = full_for(times);
        let file = cache.get(&key(table), Some(BYTES.len() as u64), &render).unwrap();
        assert_eq!(content(&file), BYTES);
        assert_eq!(calls.load(Ordering::Relaxed), times + 1);
        assert_eq!(cache.held.load(Ordering::Relaxed), held, "{times}");
        let files = std::fs::read_dir(place.path()).unwrap().count();
        assert_eq!(files, kept, "full {times} times: the file and its checksum, or nothing");
        drop(file);
        assert_eq!(cache.held.load(Ordering::Relaxed), 0);
    }
    let (render, _) = full_for(4);
    assert_eq!(cache.get(&key(4), None, &render).unwrap_err().kind(), ErrorKind::Full);
}

#[test]
fn memory_takes_no_more_than_there_is() {
    let place = tempfile::tempdir().unwrap();
    let cache = ViewCache::open(Some(place.path()), 1 << 20, BYTES.len() as u64 - 1);
    let (render, calls) = full_for(3);
    assert_eq!(cache.get(&key(0), None, &render).unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(calls.load(Ordering::Relaxed), 4);
    assert_eq!(cache.held.load(Ordering::Relaxed), 0);
}

#[test]
fn a_cache_that_cannot_be_written_is_done_without() {
    let place = tempfile::tempdir().unwrap();
    let gone = place.path().join("gone");
    let cache = ViewCache::open(Some(&gone), 1 << 20, 1 << 10);
    std::fs::remove_dir(&gone).unwrap();
    let (render, calls) = full_for(0);
    assert_eq!(content(&cache.get(&key(0), None, &render).unwrap()), BYTES);
    assert_eq!((calls.load(Ordering::Relaxed), gone.exists()), (1, false));
}

#[test]
fn an_error_that_is_not_of_the_disk_is_told_at_once() {
    let place = tempfile::tempdir().unwrap();
    let cache = ViewCache::open(Some(place.path()), 1 << 20, 1 << 10);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let render: Render = Box::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(Error::corrupt("page 7"))
    });
    let error = cache.get(&key(0), None, &render).unwrap_err();
    assert_eq!((error.kind(), calls.load(Ordering::Relaxed)), (ErrorKind::Corrupt, 1));
}

/// Changes a file of the cache as nobody should: who owns it may always.
fn damage(path: &Path, change: impl FnOnce(&File)) {
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    change(&file);
    // A clock may not have moved on since the file was written.
    file.set_modified(SystemTime::now() + std::time::Duration::from_secs(1)).unwrap();
}

#[test]
fn what_is_damaged_while_it_is_open_is_rendered_anew_for_the_next_one() {
    let place = tempfile::tempdir().unwrap();
    let cache = ViewCache::open(Some(place.path()), 1 << 20, 1 << 10);
    let (render, calls) = full_for(0);
    let path = place.path().join(key(0).file_name());
    let changes: [fn(&File); 3] = [
        |file| file.write_all_at(b"x", 1).unwrap(),
        |file| file.set_len(2).unwrap(),
        |file| file.write_all_at(b"x", BYTES.len() as u64).unwrap(),
    ];
    let mut open = Vec::new();
    for (index, change) in changes.into_iter().enumerate() {
        let file = cache.get(&key(0), None, &render).unwrap();
        assert!(file.is_intact());
        damage(&path, change);
        assert!(!file.is_intact());
        let next = cache.get(&key(0), None, &render).unwrap();
        assert_eq!(content(&next), BYTES);
        assert_eq!(calls.load(Ordering::Relaxed), index + 2);
        open.push(file);
    }
    // What was only touched is verified, and good.
    damage(&path, |_| {});
    assert_eq!(content(&cache.get(&key(0), None, &render).unwrap()), BYTES);
    assert_eq!(calls.load(Ordering::Relaxed), 4);
}

#[test]
fn a_temporary_file_has_no_name_until_it_takes_the_place_of_another() {
    let place = tempfile::tempdir().unwrap();
    let names = || {
        std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    for bytes in [b"one", b"two"] {
        let mut temporary = Temporary::create(place.path()).unwrap();
        let before = names();
        assert_eq!(before.len(), usize::from(bytes == b"two"), "{before:?}");
        temporary.file.write_all(bytes).unwrap();
        temporary.rename(&place.path().join("name")).unwrap();
        assert_eq!(names(), ["name"]);
        assert_eq!(std::fs::read(place.path().join("name")).unwrap(), bytes);
        drop(temporary);
        assert_eq!(names(), ["name"]);
    }
    drop(Temporary::create(place.path()).unwrap());
    assert_eq!(names(), ["name"]);
}
