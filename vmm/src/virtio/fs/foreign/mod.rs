//! What hosts other than Linux say, in Linux terms: error numbers, times, names, the text of links. All of it is arithmetic on
//! what a backend was told, so that every system's is tested on every system.

mod chains;
mod darwin;
mod filetime;
mod names;
mod reparse;
mod streams;
mod watched;
mod win32;

pub use chains::{Layout, Listed, kind_of, listed, streams};
pub use darwin::from_darwin;
pub use filetime::{from_filetime, to_filetime};
pub use names::{from_wide, to_wide};
pub use reparse::{LX_LINK, link_data, link_text, tag_kind};
pub use streams::{attribute_name, stream_name};
pub use watched::{Report, Watched};
pub use win32::{from_nt, from_windows};
