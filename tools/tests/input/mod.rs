//! What comes in: readers, inference, imports, histories, transactions.

mod bundled;
mod csv;
mod json;
mod sources;
mod survey;
mod typed;
