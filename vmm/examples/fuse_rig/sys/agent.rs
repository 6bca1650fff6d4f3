//! The guest's agent, played by a thread of the rig: the mount is the guest, and what is done there is the agent's own code.

use std::error::Error;
use std::sync::{Arc, Weak};

use lighter_vmm::virtio::fs::events::Happenings;
use lighter_vmm::virtio::fs::{NativeFs, Server};
use rustix::fs::{Mode, OFlags};

/// Repeats what happens for as long as there is a server.
pub fn play(server: &Arc<Server<NativeFs>>, mountpoint: &str) -> Result<(), Box<dyn Error>> {
    let happenings = server.watch()?.ok_or("this host reports no changes")?;
    let (server, mountpoint) = (Arc::downgrade(server), mountpoint.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    // Not waited for: the mount may be gone before anything else happens.
    std::thread::spawn(move || runtime.block_on(repeat(&server, happenings, &mountpoint)));
    Ok(())
}

async fn repeat(server: &Weak<Server<NativeFs>>, mut happenings: Happenings, mountpoint: &str) {
    let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    server.upgrade().inspect(|server| server.herald(thread));
    while let Some((happening, _waits)) = happenings.next().await {
        let Some(server) = server.upgrade() else { return };
        let Some(raise) = server.arm(&happening) else { continue };
        // Not kept, so that the mount can be taken away.
        let root = rustix::fs::open(mountpoint, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let done = root.and_then(|root| lighter_agent::echo::repeat(&root, &raise));
        server.disarm();
        match done {
            Ok(()) => println!("told {raise:?}"),
            Err(error) => println!("not told: {error}: {raise:?}"),
        }
    }
}
