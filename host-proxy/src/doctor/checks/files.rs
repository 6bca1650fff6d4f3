//! Can the profile's directories be used, do its settings say something, is there room for the data disk, is the image whole?

use super::{command_in, gib, short};
use crate::doctor::facts::Facts;
use crate::doctor::{Check, Found, Group};

const GROUP: Group = Group::Files;

/// File systems of another computer: locks and caches cannot be relied on there.
const REMOTE: [&str; 14] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "v9fs",
    "drvfs",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "fuse.sshfs",
    "fuse.s3fs",
];
/// File systems without sparse files.
const DENSE: [&str; 5] = ["vfat", "msdos", "exfat", "hfs", "hfsplus"];

/// Below this the guest's writes may soon fail; the daemon itself refuses to start below 256 MiB.
const LEAST_FREE: u64 = 1 << 30;
/// Below this a data disk that may grow by more is worth a word.
const SCARCE: u64 = 16 << 30;
/// A guest's file system with less free than one part in so many is nearly full.
const NEARLY_FULL: u64 = 20;
/// So much that could be given back to the host is worth a line.
const WORTH_TRIMMING: u64 = 5 << 30;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "home-unusable", group: GROUP, look: home_unusable },
    Check { id: "home-remote", group: GROUP, look: home_remote },
    Check { id: "home-not-sparse", group: GROUP, look: home_dense },
    Check { id: "home-in-memory", group: GROUP, look: home_in_memory },
    Check { id: "socket-path-long", group: GROUP, look: socket_path_long },
    Check { id: "settings", group: GROUP, look: settings },
    Check { id: "host-disk-full", group: GROUP, look: host_disk_full },
    Check { id: "data-disk-may-outgrow", group: GROUP, look: may_outgrow },
    Check { id: "guest-disk-full", group: GROUP, look: guest_disk_full },
    Check { id: "disk-reclaimable", group: GROUP, look: reclaimable },
    Check { id: "image", group: GROUP, look: image },
    Check { id: "image-old", group: GROUP, look: image_old },
];

fn home_unusable(facts: &Facts) -> Option<Found> {
    let error = facts.profile.unusable.as_deref()?;
    let (cause, cure) = split(error);
    Found::wrong(cause, command_in(cure.unwrap_or("set LIGHTER_HOME to a directory of yours")))
}

/// Cause and cure of an error that says both with a colon between; a cause that the system added comes last.
fn split(error: &str) -> (String, Option<&str>) {
    match error.split_once(": ") {
        Some((cause, rest)) => match rest.rsplit_once(": ") {
            Some((cure, source)) => (format!("{cause} ({source})"), Some(cure)),
            None => (cause.to_owned(), Some(rest)),
        },
        None => (error.to_owned(), None),
    }
}

fn home_remote(facts: &Facts) -> Option<Found> {
    let kind = facts.profile.file_system.as_deref().filter(|kind| REMOTE.contains(kind))?;
    let cause = format!("{} is on another computer ({kind}), where locks and data are not safe", short(facts.home()));
    Found::wrong(cause, "export LIGHTER_HOME=<a directory on a local disk>")
}

fn home_dense(facts: &Facts) -> Option<Found> {
    let kind = facts.profile.file_system.as_deref().filter(|kind| DENSE.contains(kind))?;
    let cause = format!("{} is on {kind}, where the data disk takes its whole size at once", short(facts.home()));
    Found::wrong(cause, "export LIGHTER_HOME=<a directory on another disk>")
}

fn home_in_memory(facts: &Facts) -> Option<Found> {
    facts.profile.file_system.as_deref().filter(|kind| ["tmpfs", "ramfs"].contains(kind))?;
    let cause = format!("{} is in memory: containers and images are gone after a reboot", short(facts.home()));
    Found::hint(cause, "export LIGHTER_HOME=<a directory on a disk>")
}

fn socket_path_long(facts: &Facts) -> Option<Found> {
    facts.profile.short.then_some(())?;
    let cause = format!(
        "{} is too long for a socket, so it is at {}, where a clean-up of /tmp may remove it",
        short(&facts.profile.dir),
        facts.profile.docker_host
    );
    Found::hint(cause, "export LIGHTER_HOME=<a shorter path>")
}

fn settings(facts: &Facts) -> Option<Found> {
    let error = facts.profile.settings_error.as_deref()?.replace('\n', " ");
    Found::wrong(error, format!("${{EDITOR:-vi}} {}", short(&facts.profile.dir.join("config.toml"))))
}

fn host_disk_full(facts: &Facts) -> Option<Found> {
    let free = facts.disk.free.filter(|free| *free < LEAST_FREE)?;
    let cause = format!("Only {} are free where {} is", gib(free), short(&facts.disk.path));
    Found::wrong(cause, format!("docker system prune && lighter disk trim{}", facts.flag()))
}

fn may_outgrow(facts: &Facts) -> Option<Found> {
    let (limit, allocated, free) = (facts.disk.limit?, facts.disk.allocated?, facts.disk.free?);
    let growth = limit.saturating_sub(allocated);
    // A file system that has this much left is no news, although the default limit is larger than that.
    (growth > free && (LEAST_FREE..SCARCE).contains(&free)).then_some(())?;
    let cause =
        format!("{} may still grow by {}, and only {} are free there", short(&facts.disk.path), gib(growth), gib(free));
    Found::hint(cause, format!("docker system prune && lighter disk trim{}", facts.flag()))
}

