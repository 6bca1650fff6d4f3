//! The server over this system's own backend, asked as a kernel asks, and as none would.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::sys::NativeFs;
use crate::virtio::fs::fuse::numbers::open;
use crate::virtio::fs::fuse::request::Transfer;
use crate::virtio::fs::fuse::set_attr::{SetAttr, fattr};
use crate::virtio::fs::host::Kind;
use crate::virtio::fs::nodes::ROOT;

mod events;
mod lifetimes;
mod mapping;

struct World {
    /// Before the folder: where an open handle keeps a folder from going, removing that would never end.
    server: Arc<Server<NativeFs>>,
    place: tempfile::TempDir,
}

const LIMITS: Limits = Limits { held: 64, open: 32 };

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

/// A server with a folder shared as `rw`, and the same as `ro`, greeted by a kernel that opens folders before it lists them.
fn world() -> World {
    greeted(!init::NO_OPENDIR_SUPPORT)
}

/// The same, greeted with these flags.
fn greeted(flags: u64) -> World {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("shared")).unwrap();
    let server = Arc::new(Server::new(NativeFs::default(), LIMITS));
    server.share(name("rw"), &place.path().join("shared"), true).unwrap();
    server.share(name("ro"), &place.path().join("shared"), false).unwrap();
    let world = World { place, server };
    let init = Operation::Init(Init { major: 7, minor: 39, max_readahead: 1 << 17, flags });
    assert!(matches!(world.ask(0, &init), Answer::Payload(_)));
    world
}

impl World {
    fn path(&self, entry: &str) -> PathBuf {
        self.place.path().join("shared").join(entry)
    }

    fn ask_as(&self, pid: u32, node: u64, operation: &Operation) -> Answer {
        let header = Header { len: 0, opcode: 0, unique: 1, node, uid: 0, gid: 0, pid };
        let mut room = vec![0; 4096];
        let room = [VolatileSlice::from(&mut room[..])];
        let mut content = *b"content";
        let content = [VolatileSlice::from(&mut content[..])];
        self.server.serve(&header, operation, &Exchange { content: &content, room: &room })
    }

    fn ask(&self, node: u64, operation: &Operation) -> Answer {
        self.ask_as(4, node, operation)
    }

    fn fails(&self, node: u64, operation: &Operation) -> Errno {
        match self.ask(node, operation) {
            Answer::Error(error) => error,
            other => panic!("{operation:?} went well: {other:?}"),
        }
    }

    /// The first number of a payload: a node id, or a handle.
    fn number(&self, node: u64, operation: &Operation) -> u64 {
        let Answer::Payload(payload) = self.ask(node, operation) else { panic!("{operation:?} failed") };
        u64::from_le_bytes(payload.bytes()[..8].try_into().unwrap())
    }

    fn look_up(&self, folder: u64, entry: &str) -> u64 {
        self.number(folder, &Operation::Lookup { name: name(entry) })
    }
}

fn transfer(handle: u64, size: u32) -> Transfer {
    Transfer { handle, offset: 0, size, drop_set_id: false }
}

#[test]
fn f1_nothing_is_served_before_a_greeting_and_a_second_one_forgets_all() {
    let server = Server::new(NativeFs::default(), LIMITS);
    let header = Header { len: 0, opcode: 0, unique: 1, node: ROOT, uid: 0, gid: 0, pid: 4 };
    let exchange = Exchange { content: &[], room: &[] };
    for operation in [Operation::StatFs, Operation::OpenDir, Operation::Lookup { name: name("rw") }] {
        assert!(matches!(server.serve(&header, &operation, &exchange), Answer::Error(Errno::IO)));
    }
    assert!(matches!(server.serve(&header, &Operation::Forget { count: 1 }, &exchange), Answer::None));
    for minor in [0, 30] {
        let old = Operation::Init(Init { major: 7, minor, max_readahead: 0, flags: 0 });
        assert!(matches!(server.serve(&header, &old, &exchange), Answer::Error(Errno::INVAL)));
    }

    let world = world();
    let folder = world.look_up(ROOT, "rw");
    world.number(folder, &Operation::OpenDir);
    let again = Operation::Init(Init { major: 7, minor: 999, max_readahead: 0, flags: u64::MAX });
    assert!(matches!(world.ask(0, &again), Answer::Payload(_)));
    assert_eq!(world.server.counts(), [0, 0, 0, 0]);
    assert_eq!(world.fails(folder, &Operation::GetAttr { handle: None }), Errno::STALE);
}

