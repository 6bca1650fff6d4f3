//! What happens on the host, as it is told to the guest and repeated there.

use std::time::Duration;

use super::*;
use crate::virtio::fs::events::{At, Happening};

#[test]
fn only_the_agents_thread_repeats_what_is_armed_and_only_that() {
    let world = world();
    let folder = world.look_up(ROOT, "rw");
    fs::write(world.path("new"), "text").unwrap();
    let made = Happening::Made(At { folder, name: b"new".to_vec() }, Kind::File);
    assert!(world.server.arm(&made).is_some());
    world.server.herald(77);
    let make = |entry| Operation::MkNod { name: name(entry), mode: 0o100_600, device: 0 };
    assert_eq!(world.fails(folder, &make("new")), Errno::EXIST, "another thread");
    assert!(matches!(world.ask_as(77, folder, &Operation::Lookup { name: name("new") }), Answer::Error(Errno::NOENT)));
    assert!(matches!(world.ask_as(77, folder, &make("new")), Answer::Payload(_)));
    assert!(matches!(world.ask_as(77, folder, &make("other")), Answer::Error(Errno::IO)), "nothing else is done");
    assert!(!world.path("other").exists());
    let removed = Happening::Removed(At { folder, name: b"gone".to_vec() }, Kind::File);
    world.server.arm(&removed);
    assert!(matches!(world.ask_as(77, folder, &Operation::Unlink { name: name("gone") }), Answer::Payload(_)));
    world.server.disarm();
    // The host has slept, given up waiting, and somebody has made another one: the agent's late request must not remove it.
    fs::write(world.path("gone"), "another").unwrap();
    let late = Operation::Unlink { name: name("gone") };
    assert!(matches!(world.ask_as(77, folder, &late), Answer::Error(Errno::IO)));
    world.server.herald(0);
    assert!(matches!(world.ask_as(77, folder, &late), Answer::Error(Errno::IO)));
    assert_eq!(fs::read(world.path("gone")).unwrap(), b"another");
    assert_eq!(fs::read(world.path("new")).unwrap(), b"text", "nothing of it was touched");
}

