//! Can this computer run the guest: hypervisor, QEMU, memory, limits, and what surrounds it?

use super::{command_in, gib};
use crate::doctor::facts::{EngineFacts, Facts};
use crate::doctor::{Check, Found, Group};
use crate::settings::Engine;

const GROUP: Group = Group::Host;

/// Each API connection takes a file, and so does each mount and port.
const LEAST_FILES: u64 = 4096;
/// What file watchers of a middling project need.
const LEAST_WATCHES: u64 = 65_536;
/// What a desktop and some editors need at the same time.
const LEAST_INSTANCES: u64 = 128;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "no-engine", group: GROUP, look: no_engine },
    Check { id: "kvm-missing", group: GROUP, look: kvm_missing },
    Check { id: "kvm-permission", group: GROUP, look: kvm_permission },
    Check { id: "kvm-busy", group: GROUP, look: kvm_busy },
    Check { id: "kvm-unusable", group: GROUP, look: kvm_unusable },
    Check { id: "qemu", group: GROUP, look: qemu },
    Check { id: "memory", group: GROUP, look: memory },
    Check { id: "open-files", group: GROUP, look: open_files },
    Check { id: "inotify", group: GROUP, look: inotify },
    Check { id: "wsl", group: GROUP, look: wsl },
];

fn engine<'a>(facts: &'a Facts, name: &str) -> Option<&'a EngineFacts> {
    facts.host.engines.iter().find(|engine| engine.name == name)
}

/// The engines that the next start may take.
fn wished(facts: &Facts) -> Vec<&EngineFacts> {
    let wish = facts.profile.engine.filter(|engine| *engine != Engine::Auto);
    facts.host.engines.iter().filter(|engine| wish.is_none_or(|wish| wish.name() == engine.name)).collect()
}

fn no_engine(facts: &Facts) -> Option<Found> {
    if let Some(wish) = facts.profile.engine.filter(|wish| *wish != Engine::Auto && wished(facts).is_empty())
        && !facts.host.engines.is_empty()
    {
        let cause = format!("The settings ask for the engine {}, which this system does not have", wish.name());
        return Found::wrong(cause, format!("lighter start --engine auto{}", facts.flag()));
    }
    if wished(facts).iter().any(|engine| engine.name == "software") {
        return None;
    }
    let cure = wished(facts).into_iter().rev().find_map(|engine| engine.unusable.as_ref()).map(|(_, cure)| cure);
    Found::wrong(nothing_works(facts)?, command_in(cure?))
}

/// Why no engine that the next start may take can be used; `None` if one can.
fn nothing_works(facts: &Facts) -> Option<String> {
    let wished = wished(facts);
    let reasons = wished.iter().filter_map(|engine| Some(format!("{}: {}", engine.name, engine.unusable.as_ref()?.0)));
    let reasons: Vec<String> = reasons.collect();
    (!wished.is_empty() && reasons.len() == wished.len())
        .then(|| format!("Nothing can run the guest here. {}", reasons.join(". ")))
}

/// Why KVM cannot be used, if the next start would want it.
fn kvm(facts: &Facts) -> Option<&(String, String)> {
    if facts.profile.engine == Some(Engine::Software) {
        return None;
    }
    engine(facts, "kvm")?.unusable.as_ref()
}

fn slow(facts: &Facts, cause: String, cure: &str) -> Option<Found> {
    let slow = if nothing_works(facts).is_some() { "" } else { ", so the slow software engine is used" };
    Found::of(facts.profile.engine == Some(Engine::Kvm), format!("{cause}{slow}"), cure)
}

fn kvm_missing(facts: &Facts) -> Option<Found> {
    let (reason, cure) = kvm(facts)?;
    // Where nothing works, that has been said with the reason.
    let told = nothing_works(facts).is_some() || !reason.contains("does not exist");
    if told { None } else { slow(facts, reason.clone(), cure) }
}

fn kvm_permission(facts: &Facts) -> Option<Found> {
    let (reason, cure) = kvm(facts)?;
    if !reason.contains("may not be opened") || facts.profile.engine == Some(Engine::Kvm) {
        return None;
    }
    slow(facts, reason.clone(), &format!("{} (and log in again)", command_in(cure)))
}

