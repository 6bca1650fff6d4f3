//! What a block device tells its driver: feature bits, limits, configuration space (virtio 1.2 §5.2.3–§5.2.4).

/// Bytes in a sector: the unit of the protocol, and our logical block size.
pub(super) const SECTOR: u64 = 512;
/// Bytes of a disk's serial (§5.2.6, GET_ID).
pub(super) const SERIAL: usize = 20;
/// Entries of the only queue; what QEMU's vhost-user-blk asks for too.
pub(super) const QUEUE_SIZE: u16 = 128;
/// Data segments of a request: header and status take the other two entries.
const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
/// Bytes of a segment.
const SIZE_MAX: u32 = 1 << 20;
/// Bytes of data in a request. Bounds how long a reset waits for one.
pub(super) const MAX_REQUEST: u64 = SEG_MAX as u64 * SIZE_MAX as u64;
/// 2 GiB for each discard segment: punching a hole costs little, whatever its size.
pub(super) const MAX_DISCARD_SECTORS: u32 = 1 << 22;
/// Discard segments of a request.
pub(super) const DISCARD_SEGMENTS: u32 = 16;
/// 64 MiB of zeroes for a request: they may have to be written.
pub(super) const MAX_ZERO_SECTORS: u32 = 1 << 17;
/// Write-zeroes segments of a request.
pub(super) const ZERO_SEGMENTS: u32 = 1;
/// The host's page and usual file system block is 2^3 sectors.
const PHYSICAL_EXPONENT: u8 = 3;

const F_SIZE_MAX: u64 = 1 << 1;
const F_SEG_MAX: u64 = 1 << 2;
const F_RO: u64 = 1 << 5;
const F_BLK_SIZE: u64 = 1 << 6;
pub(super) const F_FLUSH: u64 = 1 << 9;
const F_TOPOLOGY: u64 = 1 << 10;
pub(super) const F_DISCARD: u64 = 1 << 13;
pub(super) const F_WRITE_ZEROES: u64 = 1 << 14;

/// What kind of disk it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// Size in sectors.
    pub sectors: u64,
    pub read_only: bool,
    pub can_discard: bool,
}

impl Kind {
    /// Feature bits to offer.
    pub fn features(self) -> u64 {
        let always = F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY;
        match (self.read_only, self.can_discard) {
            (true, _) => always | F_RO,
            (false, true) => always | F_WRITE_ZEROES | F_DISCARD,
            (false, false) => always | F_WRITE_ZEROES,
        }
    }

    /// `struct virtio_blk_config` up to what our features give a meaning to.
    pub fn space(self) -> [u8; 60] {
        let mut space = [0; 60];
        let mut put = |at: usize, bytes: &[u8]| space[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.sectors.to_le_bytes());
        put(8, &SIZE_MAX.to_le_bytes());
        put(12, &SEG_MAX.to_le_bytes());
        put(20, &(SECTOR as u32).to_le_bytes());
        put(24, &[PHYSICAL_EXPONENT]);
        put(26, &(1u16 << PHYSICAL_EXPONENT).to_le_bytes()); // min_io_size, in sectors
        put(34, &1u16.to_le_bytes()); // num_queues
        if self.can_discard && !self.read_only {
            put(36, &MAX_DISCARD_SECTORS.to_le_bytes());
            put(40, &DISCARD_SEGMENTS.to_le_bytes());
            put(44, &(1u32 << PHYSICAL_EXPONENT).to_le_bytes()); // discard_sector_alignment
        }
        if !self.read_only {
            put(48, &MAX_ZERO_SECTORS.to_le_bytes());
            put(52, &ZERO_SEGMENTS.to_le_bytes());
            put(56, &[u8::from(self.can_discard)]); // write_zeroes_may_unmap
        }
        space
    }
}
