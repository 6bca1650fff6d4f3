//! Segments, tables, control and debug registers, XCR0 and the local APIC's page. Used by `registers`.

use windows_sys::Win32::System::Hypervisor::*;

use super::{low, number, zero};
use crate::kvm::{self, Segment, Sregs, Table, ask};
use crate::result::Result;
use crate::segment;
use crate::vp::Vp;

enum Part<'a> {
    Segment(&'a mut Segment),
    Table(&'a mut Table),
    Word(&'a mut u64),
}

#[expect(non_upper_case_globals, reason = "Windows' names")]
fn part(sregs: &mut Sregs, name: i32) -> Part<'_> {
    match name {
        WHvX64RegisterEs => Part::Segment(&mut sregs.es),
        WHvX64RegisterCs => Part::Segment(&mut sregs.cs),
        WHvX64RegisterSs => Part::Segment(&mut sregs.ss),
        WHvX64RegisterDs => Part::Segment(&mut sregs.ds),
        WHvX64RegisterFs => Part::Segment(&mut sregs.fs),
        WHvX64RegisterGs => Part::Segment(&mut sregs.gs),
        WHvX64RegisterLdtr => Part::Segment(&mut sregs.ldt),
        WHvX64RegisterTr => Part::Segment(&mut sregs.tr),
        WHvX64RegisterIdtr => Part::Table(&mut sregs.idt),
        WHvX64RegisterGdtr => Part::Table(&mut sregs.gdt),
        WHvX64RegisterCr0 => Part::Word(&mut sregs.cr0),
        WHvX64RegisterCr2 => Part::Word(&mut sregs.cr2),
        WHvX64RegisterCr3 => Part::Word(&mut sregs.cr3),
        WHvX64RegisterCr4 => Part::Word(&mut sregs.cr4),
        WHvX64RegisterCr8 => Part::Word(&mut sregs.cr8),
        WHvX64RegisterEfer => Part::Word(&mut sregs.efer),
        _ => Part::Word(&mut sregs.apic_base),
    }
}

/// Reads by name.
pub fn get(sregs: &Sregs, name: i32) -> WHV_REGISTER_VALUE {
    let mut copy = *sregs;
    let mut value = zero();
    match part(&mut copy, name) {
        Part::Segment(segment) => value.Segment = segment::to_whv(segment),
        Part::Table(table) => {
            value.Table = WHV_X64_TABLE_REGISTER { Pad: [0; 3], Limit: table.limit, Base: table.base }
        }
        Part::Word(word) => value = number(*word),
    }
    value
}

/// Writes by name.
pub fn set(sregs: &mut Sregs, name: i32, value: &WHV_REGISTER_VALUE) {
    match part(sregs, name) {
        // SAFETY: any bits are a segment.
        Part::Segment(segment) => *segment = segment::to_kvm(unsafe { &value.Segment }),
        Part::Table(table) => {
            // SAFETY: any bits are a table register.
            let given = unsafe { value.Table };
            (table.base, table.limit) = (given.Base, given.Limit);
        }
        Part::Word(word) => *word = low(value),
    }
}

/// `struct kvm_debugregs`: DR0 to DR3, DR6, DR7, flags.
type Debug = [u64; 16];

/// All debug registers.
pub fn debug(vp: &Vp) -> Result<Debug> {
    // SAFETY: the structure is the request's.
    Ok(unsafe { kvm::get(&vp.fd, ask::GET_DEBUGREGS) }?)
}

/// Writes one.
pub fn set_debug(vp: &Vp, at: usize, value: u64) -> Result<()> {
    let mut all = debug(vp)?;
    all[at] = value;
    // SAFETY: the structure is the request's.
    unsafe { vp.fd.exchange(ask::SET_DEBUGREGS, &mut all) }?;
    Ok(())
}

/// `struct kvm_xcrs`: a count, flags, sixteen pairs of number and value, padding; as words, of which the first holds the
/// count and the third the value of the first pair.
type Xcrs = [u64; 49];

fn xcrs(vp: &Vp) -> Result<Xcrs> {
    let mut all: Xcrs = [0; 49];
    // SAFETY: the structure is the request's.
    unsafe { vp.fd.exchange(ask::GET_XCRS, &mut all) }?;
    Ok(all)
}

/// Reads XCR0, the only one of its kind.
pub fn xcr0(vp: &Vp) -> Result<u64> {
    Ok(xcrs(vp)?[2])
}

/// Writes XCR0.
pub fn set_xcr0(vp: &Vp, value: u64) -> Result<()> {
    let mut all = xcrs(vp)?;
    (all[0], all[1], all[2]) = (1, 0, value);
    // SAFETY: the structure is the request's.
    unsafe { vp.fd.exchange(ask::SET_XCRS, &mut all) }?;
    Ok(())
}

/// `struct kvm_lapic_state`.
fn apic_page(vp: &Vp) -> Result<[u8; 1024]> {
    let mut page = [0; 1024];
    // SAFETY: the structure is the request's.
    unsafe { vp.fd.exchange(ask::GET_LAPIC, &mut page) }?;
    Ok(page)
}

/// Reads 32 bits of the local APIC's page.
pub fn apic(vp: &Vp, offset: usize) -> Result<u32> {
    Ok(apic_page(vp)?[offset..offset + 4].try_into().map_or(0, u32::from_le_bytes))
}

/// Writes 32 bits of the local APIC's page.
pub fn set_apic(vp: &Vp, offset: usize, value: u32) -> Result<()> {
    let mut page = apic_page(vp)?;
    page[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    // SAFETY: the structure is the request's.
    unsafe { vp.fd.exchange(ask::SET_LAPIC, &mut page) }?;
    Ok(())
}
