//! Guest-virtual to guest-physical addresses, by KVM's own page walk. Contract: WHvTranslateGva. KVM walks with the
//! processor's paging mode as the kernel would and reports no rights: a page that is there counts as readable, writable and
//! executable whatever the flags ask. Used by `exports` and `exit`.

use windows_sys::Win32::System::Hypervisor::{
    WHV_TRANSLATE_GVA_RESULT_CODE, WHvTranslateGvaResultPageNotPresent, WHvTranslateGvaResultSuccess,
};

use crate::kvm::ask;
use crate::partition::{Partition, lock};
use crate::result::Result;
use crate::vp::Vp;

const PAGE: u64 = 4096;

/// `struct kvm_translation`.
#[repr(C)]
struct Translation {
    linear: u64,
    physical: u64,
    valid: u8,
    writable: u8,
    user: u8,
    pad: [u8; 5],
}

/// Where a linear address leads; `None`: to no page.
pub fn linear(vp: &Vp, address: u64) -> Result<Option<u64>> {
    let mut walk = Translation { linear: address, physical: 0, valid: 0, writable: 0, user: 0, pad: [0; 5] };
    // SAFETY: the structure is the request's.
    unsafe { vp.fd.exchange(ask::TRANSLATE, &mut walk) }?;
    Ok((walk.valid != 0).then_some(walk.physical))
}

/// The answer of WHvTranslateGva.
pub fn gva(vp: &Vp, address: u64) -> Result<(WHV_TRANSLATE_GVA_RESULT_CODE, u64)> {
    let _seat = vp.sit()?;
    Ok(match linear(vp, address)? {
        Some(physical) => (WHvTranslateGvaResultSuccess, physical),
        None => (WHvTranslateGvaResultPageNotPresent, 0),
    })
}

/// Copies guest memory from a linear address, up to the first page that is not there; how many bytes that were.
pub fn copy(partition: &Partition, vp: &Vp, address: u64, into: &mut [u8]) -> usize {
    let mut done = 0;
    while done < into.len() {
        let from = address.wrapping_add(done as u64);
        let Ok(Some(physical)) = linear(vp, from) else { break };
        let count = ((PAGE - from % PAGE) as usize).min(into.len() - done);
        let read = lock(&partition.memory).read(physical, &mut into[done..done + count]);
        done += read;
        if read < count {
            break;
        }
    }
    done
}