#[test]
fn f4_a_handle_that_was_never_given_or_is_released_opens_nothing() {
    let world = world();
    fs::write(world.path("file"), "text").unwrap();
    let folder = world.look_up(ROOT, "rw");
    let file = world.look_up(folder, "file");
    let handle = world.number(file, &Operation::Open { flags: 2, drop_set_id: false });
    assert!(matches!(world.ask(file, &Operation::Read(transfer(handle, 100))), Answer::Read(4)));
    world.ask(file, &Operation::Release { handle });
    for handle in [handle, 0, handle + 1, u64::MAX] {
        for operation in [
            Operation::Read(transfer(handle, 1)),
            Operation::Write(transfer(handle, 1)),
            Operation::Flush { handle },
            Operation::FSync { handle, data_only: false },
            Operation::Release { handle },
            Operation::ReadDir(transfer(handle, 4096)),
            Operation::ReleaseDir { handle },
            Operation::FAllocate { handle, offset: 0, len: 1, mode: 0 },
            Operation::LSeek { handle, offset: 0, whence: 4 },
        ] {
            assert_eq!(world.fails(file, &operation), Errno::BADF, "{operation:?}");
        }
    }
}

#[test]
fn closing_is_told_only_where_it_may_say_something() {
    let world = world();
    fs::write(world.path("file"), "text").unwrap();
    let folder = world.look_up(ROOT, "rw");
    let file = world.look_up(folder, "file");
    for (flags, silent) in [(0, Some(true)), (1, None), (2, None), (0o1001, None)] {
        let Answer::Payload(payload) = world.ask(file, &Operation::Open { flags, drop_set_id: false }) else {
            panic!("it can be opened")
        };
        let [handle, leave] = [0, 8].map(|at| u64::from_le_bytes(payload.bytes()[at..at + 8].try_into().unwrap()));
        let silent = silent.unwrap_or_else(|| {
            let open = world.server.files.get(handle).unwrap();
            world.server.host().closes_silently(&open)
        });
        assert_eq!(leave & u64::from(open::NOFLUSH) != 0, silent, "{flags:o}");
        assert!(
            matches!(world.ask(file, &Operation::Flush { handle }), Answer::Payload(_)),
            "whoever tells it all the same"
        );
    }
}

#[test]
fn f7_what_is_open_is_known_after_the_host_took_its_name_away() {
    let world = world();
    let folder = world.look_up(ROOT, "rw");
    // Made by the guest, so that nothing but the open file is held of it.
    let create = Operation::Create { name: name("file"), flags: 2, mode: 0o640, drop_set_id: false };
    let file = world.number(folder, &create);
    let open = world.server.files.on(file).unwrap();
    if world.server.host().hold_open(&open).is_none() {
        println!("skipped: this system has no way from an open file to what it is");
        return;
    }
    fs::write(world.path("other"), "other").unwrap();
    fs::rename(world.path("other"), world.path("file")).unwrap();
    assert!(matches!(world.ask(file, &Operation::GetAttr { handle: None }), Answer::Payload(_)));
    // What has its name now is another one.
    assert_ne!(world.look_up(folder, "file"), file);
}

#[test]
fn f5_offsets_and_lengths_that_cannot_be_are_refused() {
    let world = world();
    fs::write(world.path("file"), "text").unwrap();
    let folder = world.look_up(ROOT, "rw");
    let file = world.look_up(folder, "file");
    let handle = world.number(file, &Operation::Open { flags: 2, drop_set_id: false });
    for offset in [1 << 63, u64::MAX] {
        assert_eq!(world.fails(file, &Operation::Read(Transfer { offset, ..transfer(handle, 1) })), Errno::INVAL);
        assert_eq!(world.fails(file, &Operation::Write(Transfer { offset, ..transfer(handle, 1) })), Errno::INVAL);
        let beyond = Operation::FAllocate { handle, offset, len: 1, mode: 0 };
        assert_eq!(world.fails(file, &beyond), Errno::FBIG);
    }
    for size in [8, (1 << 20) + 1, u32::MAX] {
        assert_eq!(world.fails(file, &Operation::Write(transfer(handle, size))), Errno::INVAL, "there are 7 bytes");
    }
    assert_eq!(world.fails(file, &Operation::Read(transfer(handle, 4097))), Errno::INVAL, "there is room for 4096");
    assert_eq!(world.fails(file, &Operation::LSeek { handle, offset: 0, whence: 9 }), Errno::INVAL);
    assert_eq!(fs::read(world.path("file")).unwrap(), b"text");
}

