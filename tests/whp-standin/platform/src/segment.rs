//! Segments and attributes: WHP's packed form and KVM's spread one. Pure; used by `registers` and `exit`.

use windows_sys::Win32::System::Hypervisor::{WHV_X64_SEGMENT_REGISTER, WHV_X64_SEGMENT_REGISTER_0};

use crate::kvm::Segment;

/// As WHP has it.
pub fn to_whv(from: &Segment) -> WHV_X64_SEGMENT_REGISTER {
    let bit = |value: u8, at: u32| u16::from(value & 1) << at;
    let attributes = u16::from(from.kind & 15)
        | bit(from.s, 4)
        | u16::from(from.dpl & 3) << 5
        | bit(from.present, 7)
        | bit(from.avl, 12)
        | bit(from.l, 13)
        | bit(from.db, 14)
        | bit(from.g, 15);
    WHV_X64_SEGMENT_REGISTER {
        Base: from.base,
        Limit: from.limit,
        Selector: from.selector,
        Anonymous: WHV_X64_SEGMENT_REGISTER_0 { Attributes: attributes },
    }
}

/// As KVM has it.
pub fn to_kvm(from: &WHV_X64_SEGMENT_REGISTER) -> Segment {
    // SAFETY: both sides of the union are the same sixteen bits.
    let attributes = unsafe { from.Anonymous.Attributes };
    let bits = |at: u32, mask: u16| (attributes >> at & mask) as u8;
    Segment {
        base: from.Base,
        limit: from.Limit,
        selector: from.Selector,
        kind: bits(0, 15),
        s: bits(4, 1),
        dpl: bits(5, 3),
        present: bits(7, 1),
        avl: bits(12, 1),
        l: bits(13, 1),
        db: bits(14, 1),
        g: bits(15, 1),
        unusable: 1 - bits(7, 1),
        padding: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for attributes in [0xa09b_u16, 0xc093, 0x008b, 0x0082, 0x409b, 0x0000, 0xf0fb] {
            let whv = WHV_X64_SEGMENT_REGISTER {
                Base: 0x1234_5678_9abc,
                Limit: 0xfffff,
                Selector: 0x10,
                Anonymous: WHV_X64_SEGMENT_REGISTER_0 { Attributes: attributes },
            };
            let back = to_whv(&to_kvm(&whv));
            // SAFETY: as above.
            assert_eq!(unsafe { back.Anonymous.Attributes }, attributes);
            assert_eq!((back.Base, back.Limit, back.Selector), (whv.Base, whv.Limit, whv.Selector));
        }
    }
}