/// Another hypervisor has the processor's virtualisation: only one can.
fn holder(facts: &Facts) -> Option<&str> {
    let held = kvm(facts)
        .is_some_and(|(reason, _)| reason.contains("KVM_CREATE_VM") || reason.to_lowercase().contains("busy"));
    let module = facts.host.other_hypervisors.first().filter(|_| held)?;
    Some(module)
}

fn kvm_busy(facts: &Facts) -> Option<Found> {
    let module = holder(facts)?;
    let name = if module.starts_with("vbox") { "VirtualBox" } else { "VMware" };
    let cause = format!("{name} has the processor's virtualisation (module {module}): close its machines first");
    slow(facts, cause, &format!("sudo modprobe -r {module}"))
}

fn kvm_unusable(facts: &Facts) -> Option<Found> {
    let (reason, cure) = kvm(facts)?;
    let known = reason.contains("does not exist") || reason.contains("may not be opened") || holder(facts).is_some();
    let told = known || nothing_works(facts).is_some();
    if told { None } else { slow(facts, reason.replace('\n', " "), &command_in(cure)) }
}

fn qemu(facts: &Facts) -> Option<Found> {
    // Nobody misses it where there is a hypervisor.
    let (_, cure) = wished(facts).into_iter().find(|engine| engine.name == "software")?.unusable.as_ref()?;
    Found::wrong(nothing_works(facts)?, command_in(cure))
}

fn memory(facts: &Facts) -> Option<Found> {
    let (wanted, (_, available)) = (facts.profile.memory_bytes?, facts.host.memory?);
    // A machine that runs has what it needs already.
    (!facts.machine.runs() && wanted > available).then_some(())?;
    let halves = (available / (1 << 29)).saturating_sub(1).max(1);
    let cause = format!("The machine may use {}, and only {} are free", gib(wanted), gib(available));
    Found::hint(cause, format!("lighter start{} -m {}", facts.flag(), halves as f64 / 2.0))
}

fn open_files(facts: &Facts) -> Option<Found> {
    let most = facts.host.open_files.filter(|most| *most < LEAST_FILES)?;
    let cause = format!("Only {most} open files are allowed, and each Docker client takes one");
    Found::hint(cause, "echo '* hard nofile 65536' | sudo tee /etc/security/limits.d/lighter.conf")
}

fn inotify(facts: &Facts) -> Option<Found> {
    let (watches, instances) = facts.host.inotify?;
    (watches < LEAST_WATCHES / 8 || instances < LEAST_INSTANCES).then_some(())?;
    let cause = format!("File watchers may fail here: {watches} inotify watches, {instances} instances");
    let cure = format!(
        "sudo sysctl fs.inotify.max_user_watches={LEAST_WATCHES} fs.inotify.max_user_instances={}",
        LEAST_INSTANCES * 4
    );
    Found::hint(cause, cure)
}

fn wsl(facts: &Facts) -> Option<Found> {
    facts.host.wsl.then_some(())?;
    let cause = "This is WSL: KVM needs `nestedVirtualization=true` in %UserProfile%\\.wslconfig, and Docker Desktop may have put its socket here";
    Found::hint(cause, "wsl.exe --shutdown (after a change of .wslconfig)")
}

#[cfg(test)]
pub(in crate::doctor) mod tests {
    use crate::doctor::facts::Facts;
    use crate::doctor::samples::{finds, status};
    use crate::settings::Engine;

    fn unusable(facts: &mut Facts, engine: usize, reason: &str, cure: &str) {
        facts.host.engines[engine].unusable = Some((reason.to_owned(), cure.to_owned()));
    }

