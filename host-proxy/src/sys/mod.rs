//! What differs by operating system, under the same names: endpoints, processes, private files, the terminal. The only file
//! of this crate that asks which system it is built for. A power that a system lacks is an `Option`.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::{endpoint, files, process, terminal};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::{endpoint, files, process, terminal};
