//! What to do with a data disk, from what was seen on it: a pure function, so that every state of a disk is one line of a
//! test. Called by `data_disk::prepare`.

use lighter_protocol::paths::DATA_LABEL;

use super::probe::{Content, Facts};

/// Smaller disks hold no engine.
pub const SMALLEST: u64 = 64 << 20;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Make a file system: nothing can be lost.
    Format,
    /// Mount it.
    Mount,
    /// Let e2fsck repair it, then mount it.
    Check,
    /// Leave it alone.
    Refuse(Refusal),
}

/// Why a disk is left alone. Each message names the cause, says that nothing was written, and a cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something else lives there.
    #[error(
        "Data disk holds {0}, which lighter did not put there. Nothing was written to it. Move the profile's data disk image \
         away to begin with an empty one, or put the right image in its place"
    )]
    Foreign(&'static str),
    /// An ext file system of somebody else.
    #[error(
        "Data disk holds an ext file system labelled `{0}` and not `{DATA_LABEL}`. Nothing was written to it. Move the \
         profile's data disk image away to begin with an empty one, or, if it is lighter's, label it with `e2label`"
    )]
    Label(String),
    /// The image lost its end.
    #[error(
        "Data disk has {size} bytes but its file system has {needed}: the image was cut short. Nothing was written to it. \
         Restore the image from a backup, or make it as long as it was before"
    )]
    CutShort {
        /// Of the disk.
        size: u64,
        /// By the superblock.
        needed: u64,
    },
    /// The first superblock is gone, a copy is there.
    #[error(
        "Data disk has lost its first superblock, but a copy is there. Nothing was written to it. Copy the image, then repair \
         the copy with `e2fsck -b {block} -B {block_size}`"
    )]
    SuperblockGone {
        /// Where the copy is.
        block: u64,
        /// Bytes of a block.
        block_size: u64,
    },
    /// Not blank and not known.
    #[error(
        "Data disk holds data that lighter does not know (first at byte {0}). Nothing was written to it. Move the profile's \
         data disk image away to begin with an empty one, or restore it from a backup"
    )]
    Unknown(u64),
    /// Too small for anything.
    #[error(
        "Data disk has {0} bytes, at least {SMALLEST} are needed. Choose a larger disk with `lighter start --disk`"
    )]
    TooSmall(u64),
}

/// The decision.
pub fn decide(facts: &Facts) -> Decision {
    match &facts.content {
        Content::Blank | Content::InterruptedFormat if facts.size < SMALLEST => {
            Decision::Refuse(Refusal::TooSmall(facts.size))
        }
        Content::Blank | Content::InterruptedFormat => Decision::Format,
        Content::Ext(superblock) if superblock.label != DATA_LABEL => {
            Decision::Refuse(Refusal::Label(superblock.label.clone()))
        }
        Content::Ext(superblock) if superblock.size() > facts.size => {
            Decision::Refuse(Refusal::CutShort { size: facts.size, needed: superblock.size() })
        }
        Content::Ext(superblock) if superblock.errors => Decision::Check,
        Content::Ext(_) => Decision::Mount,
        Content::ExtWithoutSuperblock(superblock) => {
            let block_size = superblock.block_size;
            // A bitmap block holds one bit per block of its group; with 1 KiB blocks, block 0 lies before group 0.
            let block = block_size * 8 + u64::from(block_size == 1024);
            Decision::Refuse(Refusal::SuperblockGone { block, block_size })
        }
        Content::Foreign(name) => Decision::Refuse(Refusal::Foreign(name)),
        Content::Unknown(at) => Decision::Refuse(Refusal::Unknown(*at)),
    }
}
