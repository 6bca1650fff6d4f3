//! What the rig asks of Linux alone.

pub mod tap;
