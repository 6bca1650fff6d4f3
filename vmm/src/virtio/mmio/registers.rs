//! Register offsets of virtio-mmio version 2 (virtio 1.2 §4.2.2, table 4.1).

/// "virt".
pub const MAGIC: u64 = 0x000;
pub const VERSION: u64 = 0x004;
pub const DEVICE_ID: u64 = 0x008;
pub const VENDOR_ID: u64 = 0x00c;
pub const DEVICE_FEATURES: u64 = 0x010;
pub const DEVICE_FEATURES_SEL: u64 = 0x014;
pub const DRIVER_FEATURES: u64 = 0x020;
pub const DRIVER_FEATURES_SEL: u64 = 0x024;
pub const QUEUE_SEL: u64 = 0x030;
pub const QUEUE_SIZE_MAX: u64 = 0x034;
pub const QUEUE_SIZE: u64 = 0x038;
pub const QUEUE_READY: u64 = 0x044;
pub const QUEUE_NOTIFY: u64 = 0x050;
pub const INTERRUPT_STATUS: u64 = 0x060;
pub const INTERRUPT_ACK: u64 = 0x064;
pub const STATUS: u64 = 0x070;
pub const QUEUE_DESC_LOW: u64 = 0x080;
pub const QUEUE_DESC_HIGH: u64 = 0x084;
pub const QUEUE_DRIVER_LOW: u64 = 0x090;
pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
/// Which shared memory region the next four are about.
pub const SHM_SEL: u64 = 0x0ac;
/// Length and base of the selected shared memory region; all ones: there is none.
pub const SHM_LENGTH_LOW: u64 = 0x0b0;
pub const SHM_LENGTH_HIGH: u64 = 0x0b4;
pub const SHM_BASE_LOW: u64 = 0x0b8;
pub const SHM_BASE_HIGH: u64 = 0x0bc;
pub const CONFIG_GENERATION: u64 = 0x0fc;
/// Device-specific configuration from here on.
pub const CONFIG: u64 = 0x100;

pub const MAGIC_VALUE: u32 = u32::from_le_bytes(*b"virt");
pub const VERSION_VALUE: u32 = 2;
/// "LGTR": tells nothing to Linux, but shows in its sysfs whose device this is.
pub const VENDOR_VALUE: u32 = u32::from_le_bytes(*b"LGTR");
