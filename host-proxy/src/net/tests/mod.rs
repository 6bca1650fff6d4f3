//! The whole stack against a guest in memory: a TCP/IP stack of its own on the guest's end of the link, or frames made by hand.
//! What plays the world are servers on this host's loopback, reached through the alias of the host; `stays` sees to it that
//! nothing goes further.

mod allowlist;
mod fair;
pub(crate) mod guest;
mod hostile;
mod idle;
mod raw;
mod stays;
mod tcp;
mod udp;
