//! What differs by instruction set, as pure functions: layout, loading, boot registers, interrupt chip. No system calls.
//! The rest of the crate says `arch::…` and gets the one that it is compiled for.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

mod boot;

#[cfg(target_arch = "aarch64")]
pub use aarch64::*;
pub use boot::{BootError, BootPlan, Slot};
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