    finds! {
        c8_nothing_that_could_run_the_guest: "no-engine", Wrong, |f: &mut Facts| {
            f.profile.engine = Some(Engine::Kvm);
            unusable(f, 0, "/dev/kvm may not be opened by this user", "add yourself (`sudo usermod -aG kvm $USER`)");
        }, ["kvm: /dev/kvm may not be opened", "| sudo usermod -aG kvm $USER"];
        c8_no_kvm: "kvm-missing", Hint,
            |f: &mut Facts| unusable(f, 0, "/dev/kvm does not exist", "switch on virtualisation"), ["slow software engine", "switch on"];
        c8_kvm_without_permission: "kvm-permission", Hint,
            |f: &mut Facts| unusable(f, 0, "/dev/kvm may not be opened by this user", "add yourself (`sudo usermod -aG kvm $USER`) and"), ["slow software engine is used | sudo usermod -aG kvm $USER (and log in again)"];
        c8_kvm_held_by_another_hypervisor: "kvm-busy", Hint, |f: &mut Facts| {
            unusable(f, 0, "/dev/kvm does not run a small test guest: KVM_CREATE_VM failed (busy)", "see `dmesg`");
            f.host.other_hypervisors = vec!["vboxdrv".to_owned()];
        }, ["VirtualBox", "modprobe -r vboxdrv"];
        c8_kvm_that_interprets: "kvm-unusable", Hint,
            |f: &mut Facts| unusable(f, 0, "/dev/kvm cannot run an ordinary kernel here", "use another machine"), ["ordinary kernel", "use another machine"];
        c8_no_qemu_where_it_is_needed: "qemu", Wrong, |f: &mut Facts| {
            unusable(f, 0, "/dev/kvm does not exist", "switch it on");
            unusable(f, 1, "qemu-system-x86_64 is not in PATH", "install it: apt install qemu-system-x86");
        }, ["kvm: /dev/kvm does not exist. software: qemu", "| sudo apt install qemu-system-x86"];
        c2_more_memory_than_is_free: "memory", Hint, |f: &mut Facts| {
            status(f).state = crate::control::Phase::Stopped;
            f.host.memory = Some((4 << 30, 3 << 29));
        }, ["2.0 GiB", "1.5 GiB", "lighter start -m 1"];
        c8_too_few_open_files: "open-files", Hint,
            |f: &mut Facts| f.host.open_files = Some(256), ["256", "nofile"];
        c8_too_few_file_watches: "inotify", Hint,
            |f: &mut Facts| f.host.inotify = Some((4096, 16)), ["4096 inotify watches", "sysctl"];
        linux_inside_windows: "wsl", Hint,
            |f: &mut Facts| f.host.wsl = true, ["nestedVirtualization", "wsl.exe"];
    }

    #[test]
    fn c8_where_nothing_works_that_is_said_once() {
        let mut facts = Facts::healthy();
        unusable(&mut facts, 1, "qemu is not in PATH", "install it");
        assert_eq!(crate::doctor::examine(&facts), [], "nobody misses it beside a hypervisor");
        for reason in ["/dev/kvm does not exist", "/dev/kvm cannot run an ordinary kernel here"] {
            unusable(&mut facts, 0, reason, "use another machine");
            let findings = crate::doctor::examine(&facts);
            assert_eq!(findings.iter().map(|finding| finding.id).collect::<Vec<_>>(), ["qemu"]);
            facts.profile.engine = Some(Engine::Kvm);
            let findings = crate::doctor::examine(&facts);
            assert_eq!(findings.iter().map(|finding| finding.id).collect::<Vec<_>>(), ["no-engine"]);
            facts.profile.engine = None;
        }
        // There are two ways out.
        unusable(&mut facts, 0, "/dev/kvm may not be opened by this user", "add yourself (`x`)");
        let findings = crate::doctor::examine(&facts);
        assert_eq!(findings.iter().map(|finding| finding.id).collect::<Vec<_>>(), ["kvm-permission", "qemu"]);
        assert!(!findings[0].cause.contains("slow"));
        facts.profile.engine = Some(Engine::Hvf);
        assert!(super::no_engine(&facts).unwrap().cure.contains("--engine auto"));
        facts.profile.engine = Some(Engine::Software);
        assert_eq!(super::kvm_permission(&facts), None, "nobody asked for it");
    }
}
