//! Machines on which the docker cases run against a real guest: `software` on this host, `kvm` inside an emulated machine
//! with a real `/dev/kvm`.

pub mod kvm;
pub mod outer;
pub mod software;
pub mod tools;
