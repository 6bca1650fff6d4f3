//! Buffers that lie in a window onto files of the host instead of RAM. A guest's program can cause that without meaning harm, by
//! direct I/O from or to a file that it has mapped; so it breaks no rule, but most devices have no way to such memory: what is
//! there can go while it is used, and only system calls survive that.

use std::sync::Arc;

use super::{Chain, QueueError, Virtqueue};
use crate::dax::Region;

impl Virtqueue {
    /// The same queue in a machine with these windows.
    #[must_use]
    pub fn beside(mut self, windows: Arc<[Region]>) -> Self {
        self.windows = windows;
        self
    }

    /// Takes the next request, or `None` when the driver has offered no more. One with a span that is not RAM is given back
    /// undone: of a packet that is a loss.
    pub fn pop(&mut self) -> Result<Option<Chain>, QueueError> {
        loop {
            match self.take()? {
                Some(chain) if chain.in_window => {
                    self.push(chain.head, 0)?;
                    self.publish()?;
                }
                other => return Ok(other),
            }
        }
    }

    /// The same with requests whose spans lie in a window, for a device that can answer them: with an error, if nothing else.
    pub fn pop_from_anywhere(&mut self) -> Result<Option<Chain>, QueueError> {
        self.take()
    }
}
