//! Memory, rings and features that are refused, and those that only look odd (Q3).

use super::*;

#[test]
fn memory_that_could_shrink_is_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    let file = sealed_memory(LOW_END, SealFlags::GROW);
    rig.frontend.set_mem_table(&[region(0, LOW_END, USER_BASE, 0, &file)]).unwrap_err();
    rig.assert_refused("not sealed");
}

#[test]
fn memory_past_the_end_of_its_file_is_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    let file = sealed_memory(0x4000, SealFlags::SHRINK);
    rig.frontend.set_mem_table(&[region(0, 0x4000, USER_BASE, 0x1000, &file)]).unwrap_err();
    rig.assert_refused("Could not map the memory region at 0x0");
}

#[test]
fn overlapping_memory_is_refused() {
    let file = sealed_memory(0x8000, SealFlags::SHRINK);
    for (guest, user) in [(0x2000, USER_BASE + 0x10_0000), (0x10_0000, USER_BASE + 0x3000)] {
        let mut rig = Rig::new();
        rig.negotiate();
        let regions = [region(0, 0x4000, USER_BASE, 0, &file), region(guest, 0x4000, user, 0x4000, &file)];
        rig.frontend.set_mem_table(&regions).unwrap_err();
        rig.assert_refused("overlap");
    }
}

#[test]
fn regions_in_any_order_keep_their_files_and_addresses() {
    let files = [sealed_memory(0x2000, SealFlags::SHRINK), sealed_memory(0x3000, SealFlags::SHRINK)];
    rustix::io::pwrite(&files[0], b"high", 0x1000).unwrap();
    rustix::io::pwrite(&files[1], b"low!", 0x2000).unwrap();
    let message =
        |guest, size, user, offset| vhost::vhost_user::message::VhostUserMemoryRegion::new(guest, size, user, offset);
    let regions = [message(0x10_0000, 0x1000, USER_BASE, 0x1000), message(0x1000, 0x3000, USER_BASE + 0x9000, 0)];
    let table = memory_table::MemoryTable::map(&regions, files.map(std::fs::File::from).into()).unwrap();
    let text = |user| {
        use vm_memory::Bytes;
        let mut text = [0; 4];
        table.memory().read_slice(&mut text, GuestAddress(table.guest_address(user).unwrap())).unwrap();
        text
    };
    assert_eq!((&text(USER_BASE), &text(USER_BASE + 0xb000)), (b"high", b"low!"));
    assert_eq!(table.guest_address(USER_BASE + 0x1000), None);
    assert_eq!(table.guest_address(USER_BASE - 1), None);
}

#[test]
fn a_new_memory_table_under_a_running_device_is_refused() {
    let rig = Rig::running();
    rig.frontend.set_mem_table(&[region(0, LOW_END, USER_BASE, 0, &rig.memory_file)]).unwrap_err();
    rig.assert_refused("while the device is running");
}

#[test]
fn q3_ring_addresses_outside_the_memory_table_are_refused() {
    for wrong in [0, USER_BASE - 16, USER_BASE + LOW_END, u64::MAX - 15] {
        let mut rig = Rig::new();
        rig.negotiate();
        rig.share_memory();
        let addresses = VringConfigData { desc_table_addr: wrong, ..rig.addresses(0) };
        rig.frontend.set_vring_addr(0, &addresses).unwrap_err();
        rig.assert_refused("outside the memory table");
    }
}

#[test]
fn q3_a_ring_that_begins_inside_and_ends_outside_is_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.share_memory();
    rig.place(0, 0);
    rig.place(1, 0);
    let addresses = VringConfigData { used_ring_addr: USER_BASE + LOW_END - 16, ..rig.addresses(1) };
    rig.frontend.set_vring_addr(1, &addresses).unwrap();
    rig.frontend.set_vring_enable(0, true).unwrap();
    rig.frontend.set_vring_enable(1, true).unwrap_err();
    rig.assert_refused("queue 1");
}

#[test]
fn q3_a_ring_larger_than_1024_is_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.share_memory();
    rig.place(0, 0);
    rig.place(1, 0);
    rig.frontend.set_vring_num(1, 2048).unwrap();
    rig.frontend.set_vring_enable(0, true).unwrap();
    rig.frontend.set_vring_enable(1, true).unwrap_err();
    rig.assert_refused("queue 1");
}

#[test]
fn ring_addresses_before_the_memory_table_are_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.frontend.set_vring_addr(0, &rig.addresses(0)).unwrap_err();
    rig.assert_refused("before the memory table");
}

#[test]
fn kicks_before_set_up_start_nothing() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.frontend.set_vring_kick(0, &rig.kicks[0]).unwrap();
    rig.kicks[0].write(1).unwrap();
    rig.frontend.set_vring_enable(0, true).unwrap();
    assert_eq!(rig.seen.activations.load(Ordering::SeqCst), 0);
    let (ended, seen) = rig.close();
    ended.unwrap();
    assert_eq!(seen.resets.load(Ordering::SeqCst), 0);
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.frontend.set_features(FEATURES | 1 << 26).unwrap_err();
    rig.assert_refused("not offered");
}

#[test]
fn a_driver_without_virtio_1_is_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.frontend.set_features(FEATURES & !(1 << 32)).unwrap();
    rig.share_memory();
    rig.place(0, 0);
    rig.place(1, 0);
    rig.frontend.set_vring_enable(0, true).unwrap();
    rig.frontend.set_vring_enable(1, true).unwrap_err();
    rig.assert_refused("virtio 1.0");
}
