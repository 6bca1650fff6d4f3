//! A healthy computer as facts, for tests to spoil in one place, and the form that each check's own test has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::facts::*;
use super::{CHECKS, Level, examine};
use crate::context::socket::Holder;
use crate::control::{Phase, Status};

/// Our endpoint in these facts.
pub const OURS: &str = "unix:///h/.lighter/default/docker.sock";

impl Facts {
    /// A machine that runs, is used and has no fault.
    pub fn healthy() -> Facts {
        let versions = [("lighter", env!("CARGO_PKG_VERSION")), ("engine", "26.1.5"), ("image", "a1")];
        let versions: BTreeMap<String, String> = versions.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let mut image = versions.clone();
        image.insert("agent".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let status = Status {
            profile: "default".to_owned(),
            state: Phase::Running,
            reason: None,
            engine: Some("kvm".to_owned()),
            docker_host: OURS.to_owned(),
            cpus: Some(2),
            memory_bytes: Some(2 << 30),
            proxy: None,
            pid: Some(42),
            versions,
        };
        Facts {
            profile: ProfileFacts {
                name: "default".to_owned(),
                context: "lighter".to_owned(),
                docker_host: OURS.to_owned(),
                dir: PathBuf::from("/h/.lighter/default"),
                exists: true,
                file_system: Some("ext4".to_owned()),
                memory_bytes: Some(2 << 30),
                ..ProfileFacts::default()
            },
            machine: MachineFacts {
                status: Some(status),
                program_replaced: Some(false),
                daemons: vec![42],
                socket_exists: true,
                ping: Some(Ok(Ping { ahead: Some(0) })),
                ..MachineFacts::default()
            },
            tools: tools(),
            docker: DockerSettings {
                dir: PathBuf::from("/h/.docker"),
                current: "lighter".to_owned(),
                contexts: vec![
                    ("colima".to_owned(), "unix:///h/.colima/default/docker.sock".to_owned()),
                    ("lighter".to_owned(), OURS.to_owned()),
                ],
                ..DockerSettings::default()
            },
            ways: Ways {
                standard: "unix:///var/run/docker.sock".to_owned(),
                socket: Some((PathBuf::from("/var/run/docker.sock"), Holder::Us)),
                ..Ways::default()
            },
            host: host(image),
            world: WorldFacts { network: true, ..WorldFacts::default() },
            disk: DiskFacts {
                path: PathBuf::from("/h/.lighter/default/data.img"),
                limit: Some(60 << 30),
                allocated: Some(3 << 30),
                free: Some(100 << 30),
                guest: Some((59 << 30, 2 << 30)),
            },
            ..Facts::default()
        }
    }
}

fn tools() -> Tools {
    Tools {
        docker: Some(Program {
            path: PathBuf::from("/usr/bin/docker"),
            version: "Docker version 28.2.2, build e6534b4".to_owned(),
        }),
        compose: Plugin { found: Some(PathBuf::from("/p/docker-compose")), broken: vec![] },
        buildx: Plugin { found: Some(PathBuf::from("/p/docker-buildx")), broken: vec![] },
        packager: Some("apt-get".to_owned()),
        apt_offers: ["docker-cli", "docker-compose", "docker-buildx"].map(str::to_owned).into(),
        ..Tools::default()
    }
}

fn host(image: BTreeMap<String, String>) -> HostFacts {
    let engine = |name: &str| EngineFacts { name: name.to_owned(), unusable: None };
    HostFacts {
        os: "linux".to_owned(),
        engines: vec![engine("kvm"), engine("software")],
        memory: Some((16 << 30, 8 << 30)),
        open_files: Some(1 << 20),
        inotify: Some((65_536, 1024)),
        image: Some(Ok(image)),
        ..HostFacts::default()
    }
}

/// The daemon's own words in [`Facts::healthy`].
pub fn status(facts: &mut Facts) -> &mut Status {
    facts.machine.status.as_mut().expect("a healthy machine has one")
}

/// Demands that `spoil` makes the check `id` speak at `level`, with `words` in what it says, and that the check is silent
/// before.
pub fn assert_finds(id: &str, level: Level, spoil: impl Fn(&mut Facts), words: &[&str]) {
    let mut facts = Facts::healthy();
    let check =
        CHECKS.iter().flat_map(|group| group.iter()).find(|check| check.id == id).expect("there is such a check");
    assert_eq!((check.look)(&facts), None, "a healthy computer has no {id}");
    spoil(&mut facts);
    let findings = examine(&facts);
    let finding = findings.iter().find(|finding| finding.id == id);
    let finding = finding.unwrap_or_else(|| panic!("no {id} among {findings:#?}"));
    assert_eq!(finding.level, level, "{finding:?}");
    let text = format!("{} | {}", finding.cause, finding.cure);
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} are not all in {text}");
    assert!(!finding.cure.is_empty() && !text.contains('\n'), "{text:?}");
}

/// One test for each check: `name: "check", Level, how to spoil the facts, [words that must be said]`.
macro_rules! finds {
    ($($test:ident: $id:literal, $level:ident, $spoil:expr, $words:expr;)*) => {
        pub const TESTED: &[&str] = &[$($id),*];
        $(#[test]
        fn $test() {
            $crate::doctor::samples::assert_finds($id, $crate::doctor::Level::$level, $spoil, &$words);
        })*
    };
}
pub(crate) use finds;
