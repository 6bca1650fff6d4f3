//! What measures the user-mode network without a guest: the product's own stack behind the product's own link, with a TAP
//! device in another network namespace in the place of the guest's interface. `cargo xtask bench net` builds and runs it.
//!
//! ```text
//! net_rig NAMESPACE DEVICE      the TAP device is made in the namespace, the stack's sockets stay where this runs
//! ```
//! It says in a line of JSON what a guest's agent would be told, and runs until it is killed.

mod front;
mod sys;

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use lighter::net::{HostAccess, NameFiles, Network, Policy};
use lighter_vmm::virtio::net::ends;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [namespace, device] = words.as_slice() else { return Err("net_rig NAMESPACE DEVICE".into()) };
    let tap = tap(namespace, device)?;
    lighter::sys::process::raise_file_limit();
    // As the daemon's.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (guest, host) = ends();
        let names = NameFiles { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into() };
        let network = Network::behind(host, Policy { host_access: HostAccess::All }, names);
        // On a worker thread, as the device's service is: this one is the runtime's guest only.
        let front = tokio::spawn(front::serve(tap, guest));
        println!("{}", serde_json::to_string(&network.welcome())?);
        front.await??;
        Ok(())
    })
}

/// A device is made in the namespace of the thread that asks for it.
fn tap(namespace: &str, device: &str) -> Result<OwnedFd, Failure> {
    let (namespace, device) = (File::open(namespace)?, device.to_owned());
    let made = thread::spawn(move || -> io::Result<OwnedFd> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        sys::tap::open(&device)
    });
    Ok(made.join().map_err(|_| "the thread that makes the device panicked")??)
}
