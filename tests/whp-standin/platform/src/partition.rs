//! Partitions: their handles, the KVM machine behind each, and the way from created to set up. Contract: WHvCreatePartition,
//! WHvSetupPartition ("After setting up the partition, the partition object can be passed to the other" calls),
//! WHvDeletePartition. Used by `exports`.
//!
//! ```text
//! created --WHvSetupPartition--> set up --WHvDeletePartition--> gone
//!    `-------------------WHvDeletePartition----------------------^
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use windows_sys::Win32::Foundation::WHV_E_VP_DOES_NOT_EXIST;
use windows_sys::Win32::System::Hypervisor::{
    WHvPartitionPropertyCodeExtendedVmExits, WHvPartitionPropertyCodeLocalApicEmulationMode,
    WHvPartitionPropertyCodeProcessorCount, WHvPartitionPropertyCodeX64MsrExitBitmap, WHvX64LocalApicEmulationModeNone,
    WHvX64LocalApicEmulationModeX2Apic,
};

use crate::interrupt::Routes;
use crate::kvm::{self, ask};
use crate::linux::{self, Fd};
use crate::memory::Memory;
use crate::properties::Properties;
use crate::result::{Hr, INVALID, Result};
use crate::vp::Vp;

/// IOAPIC pins that may have level-triggered interrupts.
pub const PINS: usize = 24;
/// Where Intel processors without unrestricted guests keep three pages of KVM's; below 4 GiB, where firmware would be.
const TSS: usize = 0xfffb_d000;
/// Extended VM exits: MSR accesses, INIT and SIPI.
const EXIT_MSR: u64 = 1 << 1;
const EXIT_INIT_SIPI: u64 = 1 << 6;

/// What setting up fixed.
#[derive(Debug, Clone, Copy)]
pub struct SetUp {
    /// Virtual processors that may be made.
    pub processors: u32,
    /// Local APICs are in the kernel.
    pub apic: bool,
    /// They are reached by registers too, so processors say that they have that.
    pub x2apic: bool,
    /// The VMM wants to start application processors itself.
    pub traps_startup: bool,
}

/// One partition.
pub struct Partition {
    /// `/dev/kvm`.
    pub kvm: Fd,
    /// The machine.
    pub vm: Fd,
    /// Properties as they were set.
    pub properties: Mutex<Properties>,
    /// Mapped memory.
    pub memory: Mutex<Memory>,
    /// Level-triggered interrupts whose end has to be told.
    pub routes: Mutex<Routes>,
    /// INIT and SIPI that were seen and not yet told, as the interrupt command register held them.
    pub startups: Mutex<VecDeque<u64>>,
    set_up: OnceLock<SetUp>,
    vps: RwLock<BTreeMap<u32, Arc<Vp>>>,
}

static PARTITIONS: RwLock<BTreeMap<isize, Arc<Partition>>> = RwLock::new(BTreeMap::new());

/// A lock whose holder's panic changes nothing: it ended the process.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a partition; its handle.
pub fn create() -> Result<isize> {
    static NEXT: AtomicIsize = AtomicIsize::new(1);
    linux::prepare_kicks()?;
    let kvm = kvm::open()?;
    let vm = kvm.create(ask::CREATE_VM, 0)?;
    let partition = Partition {
        kvm,
        vm,
        properties: Mutex::default(),
        memory: Mutex::default(),
        routes: Mutex::default(),
        startups: Mutex::default(),
        set_up: OnceLock::new(),
        vps: RwLock::default(),
    };
    let handle = NEXT.fetch_add(1, Ordering::Relaxed);
    PARTITIONS.write().unwrap_or_else(PoisonError::into_inner).insert(handle, Arc::new(partition));
    Ok(handle)
}

/// The partition of a handle.
pub fn find(handle: isize) -> Result<Arc<Partition>> {
    PARTITIONS.read().unwrap_or_else(PoisonError::into_inner).get(&handle).cloned().ok_or(INVALID)
}

/// Ends a partition. Threads that still run its processors keep the machine until they come back.
pub fn delete(handle: isize) -> Result<()> {
    let removed = PARTITIONS.write().unwrap_or_else(PoisonError::into_inner).remove(&handle).ok_or(INVALID)?;
    removed.vps.write().unwrap_or_else(PoisonError::into_inner).clear();
    Ok(())
}

impl Partition {
    /// Fixes the properties and makes the interrupt controllers.
    pub fn set_up(&self) -> Result<()> {
        let properties = lock(&self.properties);
        let processors = properties.number(WHvPartitionPropertyCodeProcessorCount) as u32;
        let mode = properties.number(WHvPartitionPropertyCodeLocalApicEmulationMode) as i32;
        if self.set_up.get().is_some() || !(1..=255).contains(&processors) {
            return Err(INVALID);
        }
        self.vm.control(ask::SET_TSS_ADDR, TSS)?;
        let apic = mode != WHvX64LocalApicEmulationModeNone;
        if apic {
            kvm::enable(&self.vm, kvm::CAP_SPLIT_IRQCHIP, PINS as u64)?;
        }
        let x2apic = mode == WHvX64LocalApicEmulationModeX2Apic;
        if x2apic {
            const IDS_OF_32_BITS: u64 = 1;
            kvm::enable(&self.vm, kvm::CAP_X2APIC_API, IDS_OF_32_BITS)?;
        }
        let traps_startup = apic && properties.number(WHvPartitionPropertyCodeExtendedVmExits) & EXIT_INIT_SIPI != 0;
        self.apply_exits(&properties)?;
        // Nobody else can have set it up: the properties are locked.
        self.set_up.set(SetUp { processors, apic, x2apic, traps_startup }).map_err(|_| INVALID)
    }

    /// Tells KVM which accesses to model-specific registers come out; the only exits that can be changed later on.
    pub fn apply_exits(&self, properties: &Properties) -> Result<()> {
        const UNKNOWN: u64 = 1 << 1;
        let asked = properties.number(WHvPartitionPropertyCodeExtendedVmExits) & EXIT_MSR != 0;
        let unhandled = properties.number(WHvPartitionPropertyCodeX64MsrExitBitmap) & 1 != 0;
        if asked && unhandled {
            return Ok(kvm::enable(&self.vm, kvm::CAP_USER_SPACE_MSR, UNKNOWN)?);
        }
        // Where KVM lacks the capability there is nothing to take back.
        let _ = kvm::enable(&self.vm, kvm::CAP_USER_SPACE_MSR, 0);
        Ok(())
    }

    /// What was fixed; an error before that.
    pub fn ready(&self) -> Result<SetUp> {
        self.set_up.get().copied().ok_or(INVALID)
    }

    /// A virtual processor.
    pub fn vp(&self, index: u32) -> Result<Arc<Vp>> {
        let vps = self.vps.read().unwrap_or_else(PoisonError::into_inner);
        vps.get(&index).cloned().ok_or(Hr(WHV_E_VP_DOES_NOT_EXIST))
    }

    /// All virtual processors, for changing the set.
    pub fn vps(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u32, Arc<Vp>>> {
        self.vps.write().unwrap_or_else(PoisonError::into_inner)
    }
}
