//! How long the guest may believe what it is told.

use std::time::{Duration, Instant};

use super::*;
use crate::virtio::fs::events::{At, Happening, Happenings};

const SHORT: u64 = 1;
const LONG: u64 = 3;

/// A world with somebody in the guest who is told of all changes; `None` where the host does not report them dependably. With
/// the share's folder, which has a `file` and a folder `sub` in it.
fn told_world() -> Option<(World, Happenings, u64)> {
    let world = world();
    fs::write(world.path("file"), "text").unwrap();
    fs::create_dir(world.path("sub")).unwrap();
    let folder = world.look_up(ROOT, "rw");
    assert_eq!(entry(&world, folder, b"file"), [SHORT, SHORT], "nobody is told");
    let happenings = world.server.watch().unwrap();
    assert_eq!(entry(&world, folder, b"file"), [SHORT, SHORT], "nobody listens");
    world.server.herald(77);
    if happenings.is_some() {
        settled(&world, folder);
    }
    let covered = entry(&world, folder, b"file")[0] == LONG;
    assert_eq!(covered, world.server.watch.get().is_some_and(|watch| watch.covers(folder)));
    if !covered {
        println!("skipped: this system does not report all changes here");
        return None;
    }
    happenings.map(|happenings| (world, happenings, folder))
}

