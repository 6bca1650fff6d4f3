//! Reading a request's bytes: structures of little-endian numbers, and texts that end with a NUL. Used by `request` alone.

use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::name::Name;

/// What is left of a request.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `N` bytes as a structure of numbers.
    pub(super) fn fixed<const N: usize>(&mut self) -> Result<Fields<'a>, Errno> {
        let (now, rest) = self.0.split_at_checked(N).ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(Fields(now))
    }

    /// The next text up to its NUL.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Errno> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or(Errno::INVAL)?;
        let text = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    pub(super) fn name(&mut self) -> Result<Name<'a>, Errno> {
        Name::new(self.text()?)
    }
}

/// Little-endian numbers one after the other; 0 where there are no more.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn u32(&mut self) -> u32 {
        self.take().map(u32::from_le_bytes).unwrap_or_default()
    }

    pub(super) fn u64(&mut self) -> u64 {
        self.take().map(u64::from_le_bytes).unwrap_or_default()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (now, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*now)
    }
}
