//! Objects of an S3-compatible store.
//!
//! Requests run on a runtime of this crate's own, and callers wait for them on their own threads: whoever reads an
//! archive may be a worker of another runtime, which must not be entered.

use super::Store;
use asof_engine::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How often a request is tried again, and for how long.
const RETRIES_MAX: usize = 6;
const RETRY_FOR: Duration = Duration::from_secs(30);
/// Threads that serve requests.
const RUNTIME_THREADS: usize = 2;

/// A bucket, or a part of one.
#[derive(Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    /// As the user wrote it.
    url: String,
    runtime: &'static Runtime,
}

impl Objects {
    /// Below a prefix of a bucket; credentials, region and endpoint are those of the environment (`AWS_*`).
    pub fn of_bucket(bucket: &str, prefix: &str) -> Result<Objects> {
        let url = format!("s3://{bucket}/{prefix}");
        let retry =
            RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_FOR, ..RetryConfig::default() };
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retry)
            .build()
            .map_err(|error| told(&url, error))?;
        Ok(Objects { store: Arc::new(store), prefix: prefix.to_string(), url, runtime: runtime()? })
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.prefix).trim_start_matches('/'))
    }

    /// Waits for a request.
    fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> object_store::Result<T> {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // Nobody waits where the caller was killed.
            let _ = answer.send(request.await);
        });
        answered.recv().expect("a request answers, and does not panic")
    }
}

/// The runtime of all stores; it lives as long as the process.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("asof-archive")
        .enable_all()
        .build()
        .map_err(|error| Error::from(error).at("cannot start threads for requests"))?;
    Ok(RUNTIME.get_or_init(|| made))
}

fn told(place: &str, error: object_store::Error) -> Error {
    let kind = match &error {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            ErrorKind::ReadOnly
        }
        _ => ErrorKind::Io,
    };
    // Chains of causes, each with its own, in one line.
    let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Error::new(kind, format!("{place}: {text}; see AWS_ENDPOINT_URL, AWS_REGION and the credentials"))
        .with_source(error)
}

impl Store for Objects {
    fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let (store, path) = (self.store.clone(), self.path(name));
        let request = async move {
            let found = match store.get(&path).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                found => found?,
            };
            match found.meta.size > bytes_max {
                true => Ok(Some(Err(found.meta.size))),
                false => found.bytes().await.map(|bytes| Some(Ok(bytes))),
            }
        };
        let place = format!("{}/{name}", self.url);
        match self.wait(request).map_err(|error| told(&place, error))? {
            None => Ok(None),
            Some(Ok(bytes)) => Ok(Some(bytes.into())),
            Some(Err(size)) => Err(Error::corrupt(format!(
                "{place} has {size} bytes, more than the {bytes_max} it may have"
            ))),
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (store, path, bytes) = (self.store.clone(), self.path(name), Bytes::copy_from_slice(bytes));
        let put = self.wait(async move { store.put(&path, bytes.into()).await });
        put.map(drop).map_err(|error| told(&format!("{}/{name}", self.url), error))
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let (store, path, payload) = (self.store.clone(), self.path(name), Bytes::copy_from_slice(bytes));
        let put = self.wait(async move {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            store.put_opts(&path, payload.into(), options).await
        });
        match put {
            Ok(_) => Ok(true),
            // It may be our own, of a request that was answered by nobody and tried again.
            Err(object_store::Error::AlreadyExists { .. }) => {
                Ok(self.get(name, u64::MAX)?.is_some_and(|found| found == bytes))
            }
            Err(error) => Err(told(&format!("{}/{name}", self.url), error)),
        }
    }

    fn list(&self, dir: &str, after: &str) -> Result<Vec<String>> {
        let (store, path) = (self.store.clone(), self.path(dir));
        let offset = self.path(&format!("{dir}/{after}"));
        let all = after.is_empty();
        let listed = self.wait(async move {
            let listed = match all {
                true => store.list(Some(&path)),
                false => store.list_with_offset(Some(&path), &offset),
            };
            listed.map_ok(|object| object.location).try_collect::<Vec<Path>>().await
        });
        let listed = listed.map_err(|error| told(&format!("{}/{dir}", self.url), error))?;
        let names = listed.iter().filter_map(|path| path.filename().map(str::to_string));
        let mut names: Vec<String> = names.filter(|name| name.as_str() > after).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn sizes_below(&self, dir: &str) -> Result<HashMap<String, u64>> {
        let (store, path) = (self.store.clone(), self.path(dir));
        let listed = self.wait(async move {
            let sizes = store.list(Some(&path)).map_ok(|object| (object.location, object.size));
            sizes.try_collect::<Vec<(Path, u64)>>().await
        });
        let listed = listed.map_err(|error| told(&format!("{}/{dir}", self.url), error))?;
        let below = self.path(dir);
        let name = |location: &Path| {
            let parts = location.prefix_match(&below)?.map(|part| part.as_ref().to_string());
            Some(std::iter::once(dir.to_string()).chain(parts).collect::<Vec<_>>().join("/"))
        };
        Ok(listed.iter().filter_map(|(location, bytes)| Some((name(location)?, *bytes))).collect())
    }

    fn is_near(&self) -> bool {
        false
    }
}
