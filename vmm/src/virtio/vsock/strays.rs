//! RST packets owed for packets that belong to no connection: a bounded queue, so that a guest's noise is answered but never
//! piled up. Used by `muxer`.

use std::collections::VecDeque;

use super::packet::{Header, Op};

/// How many may be owed at once; beyond this they are dropped.
pub const MAX_STRAY_RESETS: usize = 1024;

/// The queue, and whose turn it is.
#[derive(Debug, Default)]
pub struct Strays {
    owed: VecDeque<Header>,
    turn: bool,
}

impl Strays {
    /// Owes the sender of `header` an RST, unless that is an RST itself. The answer goes to `guest_cid` whoever the sender
    /// claims to be. `false`: too many are owed already.
    pub fn owe(&mut self, header: &Header, guest_cid: u64) -> bool {
        if header.op == Op::Rst as u16 {
            return true;
        }
        if self.owed.len() >= MAX_STRAY_RESETS {
            return false;
        }
        self.owed.push_back(Header {
            src_cid: header.dst_cid,
            src_port: header.dst_port,
            dst_cid: guest_cid,
            dst_port: header.src_port,
            kind: header.kind,
            op: Op::Rst as u16,
            ..Header::default()
        });
        true
    }

    /// The oldest RST if it is its turn: every time if nothing else is `busy` to be sent, else every second time.
    pub fn next(&mut self, busy: bool) -> Option<Header> {
        self.turn = !self.turn;
        if self.turn || !busy { self.owed.pop_front() } else { None }
    }

    /// Whether none is owed.
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// Nobody is left to be answered.
    pub fn clear(&mut self) {
        self.owed.clear();
    }
}
