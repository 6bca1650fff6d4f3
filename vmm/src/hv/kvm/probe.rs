//! Whether `/dev/kvm` can run an ordinary guest: runs a loop of two million instructions in 64-bit mode and looks at the
//! speed. Some cloud machines have a KVM that only takes kernels made for it and interprets everything else, a hundred
//! times too slowly to boot Linux; no flag tells that apart, so it is measured. A few milliseconds on real hardware.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use kvm_ioctls::{VcpuExit, VcpuFd};
use rustix::time::{ClockId, clock_gettime};
use vm_memory::{Bytes, GuestAddress};

use super::registers;
use super::seats::Seats;
use super::system::{Kvm, unusable};
use super::vm::{failed, map};
use crate::arch::registers::long_mode;
use crate::hv::{HvError, Unusable};
use crate::memory;

/// Where the stub lies: above the tables of [`long_mode`].
const STUB: u64 = 0x2_0000;
const STUB_RAM: u64 = 1 << 20;
/// Turns of the loop, two instructions each.
const TURNS: u32 = 1_000_000;
/// Turns per second of CPU time that a KVM must make where the CPU says nothing of virtualisation, or kvm_pvm serves it: an
/// interpreter makes about one million, hardware hundreds of millions.
const MIN_TURNS_WITHOUT_FLAG: f64 = 5e6;
/// The same where the CPU has virtualisation. Low, because the host may itself be a guest on an overloaded machine.
const MIN_TURNS_WITH_FLAG: f64 = 2e5;
/// How long the stub may take; after that its speed is judged by how far it came.
const WINDOW: Duration = Duration::from_millis(300);
/// How much longer it may take to come back from the guest after that; only an overloaded host needs any of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far the stub came.
#[derive(Debug, Clone, Copy)]
struct Run {
    turns: u32,
    cpu_seconds: f64,
    halted: bool,
}

/// Says whether this KVM can run an ordinary guest.
pub fn probe() -> Result<(), Unusable> {
    let kvm = Kvm::open()?;
    let run = measure(kvm).map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        unusable(
            format!("/dev/kvm does not run a small test guest: {error} ({source})"),
            "see `dmesg` for what KVM says",
        )
    })?;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    judge(run, has_virtualisation(&cpu), std::path::Path::new("/sys/module/kvm_pvm").exists())
}

