//! Proves the stand-in: a small VMM that finds the Windows Hypervisor Platform at run time and uses it as lighter does, with
//! stubs of machine code as guests. `whp-proof SCENE...` runs scenes by name, without a name all that need no script; what a
//! script does is proven by the scenes `absent` and `failures`, whose environment the rig sets.
#![cfg_attr(all(windows, target_arch = "x86_64"), expect(non_upper_case_globals, reason = "Windows' names"))]

#[cfg(all(windows, target_arch = "x86_64"))]
mod accesses;
#[cfg(all(windows, target_arch = "x86_64"))]
mod apic;
#[cfg(all(windows, target_arch = "x86_64"))]
mod emulator;
#[cfg(all(windows, target_arch = "x86_64"))]
mod machine;
#[cfg(all(windows, target_arch = "x86_64"))]
mod scenes;
#[cfg(all(windows, target_arch = "x86_64"))]
mod sys;
#[cfg(all(windows, target_arch = "x86_64"))]
mod threads;

#[cfg(all(windows, target_arch = "x86_64"))]
fn main() {
    scenes::run();
}

#[cfg(not(all(windows, target_arch = "x86_64")))]
fn main() {
    eprintln!("this program is for Windows on x86-64, or Wine");
}
