//! Shipping: what a database has and its archive does not, taken there.
//!
//! Invariants. Objects are put before the shipment that names them. A shipment is made only if nobody made one of its
//! number: of two archivers one is refused. What is shipped was checked against the digests that the manifest has, and
//! the database against what was shipped before: another history is never mixed in.

use crate::archive::{Archive, SUMMARY_SHIPMENTS};
use crate::hex::{Hex, Id};
use crate::index::Index;
use crate::pieces::{Piece, cuts};
use crate::shipment::{End, FileNote, LogPlace, ManifestNote, Shipment};
use crate::workers::{WORKERS, for_each};
use asof_engine::hold::{Held, HeldFile, Lasting};
use asof_engine::{Database, Error, ErrorKind, Result, Version};
use asof_wal::{DiskFile, Position};
use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a newer state of the database is taken up where files of the one at hand went.
pub(crate) const HOLDS_MAX: usize = 5;
/// How long to wait after an error that may pass, at most.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How soon somebody who asks to end is heard.
const HEARD_WITHIN: Duration = Duration::from_millis(20);
/// How long somebody who asks to end is kept waiting by what is shipped last.
const LAST_WITHIN: Duration = Duration::from_secs(2);
/// In a summary's place: pieces for each shipment before the next one.
const SUMMARY_PIECES: u64 = 8;

/// What a shipment brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Its number.
    pub shipment: u64,
    /// The newest version of the archive now.
    pub version: Version,
    /// Its commit time, microseconds.
    pub time: i64,
    /// Files with new bytes.
    pub files: u64,
    /// Objects put.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes put.
    pub stored: u64,
    /// Whether versions can be reached by replaying the log from before it on.
    pub continues: bool,
}

/// Whoever watches: how many bytes are done, of how many; `false` ends it.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) -> bool + Sync);

/// Ships one database to its archive.
#[derive(Debug)]
pub struct Archiver {
    archive: Archive,
    index: Index,
    database: Database,
    since_summary: u64,
    /// Whether a shipment was put, and nobody knows whether it is there: the answer was an error.
    is_index_in_doubt: bool,
    /// Files that grow, and that were compared with what is archived.
    compared: BTreeSet<String>,
    /// Which directory the database is in.
    directory: Option<(u64, u64)>,
}

/// A file with bytes to ship.
struct Work {
    file: HeldFile,
    /// From here on.
    from: u64,
    /// The ends of the new pieces.
    ends: Vec<u64>,
}

