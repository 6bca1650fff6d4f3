//! The host side of `lighter`: a table of contents.

pub mod docker;
pub mod guest;