/// Its watch has begun, or none does. The thread of watches begins one as soon as the guest hears of a folder, and who looks into the
/// folder in that very moment does not wait for it and is told for a short time.
fn settled(world: &World, folder: u64) {
    let until = Instant::now() + Duration::from_secs(20);
    while !world.server.watch.get().unwrap().is_settled(folder) {
        assert!(Instant::now() < until, "the watch of a known folder begins");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Seconds for which a name and what it stands for may be believed.
fn entry(world: &World, folder: u64, entry: &[u8]) -> [u64; 2] {
    let look_up = Operation::Lookup { name: Name::new(entry).unwrap() };
    let Answer::Payload(payload) = world.ask(folder, &look_up) else { panic!("{entry:?} is not found") };
    [16, 24].map(|at| u64::from_le_bytes(payload.bytes()[at..at + 8].try_into().unwrap()))
}

/// Seconds for which attributes may be believed.
fn attributes(world: &World, node: u64) -> u64 {
    world.number(node, &Operation::GetAttr { handle: None })
}

#[test]
fn what_is_reported_is_believed_for_long_while_somebody_listens() {
    let Some((world, happenings, folder)) = told_world() else { return };
    assert_eq!(entry(&world, folder, b"file"), [LONG, LONG]);
    assert_eq!(entry(&world, folder, b"absent"), [LONG, LONG]);
    let file = world.look_up(folder, "file");
    assert_eq!(attributes(&world, file), LONG);
    world.server.herald(0);
    assert_eq!(entry(&world, folder, b"file"), [SHORT, SHORT]);
    assert_eq!((entry(&world, folder, b"absent"), attributes(&world, file)), ([SHORT, SHORT], SHORT));
    world.server.herald(78);
    assert_eq!(entry(&world, folder, b"file"), [LONG, LONG]);
    drop(happenings);
    assert_eq!(entry(&world, folder, b"file"), [SHORT, SHORT], "nobody takes what happens");
}

#[test]
fn what_no_report_tells_is_believed_for_a_short_time() {
    let Some((world, _happenings, folder)) = told_world() else { return };
    assert_eq!(attributes(&world, folder), SHORT, "a share's root is in no folder of the guest's");
    assert_eq!(entry(&world, folder, b"\xff"), [SHORT, SHORT], "no message could carry it");
    fs::hard_link(world.path("file"), world.path("sub/other")).unwrap();
    assert_eq!(entry(&world, folder, b"file"), [LONG, SHORT], "by its other name it changes without a report");
    fs::remove_file(world.path("sub/other")).unwrap();
    assert_eq!(entry(&world, folder, b"file"), [LONG, LONG]);
    // A folder has to be watched itself, which it is as soon as the guest knows it.
    let sub = world.look_up(folder, "sub");
    settled(&world, sub);
    assert_eq!(entry(&world, sub, b"absent"), [LONG, LONG]);
    assert_eq!((attributes(&world, sub), entry(&world, folder, b"sub")), (LONG, [LONG, LONG]));
}

#[test]
fn a_folder_in_two_shares_is_reported_as_one_of_them() {
    let Some((world, _happenings, folder)) = told_world() else { return };
    let other = world.look_up(ROOT, "ro");
    settled(&world, other);
    assert_eq!(entry(&world, other, b"file"), [LONG, LONG]);
    assert_eq!(entry(&world, folder, b"file"), [SHORT, SHORT]);
    let forget = Operation::Forget { count: 100 };
    assert!(matches!(world.ask(other, &forget), Answer::None));
    assert_eq!(entry(&world, folder, b"file"), [SHORT, SHORT]);
}

#[test]
fn what_the_guest_changed_just_now_is_believed_for_a_short_time() {
    let Some((world, _happenings, folder)) = told_world() else { return };
    let (file, sub) = (world.look_up(folder, "file"), world.look_up(folder, "sub"));
    settled(&world, sub);
    assert_eq!(entry(&world, sub, b"none"), [LONG, LONG]);
    let handle = world.number(file, &Operation::Open { flags: 2, drop_set_id: false });
    world.ask(file, &Operation::Write(transfer(handle, 7)));
    world.ask(sub, &Operation::MkNod { name: name("own"), mode: 0o100_644, device: 0 });
    world.server.watch.get().unwrap().own.stand_still();
    assert_eq!((entry(&world, folder, b"file"), attributes(&world, file)), ([LONG, SHORT], SHORT));
    assert_eq!(entry(&world, sub, b"own"), [SHORT, SHORT]);
    assert_eq!((entry(&world, folder, b"sub"), attributes(&world, sub)), ([LONG, SHORT], SHORT), "its times changed");
    assert_eq!(entry(&world, sub, b"none"), [LONG, LONG], "but not this entry of it");
}

#[test]
fn when_reports_are_lost_or_wait_nothing_is_believed_for_long() {
    let Some((world, _happenings, folder)) = told_world() else { return };
    let trust = Arc::clone(&world.server.watch.get().unwrap().trust);
    let waits = trust.one_waits(Instant::now().checked_sub(Duration::from_secs(5)).unwrap());
    assert_eq!(entry(&world, folder, b"file"), [SHORT, SHORT]);
    drop(waits);
    assert_eq!(entry(&world, folder, b"file"), [LONG, LONG]);
    trust.lost(Instant::now() + Duration::from_secs(3600));
    assert_eq!(entry(&world, folder, b"file"), [SHORT, SHORT]);
}

#[test]
fn what_lost_its_name_is_believed_for_a_short_time() {
    let Some((world, _happenings, folder)) = told_world() else { return };
    let file = world.look_up(folder, "file");
    assert_eq!(attributes(&world, file), LONG);
    fs::rename(world.path("file"), world.place.path().join("outside")).unwrap();
    world.server.arm(&Happening::Removed(At { folder, name: b"file".to_vec() }, Kind::File));
    world.server.disarm();
    assert_eq!(attributes(&world, file), SHORT, "nobody watches the folder that it lies in now");
    fs::rename(world.place.path().join("outside"), world.path("file")).unwrap();
    assert_eq!(world.look_up(folder, "file"), file);
    assert_eq!(attributes(&world, file), LONG);
}

#[test]
fn a_name_that_the_guest_gave_and_the_host_took_away_at_once_is_told() {
    let Some((world, mut happenings, folder)) = told_world() else { return };
    let until = Instant::now() + Duration::from_secs(20);
    let wait = || {
        assert!(Instant::now() < until, "it takes too long");
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut next = || {
        loop {
            match happenings.next_now() {
                // On a busy computer the guest's own renaming may be read so late that it is taken for somebody else's.
                Some((Happening::Renamed(..), _)) => {}
                Some((happening, _)) => return happening,
                None => wait(),
            }
        }
    };
    let rename = |from: &str, to: &str| {
        let rename = Operation::Rename { name: name(from), new_folder: folder, new_name: name(to), flags: 0 };
        assert!(matches!(world.ask(folder, &rename), Answer::Payload(_)), "{from}");
    };
    // What is left as it is is not told, after somebody has looked.
    rename("file", "mine");
    let watch = world.server.watch.get().unwrap();
    while watch.doubts.next(Instant::now()).is_some() {
        wait();
    }
    let at = |entry: &str| At { folder, name: entry.as_bytes().to_vec() };
    fs::create_dir(world.path("last")).unwrap();
    assert_eq!(next(), Happening::Made(at("last"), Kind::Folder));
    rename("mine", "taken");
    fs::remove_file(world.path("taken")).unwrap();
    assert_eq!(next(), Happening::Removed(at("taken"), Kind::File));
}