/// The device and inode of a directory, if it is there.
fn identity_of(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

impl Archiver {
    /// Opens the archive of a database, which was opened for reading only, or makes it; tells whether it did.
    pub fn open(place: &Path, database: Database) -> Result<(Archiver, bool)> {
        let (archive, made) = Archive::open_or_create(place, database.id(), database.lineage_id())?;
        let index = archive.load()?;
        let since_summary = archive.shipments_since_summary(index.shipments)?;
        let (is_index_in_doubt, compared) = (false, BTreeSet::new());
        let directory = identity_of(database.path());
        Ok((
            Archiver { archive, index, database, since_summary, is_index_in_doubt, compared, directory },
            made,
        ))
    }

    /// The archive.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// What it holds, as far as this archiver knows.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Refuses an archive of which an object is missing or cut short: for who relies on it before he removes something.
    pub fn check_objects(&self) -> Result<()> {
        self.archive.check_objects(&self.index)
    }

    /// Ships what is new; `None` where nothing is.
    pub fn ship(&mut self, progress: Progress<'_>) -> Result<Option<Shipped>> {
        self.check_directory()?;
        if self.is_index_in_doubt {
            self.index = self.archive.load()?;
            self.since_summary = self.archive.shipments_since_summary(self.index.shipments)?;
            self.is_index_in_doubt = false;
        }
        let mut holds = 0;
        loop {
            let taken = self.database.options().clock.now().0;
            let held = self.database.hold()?;
            holds += 1;
            match self.ship_held(&held, taken, progress) {
                // A checkpoint or a compaction went by: there is a newer state.
                Err(error) if holds < HOLDS_MAX && is_missing(&error) => log::info!("{error}; looking again"),
                shipped => return shipped,
            }
        }
    }

    /// Ships what is new, at most this often, until `progress` says no, and then what little is left; an error where that
    /// is more. Errors that may pass are told, and it is tried again.
    pub fn follow(
        &mut self,
        every: Duration,
        progress: Progress<'_>,
        tell: &mut dyn FnMut(std::result::Result<&Shipped, &Error>) -> Result<()>,
    ) -> Result<()> {
        let mut pause = every;
        loop {
            let mut is_reached = true;
            match self.ship(progress) {
                Ok(shipped) => {
                    shipped.iter().try_for_each(|shipped| tell(Ok(shipped)))?;
                    pause = every;
                }
                // Somebody asked to end meanwhile.
                Err(_) if !progress(0, 0) => {}
                Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Full) => {
                    tell(Err(&error))?;
                    pause = (pause * 2).clamp(Duration::from_secs(1), PAUSE_MAX);
                    is_reached = false;
                }
                Err(error) => return Err(error),
            }
            let since = Instant::now();
            while since.elapsed() < pause && progress(0, 0) {
                std::thread::sleep(HEARD_WITHIN.min(pause));
            }
            if !progress(0, 0) {
                return self.ship_last(is_reached, tell);
            }
        }
    }

    /// Ships what was committed up to now, if that is little and the archive can be reached; says so where it is not all
    /// there then.
    fn ship_last(
        &mut self,
        is_reached: bool,
        tell: &mut dyn FnMut(std::result::Result<&Shipped, &Error>) -> Result<()>,
    ) -> Result<()> {
        let (since, newest) = (Instant::now(), self.database.refresh()?.0);
        let why = match is_reached.then(|| self.ship(&|_, _| since.elapsed() < LAST_WITHIN)) {
            Some(Ok(shipped)) => return shipped.iter().try_for_each(|shipped| tell(Ok(shipped))),
            Some(Err(error)) if since.elapsed() < LAST_WITHIN => format!(" ({error})"),
            Some(Err(_)) => String::new(),
            None => " (it could not be reached)".to_string(),
        };
        let (archive, archived) = (self.archive.name(), self.index.version());
        match archived < newest {
            false => Ok(()),
            true => Err(Error::new(
                ErrorKind::Io,
                format!(
                    "{archive} has version {archived}, and not those after it up to {newest}{why}; the next run ships them"
                ),
            )),
        }
    }

    /// Refuses to go on where the database's directory was removed or replaced: what is open is there no more for anybody
    /// else.
    fn check_directory(&self) -> Result<()> {
        let path = self.database.path();
        if identity_of(path) == self.directory {
            return Ok(());
        }
        let (archive, version, path) = (self.archive.name(), self.index.version(), path.display());
        Err(Error::not_found(format!(
            "{path} was removed or replaced while it was archived; {archive} has it up to version {version}: 'asof recover' \
             brings that back, and what is in {path} now is archived by another run"
        )))
    }

    fn ship_held(&mut self, held: &Held, taken: i64, progress: Progress<'_>) -> Result<Option<Shipped>> {
        self.check_history(held)?;
        let before = self.index.end().copied();
        let manifest_path = held.manifest_path();
        let has_manifest = self.index.file(&manifest_path).is_some();
        if has_manifest && before.map(|end| end.log) == Some(LogPlace(held.end())) {
            return Ok(None);
        }
        let log_start = Position::from(held.manifest().log_start);
        let first = before.map_or(log_start.segment, |end| end.log.0.segment);
        let segments = held.segments(first)?;
        let joins =
            segments.first().is_some_and(|oldest| oldest.path <= asof_engine::hold::segment_path(first));
        let mut files = held.files();
        let mut loads = self.loads(held, before.filter(|_| joins), &mut files);
        let continues = loads.is_some();
        if loads.is_none() {
            loads = Some(held.loaded_since(log_start)?);
        }
        let loads: Vec<(u64, String)> =
            loads.into_iter().flatten().map(|(version, file)| (version.0, file.path)).collect();
        let manifest_bytes = held.manifest().to_bytes();
        let mut seen = HashSet::new();
        files.extend(segments);
        files.retain(|file| seen.insert(file.path.clone()));
        let work = self.work(held, files)?;
        let end = self.end_of(held)?;
        let mut notes = Vec::new();
        if !has_manifest {
            notes.push(self.put_bytes(manifest_path, &manifest_bytes)?);
        }
        notes.extend(self.put_files(held, &work, progress)?);
        let manifest = held.manifest();
        let shipment = Shipment {
            number: self.index.shipments + 1,
            previous: self.index.digest,
            database: self.index.database,
            lineage: self.index.lineage,
            taken,
            manifest: ManifestNote {
                number: manifest.number,
                version: manifest.version,
                time: manifest.time,
                log: LogPlace(log_start),
            },
            continues: continues && before.is_some(),
            end,
            loads,
            files: notes,
        };
        self.is_index_in_doubt = true;
        let digest = self.archive.put_shipment(&shipment)?;
        self.is_index_in_doubt = false;
        let Some(digest) = digest else {
            return Err(Error::new(
                ErrorKind::Locked,
                format!(
                    "another archiver ships to {} now: it made shipment {}; let one of them run",
                    self.archive.name(),
                    shipment.number
                ),
            ));
        };
        let pieces = || shipment.files.iter().flat_map(|note| &note.pieces);
        let shipped = Shipped {
            shipment: shipment.number,
            version: held.version(),
            time: end.time,
            files: shipment.files.len() as u64,
            objects: pieces().count() as u64,
            bytes: pieces().map(Piece::len).sum(),
            stored: pieces().map(|piece| piece.stored).sum(),
            continues: shipment.continues,
        };
        let name = self.archive.name().to_string();
        self.index.add(shipment, digest, &name)?;
        self.since_summary += 1;
        self.summarise();
        Ok(Some(shipped))
    }

    /// The database must be what was archived, and more: not an older copy of it, nor one that went another way.
    fn check_history(&self, held: &Held) -> Result<()> {
        let Some(end) = self.index.end() else { return Ok(()) };
        let (database, archive) = (self.database.path().display(), self.archive.name());
        let lost = held.version().0 < end.version
            || (held.version().0 == end.version && held.end().sequence < end.log.0.sequence);
        if lost {
            return Err(Error::invalid(format!(
                "{database} ends at version {}, but {archive} holds what came after it, up to version {}: this is an \
                 older copy, or its log was cut; 'asof recover' makes a database of the archive, and another place \
                 takes an archive of this one",
                held.version(),
                end.version
            )));
        }
        if commit_id(&self.database, end.version)? != end.commit {
            return Err(Error::invalid(format!(
                "version {} of {database} is another commit than that of {archive}: they went different ways before \
                 it; name another place",
                end.version
            )));
        }
        Ok(())
    }

    fn end_of(&self, held: &Held) -> Result<End> {
        let version = held.version().0;
        let commit = commit_id(&self.database, version)?;
        Ok(End { log: LogPlace(held.end()), version, time: held.time().0, commit })
    }

    /// The data files that the log names after the last shipment, which are added to those to be shipped; `None` where
    /// that part of the log, or one of the files, is not there any more.
    fn loads(
        &self,
        held: &Held,
        before: Option<End>,
        files: &mut Vec<HeldFile>,
    ) -> Option<Vec<(Version, HeldFile)>> {
        let loads = held.loaded_since(before?.log.0).ok()?;
        for (_, file) in &loads {
            let known = self.index.file(&file.path).is_some() || files.iter().any(|f| f.path == file.path);
            if !known {
                held.open(&file.path).ok()?;
                files.push(file.clone());
            }
        }
        Some(loads)
    }

    /// What of these files is not archived yet.
    fn work(&mut self, held: &Held, files: Vec<HeldFile>) -> Result<Vec<Work>> {
        let mut work = Vec::new();
        for file in files {
            let archived = self.index.file(&file.path);
            let pieces = archived.map_or(&[][..], |archived| &archived.pieces);
            if let (Lasting::Whole(_), Some(archived)) = (file.lasting, archived)
                && archived.bytes != file.bytes
            {
                return Err(self.differs(&file.path, archived.bytes));
            }
            let (from, ends) = cuts(pieces, file.bytes);
            if ends.is_empty() {
                continue;
            }
            if let Some(last) = pieces.last()
                && !self.compared.contains(&file.path)
            {
                let bytes = read(&*held.open(&file.path)?, last.from, last.to, &file.path)?;
                if *blake3::hash(&bytes).as_bytes() != last.digest.0 {
                    return Err(self.differs(&file.path, last.from));
                }
                self.compared.insert(file.path.clone());
            }
            work.push(Work { file, from, ends });
        }
        Ok(work)
    }

    fn differs(&self, path: &str, offset: u64) -> Error {
        Error::corrupt(format!(
            "{}/{path} is not the file that {} has of this name: they differ from offset {offset} on; run 'asof verify', \
             and archive to another place if the log was cut",
            self.database.path().display(),
            self.archive.name()
        ))
    }

    fn put_bytes(&self, path: String, bytes: &[u8]) -> Result<FileNote> {
        let (_, ends) = cuts(&[], bytes.len() as u64);
        let mut from = 0;
        let mut pieces = Vec::new();
        for end in ends {
            let (piece, stored) = Piece::pack(from, &bytes[from as usize..end as usize])?;
            self.archive.put_piece(&piece, &stored)?;
            pieces.push(piece);
            from = end;
        }
        Ok(FileNote { path, bytes: from, pieces })
    }

    /// Ships files: small ones several at a time, of large ones several pieces at a time.
    fn put_files(&self, held: &Held, work: &[Work], progress: Progress<'_>) -> Result<Vec<FileNote>> {
        let bytes = |work: &Work| work.ends[work.ends.len() - 1] - work.from;
        let total = work.iter().map(bytes).sum();
        let done = AtomicU64::new(0);
        let step = |bytes: u64| match progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total) {
            true => Ok(()),
            false => {
                Err(Error::new(ErrorKind::Io, "interrupted before all was shipped; the next run goes on"))
            }
        };
        let (small, large): (Vec<&Work>, Vec<&Work>) = work.iter().partition(|work| work.ends.len() == 1);
        let mut notes = for_each(&small, |work| self.put_file(held, work, &step))?;
        for work in large {
            notes.push(self.put_file(held, work, &step)?);
        }
        Ok(notes)
    }

    fn put_file(
        &self,
        held: &Held,
        work: &Work,
        step: &(dyn Fn(u64) -> Result<()> + Sync),
    ) -> Result<FileNote> {
        let path = &work.file.path;
        let file = held.open(path)?;
        let mut hasher = blake3::Hasher::new();
        let (mut pieces, mut from) = (Vec::new(), work.from);
        for ends in work.ends.chunks(WORKERS) {
            let mut parts = Vec::new();
            for end in ends {
                let bytes = read(&*file, from, *end, path)?;
                hasher.update(&bytes);
                parts.push((from, bytes));
                from = *end;
            }
            pieces.extend(for_each(&parts, |(from, bytes)| {
                step(0)?;
                let (piece, stored) = Piece::pack(*from, bytes)?;
                self.archive.put_piece(&piece, &stored)?;
                step(bytes.len() as u64)?;
                Ok(piece)
            })?);
        }
        if let Lasting::Whole(digest) = work.file.lasting
            && *hasher.finalize().as_bytes() != digest
        {
            return Err(Error::corrupt(format!(
                "{}/{path} is damaged: expected digest {}, found {}; nothing was shipped, run 'asof verify'",
                self.database.path().display(),
                Hex(digest),
                Hex(*hasher.finalize().as_bytes())
            )));
        }
        Ok(FileNote { path: path.clone(), bytes: work.file.bytes, pieces })
    }

    /// Writes a summary where one is due. What fails here only makes opening slower.
    fn summarise(&mut self) {
        let pieces: u64 = self.index.files.values().map(|file| file.pieces.len() as u64).sum();
        if self.since_summary < SUMMARY_SHIPMENTS.max(pieces / SUMMARY_PIECES) {
            return;
        }
        match self.archive.put_summary(&self.index) {
            Ok(()) => self.since_summary = 0,
            Err(error) => log::warn!("no summary was written: {error}"),
        }
    }
}

