//! What is left behind: a table on the terminal, the same for programs, a picture.

mod json;
mod picture;
#[cfg(test)]
pub(in crate::failover) mod sample;
mod text;

pub use json::json;
pub use picture::picture;
pub use text::text;
