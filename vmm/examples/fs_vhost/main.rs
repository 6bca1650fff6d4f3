//! The virtio-fs device without the machine around it, for a QEMU that was started by hand. `cargo xtask bench files` runs it.
//! Linux only.
//!
//! ```text
//! fs_vhost FOLDER SOCKET     shares FOLDER as `share` under the tag `lighter`, until the one connection to SOCKET ends
//! ```
//! The folder has to be the guest's alone: the guest has no agent that would be told of what somebody else does there, and believes
//! what it knows for as long as one that has. It says when it listens, and at what rate a guest's time stamp counter will run:
//! `ready KILOHERTZ`, 0 if that is not known.
//! For each line on its standard input it says, in one line, how many requests came so far: `OPCODE:COUNT …`.

mod sys;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    sys::run(&std::env::args().skip(1).collect::<Vec<_>>())
}
