//! The FUSE protocol (include/uapi/linux/fuse.h of Linux, version 7.40) as bytes: [`request`] reads what the guest sends,
//! [`reply`] builds what it gets. Pure: nothing here knows a file.

mod bytes;
pub mod mapping;
pub mod numbers;
pub mod reply;
pub mod request;
pub mod set_attr;
