//! The API of `vm-memory`, without the feature that does not compile on Windows (see `Cargo.toml`).
pub use real::*;