/// Whether `/proc/cpuinfo` lists Intel's or AMD's virtualisation among the first CPU's flags.
fn has_virtualisation(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

fn judge(run: Run, flag: bool, pvm: bool) -> Result<(), Unusable> {
    let rate = f64::from(run.turns) / run.cpu_seconds.max(1e-6);
    tracing::debug!(?run, rate, flag, "probed /dev/kvm");
    let least = if flag && !pvm { MIN_TURNS_WITH_FLAG } else { MIN_TURNS_WITHOUT_FLAG };
    if run.halted || rate >= least {
        return Ok(());
    }
    let served = if pvm { "is served by the module kvm_pvm and " } else { "" };
    Err(unusable(
        format!(
            "/dev/kvm {served}cannot run an ordinary kernel here (it interprets, at {:.1} million instructions per second)",
            rate * 2.0 / 1e6
        ),
        "use a machine with hardware virtualisation, or switch on nested virtualisation for this VM",
    ))
}

fn measure(kvm: Kvm) -> Result<Run, HvError> {
    let seats = Arc::new(Seats::new(1));
    let (done, wait) = mpsc::channel();
    let for_thread = Arc::clone(&seats);
    std::thread::Builder::new()
        .name("kvm-probe".into())
        // If nobody waits any more, nobody wants the answer.
        .spawn(move || done.send(run_stub(&kvm, &for_thread)).unwrap_or_default())
        .map_err(|source| HvError { call: "Starting a thread", source })?;
    let mut result = wait.recv_timeout(WINDOW);
    if matches!(result, Err(RecvTimeoutError::Timeout)) {
        seats.kick(0);
        result = wait.recv_timeout(PATIENCE);
    }
    result.unwrap_or_else(|_| Err(HvError { call: "KVM_RUN", source: std::io::ErrorKind::TimedOut.into() }))
}

fn run_stub(kvm: &Kvm, seats: &Seats) -> Result<Run, HvError> {
    let unprepared = |what: &'static str| HvError { call: what, source: std::io::ErrorKind::OutOfMemory.into() };
    // Before the machine, so that it goes after it.
    let memory = memory::anonymous(&[(0, STUB_RAM)]).map_err(|_| unprepared("Mapping the stub's memory"))?;
    let vm = kvm.fd().create_vm().map_err(failed("KVM_CREATE_VM"))?;
    map(&vm, &memory)?;
    let boot = long_mode(&memory, STUB).map_err(|_| unprepared("Writing the stub's tables"))?;
    // mov ecx, TURNS; 1: dec ecx; jnz 1b; hlt
    let [a, b, c, d] = TURNS.to_le_bytes();
    let stub = [0xb9, a, b, c, d, 0xff, 0xc9, 0x75, 0xfc, 0xf4];
    memory.write_slice(&stub, GuestAddress(STUB)).map_err(|_| unprepared("Writing the stub"))?;
    let mut vcpu = vm.create_vcpu(0).map_err(failed("KVM_CREATE_VCPU"))?;
    // Without a table that has long mode, Linux 6.12 and later refuse its registers.
    let table = kvm.fd().get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(failed("KVM_GET_SUPPORTED_CPUID"))?;
    vcpu.set_cpuid2(&table).map_err(failed("KVM_SET_CPUID2"))?;
    registers::set_boot_state(&vcpu, &boot)?;
    let immediate_exit = &raw mut vcpu.get_kvm_run().immediate_exit;
    // SAFETY: `vcpu` outlives the seat, which is given up below on the same thread.
    unsafe { seats.occupy(0, immediate_exit) };
    let run = time(&mut vcpu);
    seats.vacate(0);
    run
}

/// Runs until the stub halts or is kicked.
fn time(vcpu: &mut VcpuFd) -> Result<Run, HvError> {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let start = now();
    let halted = match vcpu.run() {
        Ok(VcpuExit::Hlt) => true,
        Err(error) if error.errno() == libc::EINTR => false,
        Err(error) => return Err(failed("KVM_RUN")(error)),
        Ok(exit) => {
            let source = std::io::Error::other(format!("unexpected exit {exit:?}"));
            return Err(HvError { call: "KVM_RUN", source });
        }
    };
    let cpu_seconds = now() - start;
    let left = vcpu.get_regs().map_err(failed("KVM_GET_REGS"))?.rcx;
    Ok(Run { turns: TURNS.saturating_sub(left as u32), cpu_seconds, halted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c8_a_kvm_that_interprets_is_refused_in_one_line() {
        let crawling = Run { turns: 150_000, cpu_seconds: 0.3, halted: false };
        let text = judge(crawling, false, true).expect_err("1 M instructions per second").to_string();
        assert!(text.contains("kvm_pvm") && text.contains("1.0 million") && !text.contains('\n'), "{text}");
        assert!(judge(crawling, true, true).is_err());
        assert!(!judge(crawling, false, false).expect_err("still too slow").to_string().contains("kvm_pvm"));
    }

    #[test]
    fn c8_a_busy_host_does_not_make_a_good_kvm_look_bad() {
        let starved = Run { turns: 200_000, cpu_seconds: 0.02, halted: false };
        assert_eq!(judge(starved, false, false), Ok(()));
        let emulated_and_starved = Run { turns: 150_000, cpu_seconds: 0.3, halted: false };
        assert_eq!(judge(emulated_and_starved, true, false), Ok(()));
        assert_eq!(judge(Run { turns: TURNS, cpu_seconds: 9.0, halted: true }, false, false), Ok(()));
    }

    #[test]
    fn the_flags_of_both_makers_are_known_and_others_are_not_taken_for_them() {
        assert!(has_virtualisation("vendor_id: x\nflags\t\t: fpu svm lm\n"));
        assert!(has_virtualisation("flags\t\t: fpu vmx\nflags\t\t: fpu\n"));
        assert!(!has_virtualisation("flags\t\t: fpu svm_lock lm\nvmx flags\t: vnmi\nmodel name: svm\n"));
        assert!(!has_virtualisation(""));
    }

    #[test]
    fn c8_the_probe_of_this_host_answers_and_a_refusal_has_a_cure() {
        match probe() {
            Ok(()) => {}
            Err(unusable) => {
                assert!(!unusable.reason.is_empty() && !unusable.cure.is_empty());
                eprintln!("no usable KVM here: {unusable}");
            }
        }
    }
}
