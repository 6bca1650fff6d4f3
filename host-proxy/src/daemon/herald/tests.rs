//! What the agent is told, and in which order.

use std::fs;
use std::path::PathBuf;

use lighter_vmm::virtio::fs::fuse::request::{Header, Init, Operation};
use lighter_vmm::virtio::fs::host::Kind;
use lighter_vmm::virtio::fs::{Answer, Exchange, Limits, Name};
use tokio::io::DuplexStream;

use super::*;

fn settle(all: Vec<Happening>) -> Vec<Happening> {
    settled(all.into_iter().map(|happening| (happening, ())).collect()).into_iter().map(|(all, ())| all).collect()
}

#[test]
fn content_written_in_pieces_is_told_of_once_but_not_across_another_file_of_that_name() {
    let at = |name: &str| At { folder: 1, name: name.into() };
    let (content, other) = (Happening::Content(at("a")), Happening::Content(at("b")));
    let replaced = Happening::Renamed(at("new"), at("a"));
    let told = settle(vec![
        content.clone(),
        content.clone(),
        other.clone(),
        content.clone(),
        replaced.clone(),
        content.clone(),
        content.clone(),
    ]);
    assert_eq!(told, [other, content.clone(), replaced, content]);
    let made = Happening::Made(at("a"), Kind::File);
    assert_eq!(settle(vec![made.clone(), made.clone()]).len(), 2, "each is one");
}

/// A shared folder with two folders that the guest knows, of which everything is reported.
struct World {
    place: tempfile::TempDir,
    server: Arc<Server<NativeFs>>,
    happenings: Happenings,
}

const ROOT: u64 = 1;
const FILES: usize = 20;

impl World {
    /// `None` if this system reports no changes.
    fn new() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let server = Arc::new(Server::new(NativeFs::default(), Limits { held: 64, open: 32 }));
        let name = |text: &'static str| Name::new(text.as_bytes()).unwrap();
        server.share(name("share"), place.path(), true).unwrap();
        let ask = |node, operation| {
            let header = Header { len: 0, opcode: 0, unique: 1, node, uid: 0, gid: 0, pid: 5 };
            match server.serve(&header, &operation, &Exchange { content: &[], room: &[] }) {
                Answer::Payload(payload) => u64::from_le_bytes(payload.bytes()[..8].try_into().unwrap()),
                other => panic!("{operation:?}: {other:?}"),
            }
        };
        ask(0, Operation::Init(Init { major: 7, minor: 39, max_readahead: 1 << 17, flags: 0 }));
        let Some(mut happenings) = server.watch().unwrap() else {
            println!("skipped: this system reports no changes");
            return None;
        };
        let share = ask(ROOT, Operation::Lookup { name: name("share") });
        for name in ["one", "other"] {
            let path = place.path().join(name);
            fs::create_dir(&path).unwrap();
            (0..FILES).for_each(|number| fs::write(path.join(number.to_string()), "text").unwrap());
            let folder = ask(share, Operation::Lookup { name: Name::new(name.as_bytes()).unwrap() });
            // The watch begins a moment after the guest has heard of the folder.
            let is_told = |try_| {
                fs::create_dir(path.join(format!("try-{try_}"))).unwrap();
                std::thread::sleep(Duration::from_millis(20));
                let told = std::iter::from_fn(|| happenings.next_now());
                told.filter(|(told, _)| matches!(told, Happening::Made(at, _) if at.folder == folder)).count() > 0
            };
            assert!((0..200).any(is_told), "the watch of {name} begins");
        }
        quiet(&mut happenings);
        Some(Self { place, server, happenings })
    }

    fn file(&self, folder: &str, number: usize) -> PathBuf {
        self.place.path().join(folder).join(number.to_string())
    }

    /// All files are gone, and all of that waits to be told.
    fn remove_all(&self) {
        for number in 0..FILES {
            fs::remove_file(self.file("one", number)).unwrap();
            fs::remove_file(self.file("other", number)).unwrap();
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Reads on until nothing more comes.
fn quiet(happenings: &mut Happenings) {
    loop {
        std::thread::sleep(Duration::from_millis(200));
        if std::iter::from_fn(|| happenings.next_now()).count() == 0 {
            return;
        }
    }
}

async fn told(agent: &mut DuplexStream) -> Raise {
    timely(frames::read(agent)).await.expect("something is told")
}

async fn done(agent: &mut DuplexStream) {
    frames::write(agent, &Raised { errno: None }).await.unwrap();
}

/// What a whole agent is told until it has heard of all removed files; whether it was to look at both folders before.
async fn all_told(agent: &mut DuplexStream) -> (bool, usize) {
    let (mut folders, mut removed) = (HashSet::new(), 0);
    while removed < 2 * FILES {
        match told(agent).await {
            Raise::Outdated { folders: outdated } if removed == 0 => {
                folders.extend(outdated.into_iter().map(|outdated| outdated.folder));
            }
            Raise::Removed { at, .. } => {
                removed += 1;
                assert!(at.folder == "share/one" || at.folder == "share/other", "{at:?}");
            }
            other => panic!("{other:?}"),
        }
        done(agent).await;
    }
    (folders.len() == 2, removed)
}

#[tokio::test]
async fn much_at_once_is_looked_at_before_any_of_it_is_told() {
    let Some(mut world) = World::new() else { return };
    world.remove_all();
    let (ours, mut agent) = tokio::io::duplex(1 << 16);
    let mut ours: BoxedStream = Box::new(ours);
    let mut rest = Rest::new();
    let outcome = tokio::select! {
        ended = tell_all(&mut ours, &world.server, &mut world.happenings, &mut rest) => panic!("{ended:?}"),
        outcome = all_told(&mut agent) => outcome,
    };
    assert_eq!(outcome, (true, 2 * FILES));
}

/// To look again is worth a try, and no more.
#[tokio::test]
async fn f8_an_agent_that_hangs_up_when_it_is_to_look_has_the_next_one_told_all_the_same() {
    let Some(mut world) = World::new() else { return };
    world.remove_all();
    let mut rest = Rest::new();
    let (ours, mut agent) = tokio::io::duplex(1 << 16);
    let mut ours: BoxedStream = Box::new(ours);
    let hang_up = async move {
        assert!(matches!(told(&mut agent).await, Raise::Outdated { .. }));
        drop(agent);
        pending::<()>().await;
    };
    tokio::select! {
        ended = tell_all(&mut ours, &world.server, &mut world.happenings, &mut rest) => drop(ended.unwrap_err()),
        () = hang_up => {}
    }
    assert_eq!(rest.len(), 2 * FILES, "nothing is lost");
    let (ours, mut agent) = tokio::io::duplex(1 << 16);
    let mut ours: BoxedStream = Box::new(ours);
    let outcome = tokio::select! {
        ended = tell_all(&mut ours, &world.server, &mut world.happenings, &mut rest) => panic!("{ended:?}"),
        outcome = all_told(&mut agent) => outcome,
    };
    assert_eq!(outcome, (false, 2 * FILES), "the second one is not asked to look again");
}
