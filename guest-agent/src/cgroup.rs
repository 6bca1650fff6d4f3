//! The cgroup v2 tree: every controller for containers, PID 1 and the engine in a group of their own, because a group that
//! gives controllers to children may hold no processes. Called by `boot`.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

const ROOT: &str = "/sys/fs/cgroup";

/// The tree could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("Control groups could not be set up ({doing})")]
pub struct CgroupError {
    doing: &'static str,
    source: io::Error,
}

/// Mounts the tree and moves this process into `/init.scope`, a name by which dockerd knows that it runs on a host
/// of its own and not in a container.
pub fn start() -> Result<(), CgroupError> {
    let error = |doing| move |source| CgroupError { doing, source };
    mount_tree().map_err(|errno| error("mounting")(errno.into()))?;
    let own = Path::new(ROOT).join("init.scope");
    fs::create_dir_all(&own).map_err(error("making the group of PID 1"))?;
    fs::write(own.join("cgroup.procs"), "0").map_err(error("moving PID 1"))?;
    let available = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).map_err(error("listing"))?;
    fs::write(Path::new(ROOT).join("cgroup.subtree_control"), all(&available)).map_err(error("enabling controllers"))
}

fn mount_tree() -> Result<(), Errno> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // `favordynmods`: moving a process into a new container's group does not wait for an RCU grace period.
    const WISHES: [&CStr; 2] = [c"nsdelegate,memory_recursiveprot,favordynmods", c"nsdelegate"];
    let mut result = Err(Errno::INVAL);
    for options in WISHES {
        result = mount("cgroup2", ROOT, "cgroup2", flags, options);
        if result != Err(Errno::INVAL) {
            break;
        }
    }
    result
}

/// What enables all controllers: `cpu memory` becomes `+cpu +memory`.
fn all(available: &str) -> String {
    available.split_whitespace().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_controller_is_enabled_in_one_write() {
        assert_eq!(super::all("cpuset cpu io\n"), "+cpuset +cpu +io");
        assert_eq!(super::all("\n"), "");
    }
}
