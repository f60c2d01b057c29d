//! Row versions in files: data files (Parquet), ends files, and how keys are found in them.

pub mod bloom;
pub mod chunk;
pub mod data_file;
pub mod data_writer;
pub mod details;
pub mod directory;
pub mod encode;
pub mod ends;
pub mod group_scan;
pub mod index_block;
pub mod output;
mod pages;
pub mod read;
mod sink;
pub mod verified;

#[cfg(test)]
mod tests;
