//! This computer: what can run the guest, memory, limits, and the guest image.

use std::path::Path;

use lighter_vmm::{EngineKind, hv};

use crate::daemon::fault::chain;
use crate::doctor::facts::{EngineFacts, HostFacts};
use crate::machine::Platform;
use crate::sys::{files, host as system};

/// Modules of hypervisors that keep KVM out.
const OTHERS: [&str; 2] = ["vboxdrv", "vmmon"];

/// See the head of this file.
pub fn host(platform: &dyn Platform) -> HostFacts {
    let modules = system::kernel_modules();
    // Hashing the image takes as long as the probes.
    let (engines, image) = std::thread::scope(|scope| {
        let probing = scope.spawn(engines);
        let image = platform.image();
        (probing.join().unwrap_or_default(), image)
    });
    HostFacts {
        os: std::env::consts::OS.to_owned(),
        engines,
        other_hypervisors: OTHERS.iter().filter(|name| modules.contains(**name)).map(|&name| name.to_owned()).collect(),
        memory: files::memory(),
        open_files: system::open_files().1,
        inotify: system::inotify(),
        wsl: system::is_wsl(),
        image_folder: image.as_ref().ok().and_then(|image| image.kernel.parent()).map(Path::to_owned),
        image: Some(image.map(|image| image.versions).map_err(|error| chain(&*error))),
    }
}

/// Every engine that this system could have, best first. An engine of another system is no news.
fn engines() -> Vec<EngineFacts> {
    let kinds: &[EngineKind] = match std::env::consts::OS {
        "linux" => &[EngineKind::Kvm, EngineKind::Software],
        "windows" => &[EngineKind::Whp],
        "macos" => &[EngineKind::Hvf],
        _ => &[],
    };
    let probed = kinds.iter().map(|&kind| EngineFacts {
        name: kind.name().to_owned(),
        unusable: hv::probe(kind).err().map(|unusable| (unusable.reason, unusable.cure)),
    });
    probed.collect()
}