#[test]
fn f13_no_request_writes_through_a_share_that_is_read_only() {
    let world = world();
    fs::write(world.path("file"), "text").unwrap();
    fs::create_dir(world.path("sub")).unwrap();
    let folder = world.look_up(ROOT, "ro");
    let file = world.look_up(folder, "file");
    let set = |valid| SetAttr {
        valid,
        handle: 0,
        size: 0,
        accessed: 0,
        modified: 0,
        accessed_nanos: 0,
        modified_nanos: 0,
        mode: 0,
        uid: 0,
        gid: 0,
    };
    let of_folder = [
        Operation::MkDir { name: name("new"), mode: 0o755 },
        Operation::MkNod { name: name("new"), mode: 0o100_644, device: 0 },
        Operation::SymLink { name: name("new"), target: b"x" },
        Operation::Unlink { name: name("file") },
        Operation::RmDir { name: name("sub") },
        Operation::Rename { name: name("file"), new_folder: folder, new_name: name("new"), flags: 0 },
        Operation::Link { node: file, name: name("new") },
        Operation::Create { name: name("new"), flags: 0o102, mode: 0o644, drop_set_id: false },
        Operation::Create { name: name("file"), flags: 0o100, mode: 0o644, drop_set_id: false },
        Operation::TmpFile { flags: 2, mode: 0o600 },
    ];
    let of_file = [
        Operation::Open { flags: 1, drop_set_id: false },
        Operation::Open { flags: 2, drop_set_id: false },
        Operation::Open { flags: 0o1000, drop_set_id: false },
        Operation::SetXAttr { name: b"user.x", value: b"y", flags: 0 },
        Operation::RemoveXAttr { name: b"user.x" },
    ];
    let all = of_folder.iter().map(|operation| (folder, operation)).chain(of_file.iter().map(|it| (file, it)));
    for (node, operation) in all {
        assert_eq!(world.fails(node, operation), Errno::ROFS, "{operation:?}");
    }
    for valid in [fattr::MODE, fattr::UID, fattr::GID, fattr::SIZE, fattr::ATIME, fattr::MTIME_NOW] {
        assert_eq!(world.fails(file, &Operation::SetAttr(set(valid))), Errno::ROFS, "{valid}");
    }
    // Nor from the writable share into it, nor out of it.
    let writable = world.look_up(ROOT, "rw");
    let across = Operation::Rename { name: name("file"), new_folder: folder, new_name: name("new"), flags: 0 };
    assert_eq!(world.fails(writable, &across), Errno::ROFS);
    assert_eq!(world.fails(writable, &Operation::Link { node: file, name: name("new") }), Errno::ROFS);
    let mut left: Vec<_> = fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["file", "sub"]);
    assert_eq!(fs::read(world.path("file")).unwrap(), b"text");
}

#[test]
fn f13_the_root_is_nobodys_to_change() {
    let world = world();
    assert_eq!(world.fails(ROOT, &Operation::MkDir { name: name("new"), mode: 0o755 }), Errno::ROFS);
    assert_eq!(world.fails(ROOT, &Operation::RmDir { name: name("rw") }), Errno::ROFS);
    let rename = Operation::Rename { name: name("rw"), new_folder: ROOT, new_name: name("x"), flags: 0 };
    assert_eq!(world.fails(ROOT, &rename), Errno::ROFS);
    assert_eq!(world.fails(ROOT, &Operation::Lookup { name: name("other") }), Errno::NOENT);
}

