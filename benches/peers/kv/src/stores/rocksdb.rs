//! RocksDB with `WriteOptions::sync`, through the C interface of the system's library.

use crate::store::{Row, Store};
use libc::{c_char, c_uchar, c_void, size_t};
use std::ffi::CString;
use std::path::Path;
use std::ptr::null_mut;

#[link(name = "rocksdb")]
unsafe extern "C" {
    fn rocksdb_options_create() -> *mut c_void;
    fn rocksdb_options_set_create_if_missing(options: *mut c_void, value: c_uchar);
    fn rocksdb_options_set_write_buffer_size(options: *mut c_void, bytes: size_t);
    fn rocksdb_options_set_max_total_wal_size(options: *mut c_void, bytes: u64);
    fn rocksdb_open(options: *mut c_void, path: *const c_char, error: *mut *mut c_char) -> *mut c_void;
    fn rocksdb_writeoptions_create() -> *mut c_void;
    fn rocksdb_writeoptions_set_sync(options: *mut c_void, value: c_uchar);
    fn rocksdb_writebatch_create() -> *mut c_void;
    fn rocksdb_writebatch_put(
        batch: *mut c_void,
        key: *const u8,
        key_len: size_t,
        value: *const u8,
        value_len: size_t,
    );
    fn rocksdb_writebatch_destroy(batch: *mut c_void);
    fn rocksdb_write(
        database: *mut c_void,
        options: *mut c_void,
        batch: *mut c_void,
        error: *mut *mut c_char,
    );
    fn rocksdb_readoptions_create() -> *mut c_void;
    fn rocksdb_create_iterator(database: *mut c_void, options: *mut c_void) -> *mut c_void;
    fn rocksdb_iter_seek_to_last(iterator: *mut c_void);
    fn rocksdb_iter_key(iterator: *mut c_void, len: *mut size_t) -> *const u8;
    fn rocksdb_iter_value(iterator: *mut c_void, len: *mut size_t) -> *const u8;
}

pub struct RocksDb {
    database: *mut c_void,
    write_options: *mut c_void,
}

// SAFETY: the library's handles may be used from any thread.
unsafe impl Send for RocksDb {}
// SAFETY: as above; writes and iterators of one database may run at the same time.
unsafe impl Sync for RocksDb {}

impl RocksDb {
    pub fn open(dir: &Path, log_only: bool) -> RocksDb {
        let path =
            CString::new(dir.join("rocksdb").to_str().expect("a path in UTF-8")).expect("no zero byte");
        let mut error = null_mut();
        // SAFETY: every handle was made by the call before; strings end with zero and outlive the call.
        unsafe {
            let options = rocksdb_options_create();
            rocksdb_options_set_create_if_missing(options, 1);
            if log_only {
                rocksdb_options_set_write_buffer_size(options, 4 << 30);
                rocksdb_options_set_max_total_wal_size(options, 16 << 30);
            }
            let database = rocksdb_open(options, path.as_ptr(), &mut error);
            assert!(error.is_null(), "RocksDB opens");
            let write_options = rocksdb_writeoptions_create();
            rocksdb_writeoptions_set_sync(write_options, 1);
            RocksDb { database, write_options }
        }
    }
}

impl Store for RocksDb {
    fn commit(&self, rows: &[Row]) {
        let mut error = null_mut();
        // SAFETY: keys and values are copied into the batch before they go.
        unsafe {
            let batch = rocksdb_writebatch_create();
            for (key, value) in rows {
                let key = key.to_be_bytes();
                rocksdb_writebatch_put(batch, key.as_ptr(), key.len(), value.as_ptr(), value.len());
            }
            rocksdb_write(self.database, self.write_options, batch, &mut error);
            assert!(error.is_null(), "RocksDB commits");
            rocksdb_writebatch_destroy(batch);
        }
    }

    fn last_key(&self) -> u64 {
        let mut len = 0;
        // SAFETY: key and value stay valid until the iterator moves.
        unsafe {
            let iterator = rocksdb_create_iterator(self.database, rocksdb_readoptions_create());
            rocksdb_iter_seek_to_last(iterator);
            let key = rocksdb_iter_key(iterator, &mut len);
            let key = std::slice::from_raw_parts(key, len).try_into().expect("eight bytes");
            rocksdb_iter_value(iterator, &mut len);
            assert!(len > 0);
            u64::from_be_bytes(key)
        }
    }
}
