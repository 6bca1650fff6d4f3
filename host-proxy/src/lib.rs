//! The host side of `lighter`: a table of contents.

/// A request to the guest's agent.
pub mod agent;
/// Starting at login.
pub mod autostart;
/// The verbs.
pub mod cli;
/// The docker context, in the docker CLI's own files.
pub mod context;
/// What `lighter` and its daemon say to each other.
pub mod control;
/// The process that a machine lives in.
pub mod daemon;
pub mod docker;
/// What is wrong, and what cures it.
pub mod doctor;
/// Published ports.
pub mod forward;
/// Frames on async streams.
pub mod frames;
pub mod guest;
/// Every file name of the host side.
pub mod home;
/// Locks that die with their holder.
pub mod lock;
/// What the daemon needs of the world below it.
pub mod machine;
/// The network between the guest and the world.
pub mod net;
/// Text from the guest, made harmless.
pub mod plain;
/// The real image, engines and machines.
pub mod platform;
/// Files replaced in one step.
pub mod replace;
/// `config.toml` and flags.
pub mod settings;
/// Folders of this computer in containers.
pub mod shares;
/// What differs by operating system.
pub mod sys;
