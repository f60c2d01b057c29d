//! Where an archive's objects lie: a directory, or below a URL of an object store. Names have `/` in them.
//!
//! Invariant. When [`Store::put_new`] has made an object, every object that was put before lasts too.

mod directory;
mod objects;

use asof_engine::{Error, ErrorKind, Result};
use directory::Directory;
use objects::Objects;
use std::collections::HashMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A place for objects.
pub trait Store: Debug + Send + Sync {
    /// An object's bytes, at most so many; `None` where there is none of that name.
    fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>>;
    /// Puts an object, or puts it once more.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;
    /// Puts an object that must not be there yet; `false` where one of other bytes is.
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool>;
    /// The names in a directory that come after one, ascending; without the directory.
    fn list(&self, dir: &str, after: &str) -> Result<Vec<String>>;
    /// The sizes of the objects in a directory's directories, by name.
    fn sizes_below(&self, dir: &str) -> Result<HashMap<String, u64>>;
    /// Whether reading twice costs about what reading from a cache does.
    fn is_near(&self) -> bool;
}

/// What somebody typed as the place of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A bucket, and what every name in it begins with.
    Bucket {
        /// The bucket.
        bucket: String,
        /// Without slashes at its ends.
        prefix: String,
    },
}

impl Place {
    /// Tells URLs from paths.
    pub fn parse(typed: &Path) -> Result<Place> {
        let Some(text) = typed.to_str().filter(|text| text.contains("://")) else {
            return Ok(Place::Directory(typed.to_path_buf()));
        };
        let wrong = |why: &str| Error::invalid(format!("{text} is no place for an archive: {why}"));
        let url = url::Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        match url.scheme() {
            "file" => {
                let path = url.to_file_path().map_err(|()| wrong("write file:///absolute/path"))?;
                Ok(Place::Directory(path))
            }
            "s3" | "s3a" => {
                let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
                let bucket = bucket.ok_or_else(|| wrong("write s3://BUCKET/PREFIX"))?.to_string();
                let prefix = url.path().trim_matches('/').to_string();
                Ok(Place::Bucket { bucket, prefix })
            }
            scheme => {
                let message =
                    format!("{text}: {scheme}:// is not supported; use s3://, file:// or a directory");
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }

    /// Opens it. Nothing is read or made yet.
    pub fn open(&self) -> Result<Arc<dyn Store>> {
        Ok(match self {
            Place::Directory(path) => Arc::new(Directory::new(path)),
            Place::Bucket { bucket, prefix } => Arc::new(Objects::of_bucket(bucket, prefix)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Place> {
        Place::parse(Path::new(text)).ok()
    }

    #[test]
    fn urls_are_told_from_paths() {
        let bucket = |bucket: &str, prefix: &str| {
            Some(Place::Bucket { bucket: bucket.to_string(), prefix: prefix.to_string() })
        };
        let directory = |path: &str| Some(Place::Directory(path.into()));
        assert_eq!(parse("s3://shop/archives/main/"), bucket("shop", "archives/main"));
        assert_eq!(parse("s3://shop"), bucket("shop", ""));
        assert_eq!(parse("file:///srv/shop%20archive"), directory("/srv/shop archive"));
        assert_eq!(parse("relative/place"), directory("relative/place"));
        for wrong in ["s3:///prefix", "file://host.example/x", "ftp://host/x", "s3://"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
