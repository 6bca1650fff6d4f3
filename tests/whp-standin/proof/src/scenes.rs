//! The scenes by name. Called by `main`.

use std::sync::Arc;

use windows_sys::Win32::System::Hypervisor::*;

use crate::machine::Machine;
use crate::sys::Api;
use crate::{accesses, apic, threads};

type Scene = (&'static str, fn(&Arc<Api>));

const SCENES: &[Scene] = &[
    ("capabilities", capabilities),
    ("emulator", |api| accesses::run(api, false)),
    ("decoder", |api| accesses::run(api, true)),
    ("cancel", threads::cancellations),
    ("processors", threads::two_processors),
    ("startup", apic::startup),
    ("start", apic::start_by_hand),
    ("interrupts", apic::interrupts),
    ("msr", apic::unknown_msr),
];

const SCRIPTED: &[Scene] = &[("absent", absent), ("failures", failures)];

/// Runs the scenes that the arguments name.
pub fn run() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let api = Arc::new(Api::load());
    let wanted: Vec<&Scene> = if names.is_empty() {
        SCENES.iter().collect()
    } else {
        let find = |name: &String| SCENES.iter().chain(SCRIPTED).find(|scene| scene.0 == name);
        names.iter().map(|name| find(name).unwrap_or_else(|| panic!("no scene is named {name}"))).collect()
    };
    for (_, scene) in &wanted {
        scene(&api);
    }
    println!("{} scenes passed", wanted.len());
}

fn present(api: &Api) -> bool {
    let (mut present, mut written) = (0u32, 0);
    let place = (&raw mut present).cast();
    // SAFETY: as the page says.
    let result = unsafe { (api.capability)(WHvCapabilityCodeHypervisorPresent, place, 4, &mut written) };
    assert_eq!((result, written), (0, 4));
    present != 0
}

fn capabilities(api: &Arc<Api>) {
    assert!(present(api), "/dev/kvm cannot be used");
    let read = |code| {
        let (mut value, mut written) = (0u64, 0);
        // SAFETY: as the page says.
        let result = unsafe { (api.capability)(code, (&raw mut value).cast(), 8, &mut written) };
        assert!(result >= 0, "capability {code:#x}: {result:#x}");
        value
    };
    let clock = read(WHvCapabilityCodeProcessorClockFrequency);
    let exits = read(WHvCapabilityCodeExtendedVmExits);
    assert!(clock > 100_000_000, "{clock}");
    println!(
        "capabilities: {} MHz, features {:#x}, exits {exits:#x}",
        clock / 1_000_000,
        read(WHvCapabilityCodeFeatures)
    );
}

/// `WHP_STANDIN_ABSENT=1`.
fn absent(api: &Arc<Api>) {
    assert!(!present(api));
    let mut handle = 0;
    // SAFETY: as the page says.
    assert!(unsafe { (api.create)(&mut handle) } < 0);
    println!("absent: the feature is off");
}

/// `WHP_STANDIN_FAIL=WHvUnmapGpaRange:2:8007000e`.
fn failures(api: &Arc<Api>) {
    let machine = Machine::new(api, 1, false, 0);
    // SAFETY: as the page says.
    let unmap = || unsafe { (api.unmap)(machine.handle, 0x10_0000, 0x1000) };
    assert_eq!([unmap(), unmap(), unmap()], [0, 0x8007_000e_u32 as i32, 0]);
    println!("failures: the second call of three");
}
