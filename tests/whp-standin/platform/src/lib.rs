//! A stand-in for `winhvplatform.dll`: the Windows Hypervisor Platform's functions over Linux's `/dev/kvm`, for tests of
//! lighter's Windows engine under Wine. The DLL makes Linux system calls itself; nothing of it works on a Windows.
//!
//! It shows that our Windows code works with an implementation of the public contract as we read it (each file names the
//! pages). It does not show that the Windows Hypervisor Platform is as we think. Where it differs from Windows for certain:
//!
//! - CPUID never exits: functions on the exit list get their default result, in which a local APIC is an x2APIC only in that
//!   mode (`cpuid`).
//! - INIT and SIPI are carried out by KVM and told afterwards, as exits of processor 0 whoever sent them; an application
//!   processor that was told is then held until `StartupSuspend` is cleared (`startup`). Without the trap, a thread that
//!   runs an application processor waits until the guest starts it.
//! - An instruction that accesses a device is decoded by KVM. A backend's own decoder sees bytes and registers as before the
//!   instruction for loads, plain stores, IN and OUT; for other stores there are no bytes, RIP is behind the instruction, and
//!   only the emulator can go on (`access`, `exit`). Loads to vector registers cannot be taken back.
//! - `Gva` is never valid, and memory exits have no instruction length.
//! - Of the MSR exit bitmap only `UnhandledMsrs` works. The processor features banks are taken and change nothing.
//! - Register calls for a processor that another thread runs fail; Windows may let them wait (`vp`).
//! - A processor's index cannot be used again after its deletion; changing mappings under a running processor is not atomic.
//! - The end of level-triggered interrupts is told for the last 24 different ones (`interrupt`).
//! - Notification ports, triggers, XSAVE and APIC state as wholes, dirty page tracking, VPCI and the rest are not there.
//!
//! What the environment can ask for, error paths above all, is in `script`.
#![cfg(all(windows, target_arch = "x86_64"))]

mod access;
mod capability;
mod cpuid;
mod decode;
mod emulator;
mod exit;
mod exports;
mod interrupt;
mod kvm;
mod linux;
mod memory;
mod partition;
mod properties;
mod registers;
mod result;
mod run;
mod script;
mod segment;
mod startup;
mod translate;
mod vp;
