//! Files of the host at addresses of the guest, by which the guest uses the host's own pages of them in the place of copies
//! ("direct access"). An engine that can makes a [`Window`], the device of shared folders fills it as the guest asks.

mod table;
#[cfg(test)]
pub(crate) mod tests;
mod window;

pub use table::{MOST, PAGE, Piece, Shown, Source, Zeroes};
pub use window::{Area, Interpreted, Region, Window};
