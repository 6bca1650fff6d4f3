//! The guest image: what it is made of, how it is built, how it is checked before each boot.
//!
//! The daemon uses [`place`], [`Image`] and [`manifest`], which are portable. xtask uses [`build`], [`host_packages`], [`debs`]
//! and [`tools`], which need a Debian-like Linux.

mod apt;
mod architecture;
mod archive;
mod artifact;
mod assemble;
mod builder;
pub mod cache;
mod command;
mod debian;
pub mod debs;
pub mod demo;
mod digest;
mod elf;
mod erofs;
mod error;
mod fragments;
mod hold;
mod host;
mod image;
mod image_error;
mod kernel;
pub mod manifest;
mod packages;
pub mod place;
pub mod progress;
mod recipe;
mod rootfs;
pub mod tools;
mod unexport;

pub use builder::{BuildOptions, bench_kernel, build};
pub use error::BuildError;
pub use host::{HostPackage, Probe, host_packages};
pub use image::Image;
pub use image_error::{CURE, ImageError};
pub use progress::{PlainLines, Progress};