fn guest_disk_full(facts: &Facts) -> Option<Found> {
    let (size, used) = facts.disk.guest.filter(|(size, _)| *size > 0)?;
    (size.saturating_sub(used) < size / NEARLY_FULL).then_some(())?;
    let cause = format!("The data disk is nearly full: {} of {}", gib(used), gib(size));
    Found::wrong(cause, format!("docker system prune, or `lighter restart{} -d <more GiB>`", facts.flag()))
}

fn reclaimable(facts: &Facts) -> Option<Found> {
    let bytes = facts.disk.reclaimable().filter(|bytes| *bytes >= WORTH_TRIMMING)?;
    let cause = format!("{} takes {} that the guest does not use any more", short(&facts.disk.path), gib(bytes));
    Found::hint(cause, format!("lighter disk trim{}", facts.flag()))
}

fn image(facts: &Facts) -> Option<Found> {
    let error = facts.host.image.as_ref()?.as_ref().err()?.replace('\n', " ");
    // The last sentence is the cure, if it names a command; else it is one that the system's own words follow.
    let both = error.rsplit_once(". ").filter(|(_, cure)| cure.contains('`'));
    let (cause, cure) = both.unwrap_or((error.as_str(), lighter_image::CURE));
    Found::wrong(cause, uncapitalised(cure))
}

fn image_old(facts: &Facts) -> Option<Found> {
    let agent = facts.host.image.as_ref()?.as_ref().ok()?.get("agent")?;
    let ours = env!("CARGO_PKG_VERSION");
    (agent != ours).then_some(())?;
    Found::hint(
        format!("The guest image was built for lighter {agent}, this program is {ours}"),
        uncapitalised(lighter_image::CURE),
    )
}

/// A sentence as the part of a line.
fn uncapitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
pub(in crate::doctor) mod tests {
    use crate::doctor::facts::Facts;
    use crate::doctor::samples::finds;

    finds! {
        c6_a_home_that_others_may_write_to: "home-unusable", Wrong,
            |f: &mut Facts| f.profile.unusable = Some("Others may write to /h (mode 777): run `chmod go-w /h`".to_owned()), ["Others may write", "| chmod go-w /h"];
        c6_a_home_on_another_computer: "home-remote", Wrong,
            |f: &mut Facts| f.profile.file_system = Some("nfs4".to_owned()), ["nfs4", "LIGHTER_HOME"];
        c6_a_home_without_sparse_files: "home-not-sparse", Wrong,
            |f: &mut Facts| f.profile.file_system = Some("exfat".to_owned()), ["exfat", "LIGHTER_HOME"];
        c6_a_home_in_memory: "home-in-memory", Hint,
            |f: &mut Facts| f.profile.file_system = Some("tmpfs".to_owned()), ["after a reboot", "LIGHTER_HOME"];
        c7_a_path_too_long_for_a_socket: "socket-path-long", Hint,
            |f: &mut Facts| f.profile.short = true, ["too long", "LIGHTER_HOME"];
        c1_settings_that_cannot_be_read: "settings", Wrong,
            |f: &mut Facts| f.profile.settings_error = Some("config.toml has an unknown key `cpu`: did you mean `cpus`?".to_owned()), ["did you mean", "config.toml"];
        x5_a_host_disk_that_is_full: "host-disk-full", Wrong,
            |f: &mut Facts| f.disk.free = Some(300 << 20), ["0.3 GiB", "prune", "lighter disk trim"];
        x5_a_data_disk_that_may_outgrow_its_host: "data-disk-may-outgrow", Hint,
            |f: &mut Facts| f.disk.free = Some(10 << 30), ["57.0 GiB", "10.0 GiB", "lighter disk trim"];
        x4_a_guest_disk_that_is_full: "guest-disk-full", Wrong,
            |f: &mut Facts| f.disk.guest = Some((59 << 30, 58 << 30)), ["nearly full", "docker system prune"];
        space_that_could_be_given_back: "disk-reclaimable", Hint,
            |f: &mut Facts| f.disk.allocated = Some(20 << 30), ["18.0 GiB", "lighter disk trim"];
        c3_an_image_that_is_missing: "image", Wrong,
            |f: &mut Facts| f.host.image = Some(Err(format!("There is no guest image in the cache /c. {}", lighter_image::CURE))), ["in the cache /c |", "install lighter again", "cargo xtask image"];
        c3_an_image_that_cannot_be_read: "image", Wrong,
            |f: &mut Facts| f.host.image = Some(Err("The guest image's /i cannot be read. Check its owner: denied".to_owned())), ["Check its owner: denied |", "cargo xtask image"];
        c10_an_image_of_another_version: "image-old", Hint,
            |f: &mut Facts| drop(f.host.image.as_mut().unwrap().as_mut().unwrap().insert("agent".to_owned(), "0.0.9".to_owned())), ["0.0.9", "install lighter again", "cargo xtask image"];
    }

    #[test]
    fn an_errors_cause_cure_and_source_are_told_apart() {
        let text = "Cannot use /x: set LIGHTER_HOME to a directory that you can write to: Permission denied";
        let (cause, cure) = super::split(text);
        assert_eq!(cause, "Cannot use /x (Permission denied)");
        assert_eq!(cure, Some("set LIGHTER_HOME to a directory that you can write to"));
        assert_eq!(super::split("odd"), ("odd".to_owned(), None));
    }
}
