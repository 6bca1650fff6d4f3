//! The FUSE server without a guest: this host's own kernel mounts it by `/dev/fuse`, where the product has the virtio device and a
//! guest's kernel. What the file system does can so be tried, measured and traced natively. Needs root; Linux only.
//!
//! ```text
//! fuse_rig FOLDER MOUNTPOINT [ro] [agent] [counts] [threads=N]    shares FOLDER as MOUNTPOINT/share, until the mount is taken away
//! ```
//! With `agent`, what happens in FOLDER is repeated in the mount by the agent's own code, as in a machine, and `told …` is said of
//! each; without, nobody is told of it. With `counts`, each line of its standard input is answered by how many requests came so
//! far, by opcode. Once the mount is gone it says how much was known, held and open, and the same counts.

mod sys;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    sys::run(&std::env::args().skip(1).collect::<Vec<_>>())
}
