//! What a run leaves behind: the report on the terminal ([`text()`]), the same for programs ([`json()`]), and what was measured in
//! each interval, as histograms ([`HdrLog`]) and as a table ([`Series`]).

pub(crate) mod format;
mod hdr;
mod json;
pub(crate) mod page;
#[cfg(test)]
pub(crate) mod sample;
mod series;
mod text;

pub use hdr::HdrLog;
pub use json::json;
pub use series::Series;
pub use text::text;
pub(crate) use text::{encrypted, passed, plural, reasons, thresholds, word};
