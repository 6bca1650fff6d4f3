//! What the guest sees through a window, over an area that writes down what is shown in it.

use super::*;
use crate::dax::tests::{Page, noted};
use crate::virtio::fs::fuse::mapping::SetUpMapping;
use crate::virtio::fs::host::Access;
use crate::virtio::fs::server::mapping::SMALLEST;

const RANGE: u64 = 2 << 20;
const ALL: u64 = !init::NO_OPENDIR_SUPPORT;

fn greet(world: &World) -> Vec<u8> {
    let init = Operation::Init(Init { major: 7, minor: 39, max_readahead: 1 << 17, flags: ALL });
    let Answer::Payload(payload) = world.ask(0, &init) else { panic!("a greeting") };
    payload.bytes().to_vec()
}

fn set_up(at: u64, len: u64, offset: u64, writable: bool) -> Operation<'static> {
    Operation::SetUpMapping(SetUpMapping { offset, len, at, writable })
}

/// `flags` of the `fuse_attr` with which an entry is answered.
fn flags(world: &World, folder: u64, entry: &str) -> u32 {
    let Answer::Payload(payload) = world.ask(folder, &Operation::Lookup { name: name(entry) }) else {
        panic!("{entry} is not found")
    };
    u32::from_le_bytes(payload.bytes()[124..128].try_into().unwrap())
}

#[test]
fn d2_without_a_window_nothing_is_offered_and_nothing_mapped() {
    let world = world();
    fs::write(world.path("large"), vec![1; SMALLEST as usize]).unwrap();
    let answer = greet(&world);
    let offered = u32::from_le_bytes(answer[12..16].try_into().unwrap());
    assert_eq!((offered & init::MAP_ALIGNMENT as u32, answer[30]), (0, 0));
    let folder = world.look_up(ROOT, "rw");
    assert_eq!(flags(&world, folder, "large"), 0);
    let file = world.look_up(folder, "large");
    assert_eq!(world.fails(file, &set_up(0, RANGE, 0, false)), Errno::NOSYS);
}

#[test]
fn d2_large_files_are_seen_through_the_window_and_others_are_not() {
    let world = world();
    world.server.use_window(noted().0);
    let answer = greet(&world);
    let both = [
        u32::from_le_bytes(answer[12..16].try_into().unwrap()),
        u32::from_le_bytes(answer[32..36].try_into().unwrap()),
    ];
    assert_eq!(both.map(|half| half != 0), [true, true]);
    assert!(both[0] & init::MAP_ALIGNMENT as u32 != 0 && both[1] & (init::HAS_INODE_DAX >> 32) as u32 != 0);
    assert_eq!(1u64 << answer[30], crate::dax::PAGE);
    fs::write(world.path("large"), vec![1; SMALLEST as usize]).unwrap();
    fs::write(world.path("small"), vec![1; SMALLEST as usize - 1]).unwrap();
    fs::create_dir(world.path("folder")).unwrap();
    let folder = world.look_up(ROOT, "rw");
    assert_eq!(["large", "small", "folder"].map(|entry| flags(&world, folder, entry)), [2, 0, 0]);
    if crate::sys::allocated(&fs::File::open(world.path("large")).unwrap()).is_some() {
        let sparse = fs::File::create(world.path("sparse")).unwrap();
        sparse.set_len(64 * SMALLEST).unwrap();
        assert_eq!(flags(&world, folder, "sparse"), 0, "where it has holes there may be no room");
    }
}

#[test]
fn d2_what_is_mapped_is_what_was_asked_for_and_never_more_than_the_share_allows() {
    let world = world();
    let (window, pages) = noted();
    world.server.use_window(Arc::clone(&window));
    greet(&world);
    fs::write(world.path("large"), vec![1; 3 * SMALLEST as usize]).unwrap();
    let [rw, ro] = ["rw", "ro"].map(|share| world.look_up(ROOT, share));
    let [file, looked] = [rw, ro].map(|folder| world.look_up(folder, "large"));
    let held = world.server.hold(file).unwrap();
    let open = world.server.host().open(&held, Access { read: true, ..Access::default() }).unwrap();
    if world.server.host().mappable(open).is_none() {
        // This system has no way to map it.
        assert_eq!(world.fails(file, &set_up(0, RANGE, 0, false)), Errno::NODEV);
        return;
    }
    assert!(matches!(world.ask(file, &set_up(0, RANGE, RANGE, true)), Answer::Payload(_)));
    assert!(matches!(world.ask(looked, &set_up(RANGE, RANGE, 0, false)), Answer::Payload(_)));
    let shown = |page: usize| pages.lock().unwrap()[page];
    assert_eq!(shown(0), Page::File { node: file, offset: RANGE, writable: true });
    assert_eq!(shown(512), Page::File { node: looked, offset: 0, writable: false });
    assert_eq!(world.fails(looked, &set_up(0, RANGE, 0, true)), Errno::ROFS);
    for (at, len, offset) in
        [(1, RANGE, 0), (0, 0, 0), (0, 3 * RANGE, 0), (RANGE, u64::MAX, 0), (0, RANGE, 1), (0, RANGE, 1 << 63)]
    {
        assert_eq!(world.fails(file, &set_up(at, len, offset, false)), Errno::INVAL, "{at:#x} {len:#x} {offset:#x}");
    }
    for node in [ROOT, rw, u64::MAX] {
        world.fails(node, &set_up(0, RANGE, 0, false));
    }
    assert_eq!(shown(0), Page::File { node: file, offset: RANGE, writable: true }, "what is refused changes nothing");
    world.ask(0, &Operation::Destroy);
    assert!(pages.lock().unwrap().iter().all(|page| *page == Page::Nothing));
    assert_eq!(window.mappings(), 0);
}

#[test]
fn d2_who_learns_by_another_name_that_a_cut_file_is_long_again_sees_it() {
    let world = world();
    let (window, pages) = noted();
    world.server.use_window(Arc::clone(&window));
    greet(&world);
    let large = vec![1; RANGE as usize];
    fs::write(world.path("large"), &large).unwrap();
    let [file, other] = ["rw", "ro"].map(|share| world.look_up(world.look_up(ROOT, share), "large"));
    if matches!(world.ask(file, &set_up(0, RANGE, 0, false)), Answer::Error(Errno::NODEV)) {
        return;
    }
    let shown = || pages.lock().unwrap()[511];
    let whole = Page::File { node: file, offset: RANGE - crate::dax::PAGE, writable: false };
    assert_eq!(shown(), whole);
    fs::File::options().write(true).open(world.path("large")).unwrap().set_len(1).unwrap();
    assert!(window.mend());
    assert_eq!(shown(), Page::Zero);
    fs::write(world.path("large"), &large).unwrap();
    assert!(matches!(world.ask(other, &Operation::GetAttr { handle: None }), Answer::Payload(_)));
    assert_eq!(shown(), whole);
}
