//! Kernel settings that programs in containers expect, and limits that every process inherits. A setting that this kernel
//! does not have is no reason not to boot. Called by `boot`.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, Rlimit, setrlimit};

/// (path, value); each with whom it is for.
const SETTINGS: [(&str, &str); 16] = [
    // Elasticsearch and others map many files.
    ("/proc/sys/vm/max_map_count", "262144"),
    // File watchers of web tool chains, in many containers at once.
    ("/proc/sys/fs/inotify/max_user_watches", "1048576"),
    ("/proc/sys/fs/inotify/max_user_instances", "8192"),
    ("/proc/sys/fs/file-max", "9223372036854775807"),
    ("/proc/sys/kernel/keys/maxkeys", "20000"),
    ("/proc/sys/kernel/keys/maxbytes", "2000000"),
    // `ping` and ports below 1024 without root, as Docker gives to containers.
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    // A container speaks from addresses of its own network only: the host tells containers apart by them.
    ("/proc/sys/net/ipv4/conf/all/rp_filter", "1"),
    ("/proc/sys/net/ipv4/conf/default/rp_filter", "1"),
    ("/proc/sys/net/core/somaxconn", "4096"),
    // The link brings rows of 64 KiB; room for two of them is not enough for a program that reads slowly, and what is then
    // dropped has to be sent again. Containers begin with what the guest has.
    ("/proc/sys/net/ipv4/tcp_rmem", "4096 1048576 6291456"),
    // Containers share this kernel: its log and addresses are root's.
    ("/proc/sys/kernel/dmesg_restrict", "1"),
    ("/proc/sys/kernel/kptr_restrict", "1"),
    // Making network namespaces and control groups waits for RCU grace periods; these are short.
    ("/sys/kernel/rcu_expedited", "1"),
    // A panic is for the host to see: reset at once.
    ("/proc/sys/kernel/panic", "-1"),
];

/// Descriptors that a process may ask for; Docker's own service file says the same by `infinity`.
const FILES: u64 = 1 << 20;

/// Applies all settings and limits.
pub fn apply() {
    for (path, value) in SETTINGS {
        if let Err(error) = fs::write(Path::new(path), value) {
            tracing::info!(path, %error, "kernel has no such setting");
        }
    }
    let limits = [
        (Resource::Nofile, Rlimit { current: Some(FILES), maximum: Some(FILES) }),
        (Resource::Nproc, Rlimit { current: None, maximum: None }),
        (Resource::Core, Rlimit { current: Some(0), maximum: None }),
        (Resource::Memlock, Rlimit { current: None, maximum: None }),
    ];
    for (resource, limit) in limits {
        if let Err(error) = setrlimit(resource, limit) {
            tracing::warn!(?resource, %error, "limit not set");
        }
    }
}
