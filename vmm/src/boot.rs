//! The boot recipe, the same for every hypervisor in this process: memory, machine, interrupt chip, devices, kernel, vCPUs,
//! in this order. Called by a backend's `launch`.

use std::sync::Arc;

use crate::arch::{self, BootError, BootPlan};
use crate::bus::Bus;
use crate::dax::{Interpreted, Region};
use crate::engine::{EngineParts, RunningEngine, StartError};
use crate::hv::{DoorbellGuard, Hypervisor, Vm};
use crate::kick::Kick;
use crate::memory;
use crate::stop::StopLatch;
use crate::vcpus::{self, Seated};
use crate::virtio::VirtioDevice;
use crate::virtio::mmio::{Doorbells, MmioTransport, Place};

/// Brings `parts` up on `hypervisor`; when it returns the vCPUs run. Called inside a tokio runtime.
pub fn start<H: Hypervisor>(hypervisor: &H, mut parts: EngineParts) -> Result<Box<dyn RunningEngine>, StartError> {
    let stage = |stage| move |source| StartError::Engine { engine: H::NAME, stage, source: Box::new(source) };
    let memory = memory::anonymous(&arch::ram_ranges(parts.memory_bytes))?;
    let plan = BootPlan {
        cpus: parts.cpus,
        kernel: &parts.kernel,
        initramfs: &parts.initramfs,
        cmdline: &parts.cmdline,
        devices: parts.devices.len(),
    };
    let boot = arch::prepare(&memory, &plan)?;
    let vm = Arc::new(hypervisor.create_vm(Arc::clone(&memory), parts.cpus).map_err(stage("creating the machine"))?);
    let irq_chip = arch::irq_chip(Arc::clone(&vm) as _, parts.devices.len()).ok_or(BootError::Architecture)?;
    let stop = Arc::new(StopLatch::default());
    let doorbells = (!parts.no_doorbell).then(|| Arc::new(VmDoorbells(Arc::clone(&vm))) as Arc<dyn Doorbells>);

    let mut bus = Bus::default();
    let mut transports = Vec::new();
    let windows = windows(&*vm, &mut bus, parts.memory_bytes, &mut parts.devices)?;
    let wanted = parts.devices.len();
    for (index, device) in parts.devices.into_iter().enumerate() {
        let slot = arch::slot(index).ok_or(BootError::Devices { wanted, slots: index })?;
        let place = Place {
            address: slot.address,
            line: irq_chip.line(slot.irq),
            doorbells: doorbells.clone(),
            windows: Arc::clone(&windows),
        };
        let transport = Arc::new(MmioTransport::new(device, Arc::clone(&memory), place));
        place_window(bus.add_mmio(slot.address, slot.size, Arc::clone(&transport) as _))?;
        transports.push(transport);
    }
    let early = parts.early_console.filter(|_| parts.cmdline.contains("ttyS0"));
    let (base, size, chip) = irq_chip.window();
    place_window(bus.add_mmio(base, size, chip))?;
    for (base, size, device) in arch::port_devices(&stop, early) {
        place_window(bus.add_pio(base, size, device))?;
    }
    vcpus::start(Seated { vm, cpus: parts.cpus, boot, bus: Arc::new(bus), transports, stop })
        .map_err(stage("starting the vCPUs"))
}

/// Gives devices the windows onto files that they ask for, as far as the hypervisor has them.
fn windows<V: Vm>(
    vm: &V,
    bus: &mut Bus,
    ram_bytes: u64,
    devices: &mut [Box<dyn VirtioDevice>],
) -> Result<Arc<[Region]>, StartError> {
    let mut base = arch::first_window(ram_bytes);
    let mut regions = Vec::new();
    for device in devices {
        let Some(bytes) = device.window_bytes().and_then(|bytes| bytes.checked_next_multiple_of(arch::WINDOW_STEP))
        else {
            continue;
        };
        let Some(window) = vm.window(base, bytes) else { continue };
        let region = window.region();
        place_window(bus.add_mmio(region.base, region.len, Arc::new(Interpreted(Arc::clone(&window)))))?;
        device.take_window(window);
        regions.push(region);
        base = region.base + region.len;
    }
    Ok(regions.into())
}

/// The layout keeps windows apart; if it did not, the machine must not start.
fn place_window(placed: bool) -> Result<(), StartError> {
    if placed { Ok(()) } else { Err(StartError::Config("Two devices have the same place in the guest".into())) }
}

/// The machine's doorbells as the transport wants them.
struct VmDoorbells<V>(Arc<V>);

impl<V: Vm> Doorbells for VmDoorbells<V> {
    fn attach(&self, address: u64, value: u32, kick: Arc<Kick>) -> Option<DoorbellGuard> {
        self.0.doorbell(address, value, kick)
    }
}