#[test]
fn what_others_change_is_told_by_its_kind_and_what_the_guest_changes_is_not() {
    let world = world();
    let Some(mut happenings) = world.server.watch().unwrap() else {
        println!("skipped: this system reports no changes");
        return;
    };
    let mut next = || {
        let until = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            match happenings.next_now() {
                Some((happening, _)) => return happening,
                None if std::time::Instant::now() > until => panic!("nothing was told"),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    };
    let folder = world.look_up(ROOT, "rw");
    let at = |entry: &str| At { folder, name: entry.as_bytes().to_vec() };
    // The watch begins a moment after the guest has heard of the folder.
    let mut tries = (0..200).map(|number| format!("try-{number}"));
    let begun = loop {
        let entry = tries.next().expect("the watch begins");
        fs::create_dir(world.path(&entry)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        if world.server.watch.get().unwrap().is_watched(folder) {
            break entry;
        }
    };
    let last = format!("{begun}-last");
    fs::create_dir(world.path(&last)).unwrap();
    while next() != Happening::Made(at(&last), Kind::Folder) {}

    fs::write(world.path("file"), "text").unwrap();
    assert_eq!(next(), Happening::Made(at("file"), Kind::File));
    assert_eq!(next(), Happening::Content(at("file")));
    fs::rename(world.path("file"), world.path("other")).unwrap();
    assert_eq!(next(), Happening::Renamed(at("file"), at("other")));
    // Out of sight it is gone.
    fs::rename(world.path("other"), world.place.path().join("outside")).unwrap();
    assert_eq!(next(), Happening::Removed(at("other"), Kind::File));
    fs::rename(world.place.path().join("outside"), world.path("other")).unwrap();
    assert_eq!(next(), Happening::Made(at("other"), Kind::File));

    let own = Operation::MkNod { name: name("own"), mode: 0o100_644, device: 0 };
    world.ask(folder, &own);
    let rename = Operation::Rename { name: name("own"), new_folder: folder, new_name: name("mine"), flags: 0 };
    world.ask(folder, &rename);
    world.ask(folder, &Operation::Unlink { name: name("mine") });
    fs::remove_file(world.path("other")).unwrap();
    assert_eq!(next(), Happening::Removed(at("other"), Kind::File), "nothing of the guest's own before it");
}

/// An editor writes another file and gives it the old one's name at once, so that the guest never hears of it under the first.
#[test]
fn a_renaming_of_what_the_guest_never_knew_is_one_to_its_kernel() {
    let world = world();
    let folder = world.look_up(ROOT, "rw");
    world.server.herald(77);
    let at = |entry: &str| At { folder, name: entry.as_bytes().to_vec() };
    let ask = |entry| world.ask_as(77, folder, &Operation::Lookup { name: name(entry) });
    // One that is new, one whose old file the guest knows, and one that it has asked for and may have forgotten again.
    fs::write(world.path("known"), "old").unwrap();
    let mut known = world.look_up(folder, "known");
    for (target, first) in [("new", false), ("known", false), ("known", true)] {
        fs::write(world.path(".saved"), target).unwrap();
        fs::rename(world.path(".saved"), world.path(target)).unwrap();
        if first {
            world.look_up(folder, target);
        }
        assert!(world.server.arm(&Happening::Renamed(at(".saved"), at(target))).is_some());
        let Answer::Payload(moved) = ask(".saved") else { panic!("what moved is told under its old name") };
        let moved = u64::from_le_bytes(moved.bytes()[..8].try_into().unwrap());
        match ask(target) {
            Answer::Error(error) => assert_eq!(error, Errno::NOENT),
            Answer::Payload(before) => {
                let before = u64::from_le_bytes(before.bytes()[..8].try_into().unwrap());
                assert!(before != moved, "{target}: the kernel would take both names for one");
                assert_eq!(before, known, "what the guest had by this name last");
            }
            other => panic!("{other:?}"),
        }
        let new_name = name(target);
        let rename = Operation::Rename { name: name(".saved"), new_folder: folder, new_name, flags: 0 };
        assert!(matches!(world.ask_as(77, folder, &rename), Answer::Payload(_)));
        world.server.disarm();
        if target == "known" {
            known = moved;
        }
    }
}

#[test]
fn what_was_renamed_is_not_at_its_new_place_before_the_agent_has_renamed_it() {
    let world = world();
    let folder = world.look_up(ROOT, "rw");
    let renamed = |from: &str, to: &str| {
        let at = |entry: &str| At { folder, name: entry.as_bytes().to_vec() };
        Happening::Renamed(at(from), at(to))
    };
    world.server.herald(77);
    fs::write(world.path("file"), "text").unwrap();
    let file = world.look_up(folder, "file");
    fs::rename(world.path("file"), world.path("other")).unwrap();
    // Somebody in the guest is faster: to its kernel both are names of this file now.
    assert_eq!(world.look_up(folder, "other"), file);
    assert!(world.server.arm(&renamed("file", "other")).is_some());
    let look_up = |entry| world.ask_as(77, folder, &Operation::Lookup { name: name(entry) });
    assert!(matches!(look_up("other"), Answer::Error(Errno::NOENT)));
    let Answer::Payload(payload) = look_up("file") else { panic!("what was renamed is found under its old name") };
    assert_eq!(payload.bytes()[..8], file.to_le_bytes());
    world.server.disarm();

    fs::write(world.path("replaced"), "text").unwrap();
    let replaced = world.look_up(folder, "replaced");
    fs::rename(world.path("other"), world.path("replaced")).unwrap();
    assert!(world.server.arm(&renamed("other", "replaced")).is_some());
    let Answer::Payload(payload) = look_up("replaced") else { panic!("what was there is there to be replaced") };
    assert_eq!(payload.bytes()[..8], replaced.to_le_bytes());
}

/// A folder that is gone is to go in the guest by its own happening, so that who watches it hears of it and of its entries.
#[test]
fn much_at_once_is_looked_at_first_and_what_is_gone_is_there_for_that() {
    let world = world();
    let folder = world.look_up(ROOT, "rw");
    world.server.herald(77);
    fs::create_dir_all(world.path("sub/within")).unwrap();
    fs::create_dir(world.path("stays")).unwrap();
    fs::write(world.path("stays/text"), "text").unwrap();
    let (sub, stays) = (world.look_up(folder, "sub"), world.look_up(folder, "stays"));
    let (within, text) = (world.look_up(sub, "within"), world.look_up(stays, "text"));
    // Somebody is in both.
    for held in [sub, within] {
        assert!(matches!(world.ask(held, &Operation::GetAttr { handle: None }), Answer::Payload(_)));
    }
    fs::remove_dir_all(world.path("sub")).unwrap();
    let at = |folder, entry: &str| At { folder, name: entry.as_bytes().to_vec() };
    let mut happenings: Vec<_> =
        (0..14).map(|number| Happening::Removed(at(within, &number.to_string()), Kind::File)).collect();
    happenings.push(Happening::Content(at(stays, "text")));
    happenings.push(Happening::Content(at(stays, "never-seen")));
    let all: Vec<&Happening> = happenings.iter().collect();
    assert!(world.server.outdated(&all[..15]).is_empty(), "so few are told at once");
    let outdated = |folder: &str, entries: &[&str]| lighter_protocol::Outdated {
        folder: folder.to_owned(),
        entries: entries.iter().copied().map(str::to_owned).collect(),
    };
    let folders = vec![outdated("rw/sub/within", &[]), outdated("rw/stays", &["text"])];
    assert_eq!(world.server.outdated(&all), [lighter_protocol::Raise::Outdated { folders }]);

    let shown = |answer, at| match answer {
        Answer::Payload(payload) => u64::from_le_bytes(payload.bytes()[at..at + 8].try_into().unwrap()),
        other => panic!("{other:?}"),
    };
    let node = |answer| shown(answer, 0);
    let look_up = |folder, entry| world.ask_as(77, folder, &Operation::Lookup { name: name(entry) });
    let get_attr = |node| world.ask_as(77, node, &Operation::GetAttr { handle: None });
    // Of an entry, and of attributes: mode and links, of which there is one at least.
    let mode = |answer, start: usize| shown(answer, start + 60);
    world.server.arm_outdated();
    assert_eq!(node(look_up(folder, "sub")), sub);
    assert_eq!(node(look_up(sub, "within")), within);
    // Some systems find nothing any more of what is removed, whoever has it.
    let is_held = matches!(world.ask(sub, &Operation::GetAttr { handle: None }), Answer::Payload(_));
    if is_held {
        assert_eq!(mode(look_up(folder, "sub"), 40), mode(get_attr(sub), 16), "as it was, not as nobody's");
        assert_eq!(mode(get_attr(within), 16) >> 32, 1, "with no link left it would be removed by being looked at");
    }
    assert_eq!(node(look_up(folder, "stays")), stays);
    assert_eq!(node(look_up(stays, "text")), text);
    assert_eq!(node(look_up(ROOT, "rw")), folder);
    assert_eq!(mode(look_up(ROOT, "rw"), 40), mode(world.ask(folder, &Operation::GetAttr { handle: None }), 16));
    assert_eq!(node(world.ask(folder, &Operation::Lookup { name: name("sub") })), 0, "to anybody else it is gone");
    let refused = world.ask_as(77, folder, &Operation::RmDir { name: name("stays") });
    assert!(matches!(refused, Answer::Error(Errno::IO)), "nothing is done");
    world.server.disarm();
    assert_eq!(node(look_up(folder, "sub")), 0);
    // The same on the way to one that is told.
    world.server.arm(&Happening::Removed(at(within, "file"), Kind::File));
    assert_eq!(mode(look_up(ROOT, "rw"), 40), mode(world.ask(folder, &Operation::GetAttr { handle: None }), 16));
    assert_eq!(node(look_up(folder, "sub")), sub);
    assert!(!is_held || mode(get_attr(within), 16) >> 32 == 1);
}
