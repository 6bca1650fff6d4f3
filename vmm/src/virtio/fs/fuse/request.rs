//! What a guest asks: bytes to [`Request`]. Names are checked here, once ([`Name`]); numbers are for the server to judge. The
//! content of a WRITE is not part of it: it stays in guest memory until it is written.

use super::bytes::{Fields, Reader};
use super::mapping::{Pieces, SetUpMapping};
use super::set_attr::{SetAttr, set_attr};
use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::name::Name;

/// Length of `fuse_in_header`.
pub const HEADER: usize = 40;
/// Length of a WRITE before its content, header included.
pub const WRITE_HEAD: usize = HEADER + 40;
/// Opcode of WRITE.
const WRITE: u32 = 16;

/// `fuse_in_header`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Length of the whole request in bytes.
    pub len: u32,
    /// What is asked.
    pub opcode: u32,
    /// By which the answer is matched.
    pub unique: u64,
    /// The object asked of.
    pub node: u64,
    /// Who asks.
    pub uid: u32,
    /// And that one's group.
    pub gid: u32,
    /// The asking thread's id in the machine.
    pub pid: u32,
}

impl Header {
    /// Reads it from the front of a request.
    pub fn parse(bytes: &[u8; HEADER]) -> Self {
        let mut fields = Fields(bytes);
        let (len, opcode, unique, node) = (fields.u32(), fields.u32(), fields.u64(), fields.u64());
        Self { len, opcode, unique, node, uid: fields.u32(), gid: fields.u32(), pid: fields.u32() }
    }

    /// How many bytes of the request's front are wanted for [`Operation::parse`], of the `there` that there are.
    pub fn wanted(&self, there: usize) -> usize {
        if self.opcode == WRITE { there.min(WRITE_HEAD) } else { there }
    }
}

/// `fuse_read_in` and `fuse_write_in`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// The open file or folder.
    pub handle: u64,
    /// First byte; of a folder, where its list goes on.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
    /// The writer has no right to keep set-id bits.
    pub drop_set_id: bool,
}

/// `fuse_init_in`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// Version.
    pub major: u32,
    /// Version.
    pub minor: u32,
    /// Bytes that the kernel reads ahead, at most.
    pub max_readahead: u32,
    /// See [`super::numbers::init`].
    pub flags: u64,
}

