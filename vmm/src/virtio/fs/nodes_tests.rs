//! What the guest may do to the table of nodes: forget too often, rename in circles, know more than can be held.

use proptest::prelude::*;

use super::*;
use crate::virtio::fs::shares::Shares;

fn identity(inode: u64) -> Identity {
    Identity { device: 1, inode, birth: 7 }
}

fn name(bytes: &[u8]) -> Name<'_> {
    Name::new(bytes).unwrap()
}

fn share() -> Arc<Share<u64>> {
    let shares = Shares::default();
    shares.add(name(b"0"), 0, identity(1), true);
    shares.get(name(b"0")).unwrap()
}

/// Gets hold of a node as the server does, with nothing but numbers for what is held.
fn hold(nodes: &mut Nodes<u64>, id: u64) -> Result<Arc<u64>, Errno> {
    match nodes.way(id)? {
        Way::Here(held) => Ok(held),
        Way::Down(mut at, steps) => {
            for step in steps {
                at = nodes.hold(step.node, step.identity.inode);
            }
            Ok(at)
        }
    }
}

#[test]
fn f3_what_was_never_given_or_is_forgotten_is_stale() {
    let (mut nodes, share) = (Nodes::new(16), share());
    let root = nodes.found_share(&share, name(b"0"), identity(1));
    let file = nodes.found(root, name(b"file"), (identity(2), Kind::File), &share);
    assert_eq!(nodes.way(file + 1).err(), Some(Errno::STALE));
    assert_eq!(
        nodes.found(root, name(b"file"), (identity(2), Kind::File), &share),
        file,
        "the same object is the same node"
    );
    nodes.forget(file, 1);
    assert!(hold(&mut nodes, file).is_ok(), "told of twice, forgotten once");
    nodes.forget(file, u64::MAX);
    assert_eq!(nodes.way(file).err(), Some(Errno::STALE));
    nodes.forget(file, 1);
    nodes.forget(u64::MAX, 1);
    nodes.forget(ROOT, 1);
    assert_eq!(nodes.count(), (1, 1));
}

#[test]
fn f3_a_number_taken_again_by_another_object_is_another_node() {
    let (mut nodes, share) = (Nodes::new(16), share());
    let root = nodes.found_share(&share, name(b"0"), identity(1));
    let before = nodes.found(root, name(b"file"), (identity(2), Kind::File), &share);
    let after = nodes.found(root, name(b"file"), (Identity { birth: 8, ..identity(2) }, Kind::File), &share);
    assert_ne!(before, after);
}

#[test]
fn f10_a_hundred_thousand_lookups_hold_no_more_than_may_be_held() {
    let (mut nodes, share) = (Nodes::new(64), share());
    let root = nodes.found_share(&share, name(b"0"), identity(1));
    for inode in 0..100_000u64 {
        let file = nodes.found(root, name(format!("{inode}").as_bytes()), (identity(100 + inode), Kind::File), &share);
        hold(&mut nodes, file).unwrap();
        assert!(nodes.count().1 <= 64);
        nodes.forget(file, 1);
    }
    assert_eq!(nodes.count(), (1, 1));
    assert!(nodes.held.len() <= 2 * 64 + 65, "{} ids are waiting", nodes.held.len());
}

#[test]
fn f10_what_was_given_up_is_found_again_from_the_nearest_folder_that_is_held() {
    let (mut nodes, share) = (Nodes::new(16), share());
    let root = nodes.found_share(&share, name(b"0"), identity(1));
    let folder = nodes.found(root, name(b"folder"), (identity(2), Kind::Folder), &share);
    let file = nodes.found(folder, name(b"file"), (identity(3), Kind::File), &share);
    hold(&mut nodes, file).unwrap();
    for inode in 10..40 {
        let other = nodes.found(root, name(format!("{inode}").as_bytes()), (identity(inode), Kind::File), &share);
        hold(&mut nodes, other).unwrap();
    }
    let Way::Down(from, steps) = nodes.way(file).unwrap() else { panic!("it was used longest ago") };
    let names: Vec<_> = steps.iter().map(|step| step.name().bytes()).collect();
    assert_eq!((*from, names), (0, vec![&b"folder"[..], b"file"]));
    assert_eq!(hold(&mut nodes, file).as_deref(), Ok(&3));
}

#[test]
fn f6_a_folder_moved_below_itself_ends_no_walk() {
    let (mut nodes, share) = (Nodes::new(16), share());
    let root = nodes.found_share(&share, name(b"0"), identity(1));
    let above = nodes.found(root, name(b"above"), (identity(2), Kind::File), &share);
    let below = nodes.found(above, name(b"below"), (identity(3), Kind::File), &share);
    // Only a host that moves folders while the guest looks can make it seem so.
    nodes.found(below, name(b"above"), (identity(2), Kind::File), &share);
    nodes.renamed(identity(2), &share, above, name(b"x"));
    assert!(hold(&mut nodes, below).is_ok() && hold(&mut nodes, above).is_ok());
    for (node, count) in [(below, 1), (above, 2), (root, 1)] {
        nodes.forget(node, count);
    }
    assert_eq!(nodes.count(), (0, 0));
}