/// The id of a version's commit; version 0 has none.
pub(crate) fn commit_id(database: &Database, version: u64) -> Result<Option<Id>> {
    match version {
        0 => Ok(None),
        _ => Ok(Some(Hex(*database.commit_info(Version(version))?.id.as_bytes()))),
    }
}

fn read(file: &dyn DiskFile, from: u64, to: u64, path: &str) -> Result<Vec<u8>> {
    let mut bytes = vec![0; (to - from) as usize];
    file.read_exact_at(&mut bytes, from).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::corrupt(format!("{path} is damaged: expected {to} bytes, found fewer; run 'asof verify'"))
        }
        _ => Error::from(error).at(format!("cannot read {path}")),
    })?;
    Ok(bytes)
}

/// Whether a file was gone that should be there.
pub(crate) fn is_missing(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::store::Store;
    use asof_engine::{Column, ColumnType, CommitOptions, Options};
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    /// Puts what it is told to, and loses the answer once.
    #[derive(Debug)]
    struct Forgetful {
        store: Arc<dyn Store>,
        forgets: AtomicBool,
    }

    impl Store for Forgetful {
        fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>> {
            self.store.get(name, bytes_max)
        }

        fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
            self.store.put(name, bytes)
        }

        fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
            let put = self.store.put_new(name, bytes);
            match self.forgets.swap(false, Ordering::Relaxed) {
                true => Err(Error::new(ErrorKind::Io, "no answer")),
                false => put,
            }
        }

        fn list(&self, dir: &str, after: &str) -> Result<Vec<String>> {
            self.store.list(dir, after)
        }

        fn sizes_below(&self, dir: &str) -> Result<HashMap<String, u64>> {
            self.store.sizes_below(dir)
        }

        fn is_near(&self) -> bool {
            self.store.is_near()
        }
    }

    fn commit(database: &Database, name: &str) -> u64 {
        let mut txn = database.begin().unwrap();
        txn.create_table(name, vec![Column::new("x", ColumnType::Int64)], &[]).unwrap();
        txn.commit(CommitOptions::default()).unwrap().version.0
    }

    #[test]
    fn a_shipment_whose_answer_was_lost_is_no_other_archivers() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let database = Database::open_or_create(path("db"), Options::default()).unwrap();
        commit(&database, "a");
        let reader = Database::open_read_only(path("db"), Options::default()).unwrap();
        let (mut archiver, _) = Archiver::open(&path("archive"), reader).unwrap();
        let forgetful =
            Arc::new(Forgetful { store: archiver.archive.store().clone(), forgets: AtomicBool::new(false) });
        archiver.archive = archiver.archive.with_store(forgetful.clone());
        for round in 0..3 {
            let version = commit(&database, &format!("b{round}"));
            forgetful.forgets.store(true, Ordering::Relaxed);
            let (mut told, mut ends) = (Vec::new(), false);
            let shown = std::sync::Mutex::new(0);
            let goes_on = |_: u64, _: u64| *shown.lock().unwrap() < version;
            archiver
                .follow(Duration::from_millis(1), &goes_on, &mut |shipped| {
                    told.push(shipped.map_err(ToString::to_string).map(|shipped| shipped.version.0));
                    // The answer was lost: another commit gives it something to ship.
                    if told.len() == 1 {
                        commit(&database, &format!("c{round}"));
                    } else {
                        *shown.lock().unwrap() = version;
                    }
                    ends = true;
                    Ok(())
                })
                .unwrap();
            assert_eq!(told, [Err("no answer".to_string()), Ok(version + 1)]);
            assert!(ends && archiver.index() == &archiver.archive.load().unwrap());
        }
    }

    #[test]
    fn whoever_ends_following_hears_what_is_not_shipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let database = Database::open_or_create(path("db"), Options::default()).unwrap();
        let version = commit(&database, "a");
        let reader = Database::open_read_only(path("db"), Options::default()).unwrap();
        let (mut archiver, _) = Archiver::open(&path("archive"), reader).unwrap();
        let forgetful =
            Arc::new(Forgetful { store: archiver.archive.store().clone(), forgets: AtomicBool::new(true) });
        archiver.archive = archiver.archive.with_store(forgetful.clone());
        let asked = AtomicBool::new(false);
        let error = archiver
            .follow(Duration::from_millis(1), &|_, _| !asked.load(Ordering::Relaxed), &mut |_| {
                asked.store(true, Ordering::Relaxed);
                Ok(())
            })
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("has version 0, and not those after it up to {version}")), "{error}");
        // What is there is there, and the next one knows.
        archiver.follow(Duration::from_millis(1), &|_, _| false, &mut |_| Ok(())).unwrap();
        assert_eq!(archiver.index().version(), version);
    }

    #[test]
    fn a_manifest_that_is_not_what_is_noted_of_it_is_no_base() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open_or_create(dir.path().join("db"), Options::default()).unwrap();
        let version = commit(&database, "a");
        database.checkpoint().unwrap();
        let reader = Database::open_read_only(dir.path().join("db"), Options::default()).unwrap();
        let (mut archiver, _) = Archiver::open(&dir.path().join("archive"), reader).unwrap();
        archiver.ship(&|_, _| true).unwrap();
        let pieces = crate::cache::Pieces::new(archiver.archive.clone());
        let plan = |index: &Index| crate::Plan::of(&pieces, index, version).map(drop);
        plan(&archiver.index).unwrap();
        let mut index = archiver.index.clone();
        index.manifests[0].note.log.0.offset += 8;
        assert!(plan(&index).unwrap_err().to_string().contains("is not the manifest that was shipped"));
    }
}
