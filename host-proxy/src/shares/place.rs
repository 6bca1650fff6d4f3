//! Where a folder of the host is in the guest: at its own path where that is free there, so that what a container's log or
//! `docker inspect` says is true on both sides.

use super::spelling::Spelled;

/// Where shares are that cannot have their own path.
const ELSEWHERE: &str = "/mnt/host";
/// Top-level folders of the guest's own, as `kernel-config/rootfs/layout.list` and the agent make them.
const GUESTS_OWN: [&str; 14] =
    ["bin", "data", "dev", "etc", "lib", "lib64", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var"];

/// The path in the guest for this folder of the host. No two folders have the same one.
pub fn of(folder: &Spelled) -> String {
    if folder.drive().is_some() {
        return on("", folder);
    }
    let own = match folder.names() {
        [] => true,
        [top] => GUESTS_OWN.contains(&top.as_str()) || top == "mnt",
        [top, next, ..] => GUESTS_OWN.contains(&top.as_str()) || top == "mnt" && next == "host",
    };
    on(if own { ELSEWHERE } else { "" }, folder)
}

/// A place that is no folder's own, for one that cannot have it.
pub fn elsewhere(folder: &Spelled) -> String {
    on(ELSEWHERE, folder)
}

fn on(root: &str, folder: &Spelled) -> String {
    let drive = folder.drive().map(|letter| format!("/{letter}")).unwrap_or_default();
    below(&format!("{root}{drive}"), folder.names())
}

/// `names` below the guest's folder `at`.
pub fn below(at: &str, names: &[String]) -> String {
    names.iter().fold(at.to_owned(), |path, name| path + "/" + name)
}

#[cfg(test)]
mod tests {
    use super::super::spelling::HostKind;
    use super::*;

    #[test]
    fn h9_a_folder_has_its_own_path_unless_that_is_the_guests() {
        for (kind, host, guest) in [
            (HostKind::Unix, "/home/me", "/home/me"),
            (HostKind::Unix, "/Users/me", "/Users/me"),
            (HostKind::Unix, "/srv", "/srv"),
            (HostKind::Unix, "/opt/x", "/opt/x"),
            (HostKind::Unix, "/work", "/work"),
            (HostKind::Unix, "/mnt/disk", "/mnt/disk"),
            (HostKind::Unix, "/Volumes/Data", "/Volumes/Data"),
            (HostKind::Unix, "/private/tmp", "/private/tmp"),
            (HostKind::Unix, "/etcetera", "/etcetera"),
            (HostKind::Unix, "/tmp", "/mnt/host/tmp"),
            (HostKind::Unix, "/root/src", "/mnt/host/root/src"),
            (HostKind::Unix, "/data", "/mnt/host/data"),
            (HostKind::Unix, "/var/folders/x", "/mnt/host/var/folders/x"),
            (HostKind::Unix, "/run/media/me/stick", "/mnt/host/run/media/me/stick"),
            // Else they would lie above, or at, those that are elsewhere.
            (HostKind::Unix, "/mnt", "/mnt/host/mnt"),
            (HostKind::Unix, "/mnt/host", "/mnt/host/mnt/host"),
            (HostKind::Unix, "/mnt/host/tmp", "/mnt/host/mnt/host/tmp"),
            (HostKind::Windows, "C:\\Users\\me", "/c/Users/me"),
            (HostKind::Windows, "D:\\", "/d"),
        ] {
            assert_eq!(of(&kind.read(host).unwrap()), guest, "{host}");
        }
    }

    #[test]
    fn the_guests_own_folders_are_those_of_its_root() {
        let list = concat!(env!("CARGO_MANIFEST_DIR"), "/../kernel-config/rootfs/layout.list");
        for line in std::fs::read_to_string(list).unwrap().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let path = match words[..] {
                ["dir", _, path] | ["link", path, _] | ["file", _, path] => path,
                _ => continue,
            };
            let top = path.split('/').next().unwrap();
            // Empty ones that are there for shares, and mount points of nothing else.
            let free = ["home", "mnt", "opt", "srv", "Users"].contains(&top);
            assert_eq!(GUESTS_OWN.contains(&top), !free, "{top}");
        }
    }
}