#[test]
fn f9_a_share_taken_away_leaves_nothing_to_reach() {
    let shares = Shares::<u64>::default();
    shares.add(name(b"0"), 0, identity(1), true);
    let share = shares.get(name(b"0")).unwrap();
    let mut nodes = Nodes::new(16);
    let root = nodes.found_share(&share, name(b"0"), identity(1));
    assert!(nodes.share(root).is_ok());
    shares.remove(name(b"0"));
    assert_eq!(nodes.share(root).err(), Some(Errno::STALE));
}

#[test]
fn f12_one_folder_shared_twice_is_two_nodes() {
    let shares = Shares::<u64>::default();
    shares.add(name(b"0"), 0, identity(1), true);
    shares.add(name(b"1"), 0, identity(1), false);
    let mut nodes = Nodes::new(16);
    let both = [&b"0"[..], b"1"].map(|known| {
        let share = shares.get(name(known)).unwrap();
        let root = nodes.found_share(&share, name(known), identity(1));
        nodes.found(root, name(b"file"), (identity(2), Kind::File), &share)
    });
    let writable = both.map(|node| nodes.share(node).unwrap().is_writable());
    assert_eq!(writable, [true, false]);
    let share = shares.get(name(b"1")).unwrap();
    assert_eq!(
        nodes.found(both[1], name(b"file"), (identity(2), Kind::File), &share),
        both[1],
        "also when asked again"
    );
}

#[test]
fn what_may_have_lost_its_name_has_none_until_it_is_found_by_one() {
    let (mut nodes, share) = (Nodes::new(16), share());
    let root = nodes.found_share(&share, name(b"0"), identity(1));
    let file = nodes.found(root, name(b"file"), (identity(2), Kind::File), &share);
    let named = |nodes: &Nodes<u64>, text: &[u8]| nodes.only_name(file) == Some((root, text.into(), Kind::File));
    assert!(named(&nodes, b"file"));
    assert_eq!(nodes.lost_name(root, b"other"), None);
    assert!(named(&nodes, b"file"));
    assert_eq!(nodes.lost_name(root, b"file"), Some(Kind::File));
    assert_eq!(nodes.only_name(file), None);
    nodes.found(root, name(b"file"), (identity(2), Kind::File), &share);
    assert!(named(&nodes, b"file"));
    nodes.pin(file, 2);
    assert_eq!(nodes.only_name(file), None, "it is held because its name is gone");
    nodes.renamed(identity(2), &share, root, name(b"again"));
    assert!(named(&nodes, b"again"));
}

#[test]
fn a_folder_below_a_name_that_is_no_text_cannot_be_told() {
    let (mut nodes, share) = (Nodes::new(16), share());
    let root = nodes.found_share(&share, name(b"0"), identity(1));
    let odd = nodes.found(root, name(b"\xff"), (identity(2), Kind::Folder), &share);
    let below = nodes.found(odd, name(b"below"), (identity(3), Kind::Folder), &share);
    assert_eq!([root, odd, below].map(|folder| nodes.tellable(folder)), [Some(identity(1)), None, None]);
    nodes.found(root, name(b"even"), (identity(2), Kind::Folder), &share);
    assert_eq!(nodes.tellable(below), Some(identity(3)));
    assert_eq!(nodes.tellable(below + 1), None);
}

#[test]
fn f3_no_number_comes_again_after_a_reset() {
    let (mut nodes, share) = (Nodes::new(16), share());
    nodes.note_folders();
    let root = nodes.found_share(&share, name(b"0"), identity(1));
    let mut nodes = nodes.anew();
    assert_eq!((nodes.count(), nodes.is_known(root)), ((0, 0), false));
    let again = nodes.found_share(&share, name(b"0"), identity(1));
    assert!(again > root);
    assert_eq!(nodes.folders(), (vec![again], vec![]), "they are noted still");
}

proptest! {
    #[test]
    fn f3_whatever_the_guest_does_the_counts_agree(
        steps in prop::collection::vec((0..5u8, 0..12u64, 0..12u64, 1..3u64), 1..300)
    ) {
        let (mut nodes, share) = (Nodes::new(16), share());
        let root = nodes.found_share(&share, name(b"0"), identity(1));
        for (what, one, two, count) in steps {
            let names = format!("{two}");
            // The server names a folder that it has just found among the known ones.
            let folder = if nodes.known.contains_key(&(root + one)) { root + one } else { root };
            match what {
                0 => _ = nodes.found(folder, name(names.as_bytes()), (identity(100 + two), Kind::File), &share),
                1 => nodes.forget(root + one, count),
                2 => _ = hold(&mut nodes, root + one),
                3 => {
                    if let Some(node) = nodes.doomed(identity(100 + two), &share) {
                        nodes.pin(node, 100 + two);
                    }
                }
                _ => nodes.renamed(identity(100 + two), &share, folder, name(names.as_bytes())),
            }
            let held = nodes.known.values().filter(|node| !matches!(node.held, Held::No)).count();
            let pinned = nodes.known.values().filter(|node| matches!(node.held, Held::Pinned(_))).count();
            prop_assert_eq!((nodes.holding, nodes.pinned), (held, pinned));
            prop_assert_eq!([nodes.by_identity.len(), nodes.places.len()], [nodes.known.len(); 2]);
            prop_assert!(held <= 16 + pinned);
            for (id, node) in &nodes.known {
                let children = nodes.known.values().filter(|child| child.parent == *id).count() as u64;
                prop_assert_eq!(node.children, children);
                prop_assert!(nodes.places.at(node.parent, &node.name).any(|other| other == *id));
            }
        }
    }
}