/// What is asked, by the operation's own name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are those of the protocol.
pub enum Operation<'a> {
    Lookup {
        name: Name<'a>,
    },
    Forget {
        count: u64,
    },
    BatchForget(Forgets<'a>),
    GetAttr {
        handle: Option<u64>,
    },
    SetAttr(SetAttr),
    ReadLink,
    SymLink {
        name: Name<'a>,
        target: &'a [u8],
    },
    MkNod {
        name: Name<'a>,
        mode: u32,
        device: u32,
    },
    MkDir {
        name: Name<'a>,
        mode: u32,
    },
    Unlink {
        name: Name<'a>,
    },
    RmDir {
        name: Name<'a>,
    },
    Rename {
        name: Name<'a>,
        new_folder: u64,
        new_name: Name<'a>,
        flags: u32,
    },
    Link {
        node: u64,
        name: Name<'a>,
    },
    Open {
        flags: u32,
        drop_set_id: bool,
    },
    Create {
        name: Name<'a>,
        flags: u32,
        mode: u32,
        drop_set_id: bool,
    },
    TmpFile {
        flags: u32,
        mode: u32,
    },
    Read(Transfer),
    Write(Transfer),
    StatFs,
    Release {
        handle: u64,
    },
    FSync {
        handle: u64,
        data_only: bool,
    },
    Flush {
        handle: u64,
    },
    SetXAttr {
        name: &'a [u8],
        value: &'a [u8],
        flags: u32,
    },
    GetXAttr {
        name: &'a [u8],
        room: u32,
    },
    ListXAttr {
        room: u32,
    },
    RemoveXAttr {
        name: &'a [u8],
    },
    Init(Init),
    OpenDir,
    ReadDir(Transfer),
    ReadDirPlus(Transfer),
    ReleaseDir {
        handle: u64,
    },
    FSyncDir {
        handle: u64,
    },
    Interrupt,
    Destroy,
    FAllocate {
        handle: u64,
        offset: u64,
        len: u64,
        mode: u32,
    },
    LSeek {
        handle: u64,
        offset: u64,
        whence: u32,
    },
    CopyFileRange {
        handle: u64,
        offset: u64,
        to_handle: u64,
        to_offset: u64,
        len: u64,
        flags: u64,
    },
    SetUpMapping(SetUpMapping),
    RemoveMapping(Pieces<'a>),
    SyncFs,
    /// One that is not served; `ENOSYS` makes the kernel do without it from then on.
    Unknown(u32),
}

impl<'a> Operation<'a> {
    /// Reads what follows the header (of a WRITE at least what comes before its content).
    ///
    /// # Errors
    /// `EINVAL` for a request that is shorter than its kind, `ENAMETOOLONG`.
    pub fn parse(header: &Header, body: &'a [u8]) -> Result<Self, Errno> {
        let mut at = Reader(body);
        Ok(match header.opcode {
            1 => Self::Lookup { name: at.name()? },
            2 => Self::Forget { count: at.fixed::<8>()?.u64() },
            3 => {
                let mut fields = at.fixed::<16>()?;
                let flags = fields.u32();
                fields.u32();
                let handle = fields.u64();
                Self::GetAttr { handle: (flags & 1 != 0).then_some(handle) }
            }
            4 => Self::SetAttr(set_attr(at.fixed::<88>()?)),
            5 => Self::ReadLink,
            6 => Self::SymLink { name: at.name()?, target: at.text()? },
            8 => {
                let mut fields = at.fixed::<16>()?;
                let (mode, device) = (fields.u32(), fields.u32());
                Self::MkNod { name: at.name()?, mode, device }
            }
            9 => {
                let mode = at.fixed::<8>()?.u32();
                Self::MkDir { name: at.name()?, mode }
            }
            10 => Self::Unlink { name: at.name()? },
            11 => Self::RmDir { name: at.name()? },
            12 => {
                let new_folder = at.fixed::<8>()?.u64();
                Self::Rename { name: at.name()?, new_folder, new_name: at.name()?, flags: 0 }
            }
            13 => {
                let node = at.fixed::<8>()?.u64();
                Self::Link { node, name: at.name()? }
            }
            14 => {
                let mut fields = at.fixed::<8>()?;
                Self::Open { flags: fields.u32(), drop_set_id: fields.u32() & 1 != 0 }
            }
            15 => Self::Read(transfer(at.fixed::<40>()?)),
            WRITE => Self::Write(transfer(at.fixed::<40>()?)),
            17 => Self::StatFs,
            18 => Self::Release { handle: at.fixed::<24>()?.u64() },
            20 => {
                let (handle, data_only) = handle_and_bit(at.fixed::<16>()?);
                Self::FSync { handle, data_only }
            }
            21 => {
                let mut fields = at.fixed::<8>()?;
                let (size, flags) = (fields.u32() as usize, fields.u32());
                let name = at.text()?;
                Self::SetXAttr { name, value: at.0.get(..size).ok_or(Errno::INVAL)?, flags }
            }
            22 => {
                let room = at.fixed::<8>()?.u32();
                Self::GetXAttr { name: at.text()?, room }
            }
            23 => Self::ListXAttr { room: at.fixed::<8>()?.u32() },
            24 => Self::RemoveXAttr { name: at.text()? },
            25 => Self::Flush { handle: at.fixed::<24>()?.u64() },
            26 => Self::Init(init(at)?),
            27 => Self::OpenDir,
            28 => Self::ReadDir(transfer(at.fixed::<40>()?)),
            29 => Self::ReleaseDir { handle: at.fixed::<24>()?.u64() },
            30 => Self::FSyncDir { handle: at.fixed::<16>()?.u64() },
            35 => {
                let (flags, mode, drop_set_id) = create(at.fixed::<16>()?);
                Self::Create { name: at.name()?, flags, mode, drop_set_id }
            }
            36 => Self::Interrupt,
            38 => Self::Destroy,
            42 => {
                let count = at.fixed::<8>()?.u32() as usize;
                let bytes = count.checked_mul(16).and_then(|len| at.0.get(..len)).ok_or(Errno::INVAL)?;
                Self::BatchForget(Forgets(bytes))
            }
            43 => {
                let mut fields = at.fixed::<32>()?;
                let (handle, offset, len) = (fields.u64(), fields.u64(), fields.u64());
                Self::FAllocate { handle, offset, len, mode: fields.u32() }
            }
            44 => Self::ReadDirPlus(transfer(at.fixed::<40>()?)),
            45 => {
                let mut fields = at.fixed::<16>()?;
                let (new_folder, flags) = (fields.u64(), fields.u32());
                Self::Rename { name: at.name()?, new_folder, new_name: at.name()?, flags }
            }
            46 => {
                let mut fields = at.fixed::<24>()?;
                Self::LSeek { handle: fields.u64(), offset: fields.u64(), whence: fields.u32() }
            }
            47 => {
                let mut fields = at.fixed::<56>()?;
                let (handle, offset, _node) = (fields.u64(), fields.u64(), fields.u64());
                let (to_handle, to_offset) = (fields.u64(), fields.u64());
                Self::CopyFileRange { handle, offset, to_handle, to_offset, len: fields.u64(), flags: fields.u64() }
            }
            48 => Self::SetUpMapping(super::mapping::set_up(at.fixed::<40>()?)?),
            49 => Self::RemoveMapping(Pieces::parse(at)?),
            50 => Self::SyncFs,
            51 => {
                let (flags, mode, _) = create(at.fixed::<16>()?);
                Self::TmpFile { flags, mode }
            }
            other => Self::Unknown(other),
        })
    }
}

/// The pairs of a BATCH_FORGET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgets<'a>(&'a [u8]);

impl Forgets<'_> {
    /// Node and count of each.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.chunks_exact(16).map(|pair| {
            let mut fields = Fields(pair);
            (fields.u64(), fields.u64())
        })
    }
}

fn transfer(mut fields: Fields) -> Transfer {
    /// `FUSE_WRITE_KILL_SUIDGID`
    const KILL_SUIDGID: u32 = 1 << 2;
    let (handle, offset, size) = (fields.u64(), fields.u64(), fields.u32());
    Transfer { handle, offset, size, drop_set_id: fields.u32() & KILL_SUIDGID != 0 }
}

fn create(mut fields: Fields) -> (u32, u32, bool) {
    let (flags, mode, _umask) = (fields.u32(), fields.u32(), fields.u32());
    (flags, mode, fields.u32() & 1 != 0)
}

fn handle_and_bit(mut fields: Fields) -> (u64, bool) {
    (fields.u64(), fields.u32() & 1 != 0)
}

fn init(mut at: Reader) -> Result<Init, Errno> {
    let mut fields = at.fixed::<16>()?;
    let (major, minor, max_readahead, low) = (fields.u32(), fields.u32(), fields.u32(), fields.u32());
    let extended = u64::from(low) & super::numbers::init::INIT_EXT != 0;
    let high = if extended { at.fixed::<4>()?.u32() } else { 0 };
    Ok(Init { major, minor, max_readahead, flags: u64::from(high) << 32 | u64::from(low) })
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