#[test]
fn h10_a_hidden_folder_is_neither_found_nor_listed_nor_renamed() {
    let world = world();
    fs::create_dir(world.path("hidden")).unwrap();
    fs::write(world.path("hidden/data.img"), "disk").unwrap();
    fs::write(world.path("seen"), "").unwrap();
    world.server.hide(&world.path("hidden")).unwrap();
    let folder = world.look_up(ROOT, "rw");
    assert_eq!(world.look_up(folder, "hidden"), 0, "there is none");
    let handle = world.number(folder, &Operation::OpenDir);
    for operation in [Operation::ReadDir(transfer(handle, 4096)), Operation::ReadDirPlus(transfer(handle, 4096))] {
        let Answer::Payload(list) = world.ask(folder, &operation) else { panic!("a list") };
        let has = |wanted: &[u8]| list.bytes().windows(wanted.len()).any(|window| window == wanted);
        assert!(has(b"seen") && !has(b"hidden"), "{operation:?}");
    }
    let rename = Operation::Rename { name: name("hidden"), new_folder: folder, new_name: name("x"), flags: 0 };
    assert_eq!(world.fails(folder, &rename), Errno::NOENT);
    let exchange = Operation::Rename { name: name("seen"), new_folder: folder, new_name: name("hidden"), flags: 2 };
    assert_eq!(world.fails(folder, &exchange), Errno::NOENT);
    assert_ne!(world.fails(folder, &Operation::Unlink { name: name("hidden") }), Errno::NOSYS);
    assert!(world.path("hidden/data.img").is_file() && world.path("seen").is_file());
}

#[test]
fn f10_ten_thousand_entries_are_listed_once_each_and_held_by_few_descriptors() {
    let world = world();
    for number in 0..10_000 {
        fs::write(world.path(&format!("entry-{number}")), "").unwrap();
    }
    let folder = world.look_up(ROOT, "rw");
    let handle = world.number(folder, &Operation::OpenDir);
    let names = all_names(&world, folder, handle);
    assert_eq!(names.len(), 10_002);
    let [known, held, files, folders] = world.server.counts();
    assert_eq!((known, files, folders), (10_001, 0, 1));
    assert!(held <= LIMITS.held);
    // Each of them can be held, one after the other.
    for number in (0..10_000).step_by(97) {
        let node = world.look_up(folder, &format!("entry-{number}"));
        world.number(node, &Operation::GetAttr { handle: None });
    }
    assert!(world.server.counts()[1] <= LIMITS.held);
}

/// Lists a folder to its end; fails if anything is listed twice.
fn all_names(world: &World, folder: u64, handle: u64) -> std::collections::HashSet<String> {
    let (mut offset, mut names) = (0, std::collections::HashSet::new());
    loop {
        let Answer::Payload(list) =
            world.ask(folder, &Operation::ReadDirPlus(Transfer { offset, ..transfer(handle, 4096) }))
        else {
            panic!("a list")
        };
        let mut bytes = list.bytes();
        if bytes.is_empty() {
            break;
        }
        while !bytes.is_empty() {
            let (node, entry) = (&bytes[..8], &bytes[128..]);
            offset = u64::from_le_bytes(entry[8..16].try_into().unwrap());
            let len = u32::from_le_bytes(entry[16..20].try_into().unwrap()) as usize;
            let listed = String::from_utf8(entry[24..24 + len].to_vec()).unwrap();
            assert_eq!(node == [0; 8], listed.starts_with("."), "{listed}");
            assert!(names.insert(listed), "listed twice");
            bytes = &bytes[128 + (24 + len).next_multiple_of(8)..];
        }
    }
    names
}

#[test]
fn a_kernel_that_need_not_open_folders_lists_them_by_their_node() {
    let world = greeted(u64::MAX);
    for number in 0..1000 {
        fs::write(world.path(&format!("entry-{number}")), "").unwrap();
    }
    let folder = world.look_up(ROOT, "rw");
    assert_eq!(world.fails(folder, &Operation::OpenDir), Errno::NOSYS);
    assert_eq!(all_names(&world, folder, 0).len(), 1002);
    assert!(
        matches!(world.ask(ROOT, &Operation::ReadDir(transfer(0, 512))), Answer::Payload(list) if !list.bytes().is_empty())
    );
    // More lists at once than are kept open, and in turns.
    let first = |world: &World| {
        let Answer::Payload(list) = world.ask(folder, &Operation::ReadDir(transfer(0, 512))) else { panic!("a list") };
        list.bytes().to_vec()
    };
    let begin = first(&world);
    (0..100).for_each(|_| assert_eq!(first(&world), begin));
    assert_eq!(all_names(&world, folder, 0).len(), 1002);
    assert!(matches!(world.ask(folder, &Operation::FSyncDir { handle: 0 }), Answer::Payload(_)));
    assert_eq!(world.server.counts()[3], 0);
}
