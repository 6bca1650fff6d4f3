//! Requests about the window: which files are seen through it, and what of them is there.
//!
//! Not all are. A range of 2 MiB of the window holds one file, so of small files few would be in it, and each would cost two more
//! requests than reading it does. And what a program writes through the window changes the host's pages at once, but the file's
//! time only now and then, and nobody who watches the file hears of it; so a source that is edited must not go that way.

use std::io;
use std::sync::Arc;

use super::{Answer, Outcome, Server, done};
use crate::dax::{Source, Window};
use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::fuse::mapping::{Pieces, SetUpMapping};
use crate::virtio::fs::host::{Access, Attributes, HostFs, Kind};

/// Files of at least so many bytes are seen through the window.
pub(super) const SMALLEST: u64 = 1 << 20;

impl<H: HostFs> Server<H> {
    /// From the next greeting on, large files are seen through this window. Only the first one counts.
    pub fn use_window(&self, window: Arc<Window>) {
        if self.window.set(window).is_err() {
            tracing::warn!("shared folders have a window already");
        }
    }

    /// To be called before the guest is told anything by which it learns how long a file is.
    pub(super) fn refresh_window(&self, concerns: impl Fn(&Source) -> bool) {
        self.window.get().inspect(|window| window.refresh(concerns));
    }

    /// Whether the guest is to see a file through the window. One with holes is not: where a page of it is written for the first
    /// time, the host may have no room for it, of which nobody could be told.
    pub(super) fn is_for_window(&self, attributes: &Attributes) -> bool {
        let whole = attributes.blocks.saturating_mul(512) >= attributes.size;
        self.window.get().is_some() && attributes.kind == Kind::File && attributes.size >= SMALLEST && whole
    }

    /// Who asks whether a file is safe is told if what was written to a mapping of it is not in it.
    pub(super) fn unless_lost(&self, node: u64, done: Answer) -> Outcome {
        let lost = self.window.get().is_some_and(|window| window.has_lost(node));
        if lost { Err(Errno::IO) } else { Ok(done) }
    }

    pub(super) fn set_up_mapping(&self, node: u64, asked: &SetUpMapping) -> Outcome {
        let window = self.window.get().ok_or(Errno::NOSYS)?;
        let piece = window.piece(asked.at, asked.len).ok_or(Errno::INVAL)?;
        let place = if asked.writable { self.hold_to_change(node)? } else { self.place(node)? };
        let file = match window.file(node, asked.writable) {
            Some(file) => file,
            None => {
                let access = Access { read: true, write: asked.writable, ..Access::default() };
                let file = self.host.open(&place.held, access)?;
                Arc::new(self.host.mappable(file).ok_or(Errno::NODEV)?)
            }
        };
        if asked.writable {
            self.did_to_content(node);
            self.host.make_room(&file, asked.offset, asked.len)?;
        }
        let inode = self.inode(self.host.attributes(&place.held)?.identity);
        let source = Source { file, node, inode, writable: asked.writable, offset: asked.offset };
        window.map(piece, source).map(|()| done()).map_err(|error| errno(&error))
    }

    pub(super) fn remove_mapping(&self, pieces: Pieces) -> Outcome {
        let window = self.window.get().ok_or(Errno::NOSYS)?;
        for (at, len) in pieces.iter() {
            let piece = window.piece(at, len).ok_or(Errno::INVAL)?;
            window.unmap(piece).map_err(|error| errno(&error))?;
        }
        Ok(done())
    }
}

/// As the guest is told of it.
fn errno(error: &io::Error) -> Errno {
    match error.kind() {
        io::ErrorKind::OutOfMemory => Errno::NOMEM,
        io::ErrorKind::InvalidInput => Errno::INVAL,
        io::ErrorKind::PermissionDenied => Errno::ACCES,
        io::ErrorKind::StorageFull => Errno::NOSPC,
        _ => Errno::NODEV,
    }
}
