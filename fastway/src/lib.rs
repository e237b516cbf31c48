//! placeholder
pub mod command;
pub mod endpoint;
pub mod frame;
pub mod handshake;
pub mod id;
pub mod keepalive;
pub mod net;
pub mod reader;
