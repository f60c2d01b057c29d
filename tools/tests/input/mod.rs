//! What comes in: readers, inference, imports, histories, transactions.

mod apply;
mod bundled;
mod csv;
mod history;
mod import;
mod json;
mod sources;
mod survey;
mod typed;
