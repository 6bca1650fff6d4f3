//! Tests of the list of shares and of what paths mean, on disks of their own with the paths of every system, and on this one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::translate::NotShared;
use super::*;
use crate::settings::mounts::checked;

/// Folders by their paths; a link has its goal.
#[derive(Default)]
struct Drawn {
    kind: Option<HostKind>,
    folders: BTreeMap<String, Option<String>>,
}

impl Drawn {
    fn new(kind: HostKind, folders: &[&str], links: &[(&str, &str)]) -> Drawn {
        let folders = folders.iter().map(|path| ((*path).to_owned(), None));
        let links = links.iter().map(|(path, goal)| ((*path).to_owned(), Some((*goal).to_owned())));
        Drawn { kind: Some(kind), folders: folders.chain(links).collect() }
    }

    fn follow(&self, path: &str, depth: u32) -> Option<String> {
        if self.folders.get(path).is_some_and(Option::is_none) {
            return Some(path.to_owned());
        }
        let kind = self.kind?;
        let spelled = kind.read(path).ok()?;
        let mut top = Some(spelled.clone());
        while let Some(prefix) = top {
            if let Some(Some(goal)) = self.folders.get(&prefix.to_string())
                && depth < 8
            {
                let behind = &spelled.names()[prefix.names().len()..];
                return self.follow(&kind.read(goal).ok()?.join(behind).to_string(), depth + 1);
            }
            top = prefix.parent();
        }
        None
    }
}

impl Disk for Drawn {
    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        let found = path.to_str().and_then(|path| self.follow(path, 0));
        found.map(PathBuf::from).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_folder(&self, path: &Path) -> bool {
        !path.to_str().is_some_and(|path| path.ends_with(".txt"))
    }

    fn is_ours_to_list(&self, _: &Path) -> bool {
        true
    }
}

struct World {
    disk: Drawn,
    shares: Shares,
}

impl World {
    fn of(disk: Drawn, mounts: Option<&[&str]>) -> Result<World, String> {
        let kind = disk.kind.unwrap();
        let (home, ours) = match kind {
            HostKind::Unix => ("/home/me", "/home/me/.lighter"),
            HostKind::Windows => ("C:\\Users\\me", "C:\\Users\\me\\.lighter"),
        };
        let mounts = mounts.map(|mounts| {
            let mounts: Vec<String> = mounts.iter().map(|mount| (*mount).to_owned()).collect();
            checked(&mounts, kind, Some(home)).unwrap()
        });
        let shares = Shares::made(kind, mounts.as_deref(), Some(home), Path::new(ours), &disk);
        Ok(World { shares: shares.map_err(|error| crate::daemon::fault::chain(&error))?, disk })
    }

    fn means(&self, path: &str) -> Result<Option<String>, NotShared> {
        self.shares.translate(path, &["/home/me/.lighter/default/docker.sock".to_owned()], &self.disk)
    }

    fn at(&self, path: &str) -> String {
        self.means(path).unwrap_or_else(|error| panic!("{path}: {error}")).unwrap_or_else(|| panic!("{path}"))
    }

    fn places(&self) -> Vec<(&str, bool)> {
        self.shares.iter().map(|share| (share.at(), share.writable())).collect()
    }
}

const HOME: [&str; 4] = ["/home/me", "/home/me/src", "/home/me/.lighter", "/srv"];

fn unix(mounts: Option<&[&str]>) -> World {
    World::of(Drawn::new(HostKind::Unix, &HOME, &[]), mounts).unwrap()
}

#[test]
fn h9_the_home_folder_is_shared_unless_the_user_says_otherwise() {
    assert_eq!(unix(None).places(), [("/home/me", true)]);
    assert_eq!(unix(Some(&[])).places(), []);
    assert_eq!(unix(Some(&["/srv"])).places(), [("/srv", false)]);
    // One that cannot be is not missed.
    assert_eq!(World::of(Drawn::new(HostKind::Unix, &[], &[]), None).unwrap().places(), []);
    let root = Shares::made(HostKind::Unix, None, Some("/"), Path::new("/.lighter"), &Drawn::default()).unwrap();
    assert_eq!(root.iter().count(), 0);
    let ours = Drawn::new(HostKind::Unix, &["/home/me"], &[]);
    let ours = Shares::made(HostKind::Unix, None, Some("/home/me"), Path::new("/home/me"), &ours).unwrap();
    assert_eq!(ours.iter().count(), 0);
}

#[test]
fn h9_paths_in_a_share_are_where_it_is() {
    let world = unix(None);
    for path in ["/home/me", "/home/me/src", "/home/me/src/not/yet/there", "//home/me/./x/../src/", "/srv/../home/me"] {
        assert!(world.at(path).starts_with("/home/me"), "{path}");
    }
    assert_eq!(world.at("//home/me/./x/../src/"), "/home/me/src");
    assert_eq!(world.at("/home/me/a:b"), "/home/me/a:b");
    for path in ["src", "./src", "~", "~/src", "", "C:\\src"] {
        assert_eq!(world.means(path), Ok(None), "{path}");
    }
}

#[test]
fn h9_what_is_not_shared_is_refused_by_name_with_a_cure() {
    let world = unix(None);
    for path in ["/home", "/home/me2", "/home/me/../you", "/srv", "/etc", "/tmp/x", "/var/log", "/nowhere", "/c/x"] {
        let error = world.means(path).unwrap_err().to_string();
        for words in
            [&format!("{path:?} is on this computer"), "shares /home/me", "lighter start --mount", "config.toml"]
        {
            assert!(error.contains(words), "{error}");
        }
    }
    let nothing = unix(Some(&[])).means("/home/me").unwrap_err().to_string();
    assert!(nothing.contains("shares no folder with containers"), "{nothing}");
    assert_eq!(Shares::none().translate("src", &[], &ThisComputer), Ok(None));
}

#[test]
fn h9_paths_of_the_machine_itself_stay_as_they_are() {
    for world in [unix(None), unix(Some(&[]))] {
        for path in [
            "/",
            "/proc",
            "/proc/1/root/home/me",
            "/sys/fs/cgroup",
            "/dev/shm",
            "/run/user/1000/x",
            "/var/run",
            "/var/lib/docker/containers",
            "/var/lib/containerd",
            "/lib/modules",
            "/var/run/docker.sock",
            "/run/docker.sock",
            "/run/host-services/ssh-auth.sock",
        ] {
            assert_eq!(world.at(path), path);
        }
        assert_eq!(world.at("//var/run/docker.sock"), "/var/run/docker.sock");
        assert!(world.means("/var/lib/dockers").is_err());
        assert!(world.means("/proc/../etc").is_err());
    }
    // A share in one of them is the user's word, but for the socket that every image expects.
    let disk = Drawn::new(HostKind::Unix, &["/run/media/me/stick", "/run"], &[]);
    let world = World::of(disk, Some(&["/run/media/me/stick"])).unwrap();
    assert_eq!(world.at("/run/media/me/stick/a"), "/mnt/host/run/media/me/stick/a");
    assert_eq!(world.at("/run/media"), "/run/media");
    let world = World::of(Drawn::new(HostKind::Unix, &["/run"], &[]), Some(&["/run"])).unwrap();
    assert_eq!(world.at("/run/docker.sock"), "/run/docker.sock");
    assert_eq!(world.at("/run/x"), "/mnt/host/run/x");
}

#[test]
fn h10_lighters_own_files_are_refused_but_for_the_engines_socket() {
    let links = [("/home/me/link", "/home/me/.lighter"), ("/srv/deep", "/home/me/.lighter/default")];
    let folders = [&HOME[..], &["/home/me/.lighter/default"]].concat();
    let world = World::of(Drawn::new(HostKind::Unix, &folders, &links), Some(&["~:w", "/srv"])).unwrap();
    for path in [
        "/home/me/.lighter",
        "/home/me/.lighter/default/data.img",
        "/home/me/x/../.lighter/default",
        "/home/me/link",
        "/home/me/link/default/config.toml",
        "/srv/deep/control.sock",
    ] {
        assert_eq!(world.means(path), Err(NotShared::Private { path: path.to_owned() }), "{path}");
    }
    for path in ["/home/me/.lighter/default/docker.sock", "/home/me//.lighter/./default/docker.sock"] {
        assert_eq!(world.at(path), "/var/run/docker.sock");
    }
    assert_eq!(world.at("/home/me/.lighterfluid"), "/home/me/.lighterfluid");
    // It may be a link to a roomier disk.
    let moved =
        Drawn::new(HostKind::Unix, &["/home/me", "/big", "/big/lighter"], &[("/home/me/.lighter", "/big/lighter")]);
    let world = World::of(moved, Some(&["/big"])).unwrap();
    assert!(matches!(world.means("/big/lighter/default"), Err(NotShared::Private { .. })));
    for mount in ["/home/me/.lighter", "/home/me/.lighter/default:w"] {
        let disk = Drawn::new(HostKind::Unix, &["/home/me/.lighter", "/home/me/.lighter/default"], &[]);
        let error = World::of(disk, Some(&[mount])).err().unwrap();
        assert!(error.contains("holds lighter's own files") && error.contains("`mounts`"), "{error}");
    }
}

#[test]
fn h9_the_innermost_share_wins_and_comes_behind_those_around_it() {
    let world = unix(Some(&["~/src:w", "~"]));
    assert_eq!(world.places(), [("/home/me", false), ("/home/me/src", true)]);
    let names: Vec<&str> = world.shares.iter().map(Share::name).collect();
    assert_eq!(names, ["0", "1"]);
    assert_eq!(world.at("/home/me/src/a"), "/home/me/src/a");
    // Of those that are elsewhere, too.
    let disk = Drawn::new(HostKind::Unix, &["/home/me", "/data", "/data/x"], &[]);
    let world = World::of(disk, Some(&["/data/x:w", "/data", "~"])).unwrap();
    assert_eq!(world.places(), [("/home/me", false), ("/mnt/host/data", false), ("/mnt/host/data/x", true)]);
    assert_eq!(world.at("/data/x/y"), "/mnt/host/data/x/y");
}

#[test]
fn h9_links_lead_into_shares_and_never_out_of_them() {
    let links = [
        ("/home/me/in", "/home/me/src"),
        ("/home/me/other", "/srv"),
        ("/home/me/out", "/etc"),
        ("/home/me/sock", "/var/run/docker.sock"),
        ("/home/me/loop", "/home/me/loop"),
        ("/elsewhere", "/home/me/src"),
    ];
    let world = World::of(Drawn::new(HostKind::Unix, &[&HOME[..], &["/etc"]].concat(), &links), Some(&["~:w", "/srv"]));
    let world = world.unwrap();
    assert_eq!(world.at("/home/me/in/new"), "/home/me/src/new");
    assert_eq!(world.at("/home/me/other/x"), "/srv/x");
    assert_eq!(world.at("/elsewhere/x"), "/home/me/src/x");
    assert_eq!(world.at("/home/me/loop/x"), "/home/me/loop/x");
    // As dockerd tidies it, before any link is followed.
    assert_eq!(world.at("/home/me/out/../src"), "/home/me/src");
    let error = world.means("/home/me/out/passwd").unwrap_err().to_string();
    assert!(error.contains("\"/home/me/out/passwd\"") && error.contains("leads to \"/etc/passwd\""), "{error}");
}

#[test]
fn h9_a_folder_behind_a_link_is_known_by_both_names() {
    let links = [("/tmp", "/private/tmp"), ("/home/me/link", "/private/tmp")];
    let disk = || Drawn::new(HostKind::Unix, &["/private/tmp", "/home/me"], &links);
    let world = World::of(disk(), Some(&["/tmp:w"])).unwrap();
    assert_eq!(world.places(), [("/private/tmp", true)]);
    assert_eq!(world.at("/tmp/x"), "/private/tmp/x");
    assert_eq!(world.at("/private/tmp/x"), "/private/tmp/x");
    assert_eq!(world.at("/home/me/link/x"), "/private/tmp/x");
    // Two rights: the name decides.
    let world = World::of(disk(), Some(&["/tmp:w", "/private/tmp"])).unwrap();
    assert_eq!(world.places(), [("/private/tmp", false), ("/mnt/host/tmp", true)]);
    assert_eq!(world.at("/tmp/x"), "/mnt/host/tmp/x");
    assert_eq!(world.at("/private/tmp/x"), "/private/tmp/x");
}

#[test]
fn h9_windows_folders_are_found_by_every_spelling() {
    let folders = ["C:\\Users\\me", "C:\\Users\\me\\src", "D:\\", "E:\\x"];
    let links = [("C:\\USERS", "C:\\Users"), ("C:\\Users\\me\\out", "E:\\x")];
    let world = World::of(Drawn::new(HostKind::Windows, &folders, &links), Some(&["~:w", "D:\\"])).unwrap();
    assert_eq!(world.places(), [("/d", false), ("/c/Users/me", true)]);
    for path in [
        "C:\\Users\\me\\src",
        "c:\\users\\ME\\src",
        "C:/Users/me/src",
        "/c/Users/me/src",
        "//c/Users/me/src",
        "/mnt/c/Users/me/src",
        "/run/desktop/mnt/host/c/Users/me/src",
        "/host_mnt/c/Users/me/src",
        "\\\\?\\C:\\Users\\me\\src",
    ] {
        assert_eq!(world.at(path), "/c/Users/me/src", "{path}");
    }
    assert_eq!(world.at("d:\\X y\\Z"), "/d/X y/Z");
    assert_eq!(world.at("//var/run/docker.sock"), "/var/run/docker.sock");
    assert_eq!(world.at("/proc"), "/proc");
    for path in ["C:\\Windows", "C:\\Users\\me\\..\\you", "/c/", "C:\\Users\\me\\out\\y", "E:\\"] {
        assert!(matches!(world.means(path), Err(NotShared::Outside { .. })), "{path}");
    }
    for path in ["\\\\server\\share\\x", "\\\\wsl$\\Debian", "\\src", "/home/me", "//server/share"] {
        let error = world.means(path).unwrap_err();
        assert!(
            matches!(error, NotShared::NoDrive { .. }) && error.to_string().contains("no folder of a drive"),
            "{path}"
        );
    }
    for path in ["C:\\Users\\me\\.LIGHTER\\default", "/c/users/me/.lighter"] {
        assert!(matches!(world.means(path), Err(NotShared::Private { .. })), "{path}");
    }
}

#[test]
fn f12_folders_that_are_missing_files_or_not_ours_are_named_with_a_cure() {
    let error = World::of(Drawn::new(HostKind::Unix, &HOME, &[]), Some(&["/gone"])).err().unwrap();
    assert!(error.contains("/gone") && error.contains("make it, or take it out of `mounts`"), "{error}");
    let error = World::of(Drawn::new(HostKind::Unix, &["/a.txt"], &[]), Some(&["/a.txt"])).err().unwrap();
    assert!(error.contains("/a.txt is no folder"), "{error}");
}

#[test]
fn f12_names_of_every_kind_come_through() {
    let world = unix(None);
    for name in ["a b", "été", "日本語", "-x", "\"q\"", "a\\b", "a\nb", "...", "..a", &"x".repeat(300)] {
        let path = format!("/home/me/{name}");
        assert_eq!(world.at(&path), path);
    }
    let long = format!("/home/me{}", "/x".repeat(4000));
    assert_eq!(world.at(&long), long);
}

/// A real disk, with its links.
#[cfg(unix)]
#[test]
fn h9_this_computers_own_links_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for folder in ["shared/deep", "apart", "ours"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::os::unix::fs::symlink("../apart", root.join("shared/out")).unwrap();
    std::os::unix::fs::symlink("deep", root.join("shared/in")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("shared/dangling")).unwrap();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let mounts = checked(&[path("shared")], HostKind::Unix, None).unwrap();
    let shares = Shares::made(HostKind::Unix, Some(&mounts), None, &root.join("ours"), &ThisComputer).unwrap();
    let at = shares.iter().next().unwrap().at().to_owned();
    let means = |name: &str| shares.translate(&path(name), &[], &ThisComputer);
    assert_eq!(means("shared/in/x"), Ok(Some(format!("{at}/deep/x"))));
    assert_eq!(means("shared/dangling"), Ok(Some(format!("{at}/dangling"))));
    assert!(matches!(means("shared/out/x"), Err(NotShared::Outside { to: Some(_), .. })));
    assert!(matches!(means("apart"), Err(NotShared::Outside { to: None, .. })));
    assert!(matches!(means("ours/default"), Err(NotShared::Private { .. })));
}

/// Paths that know where the shares, the links and the way up are.
fn any_path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("home"),
        Just("me"),
        Just("src"),
        Just("out"),
        Just("in"),
        Just("srv"),
        Just(".."),
        Just("."),
        Just(""),
        Just(".lighter"),
        Just("etc"),
        Just("proc"),
        Just("run"),
        Just("c"),
        Just("Users"),
        Just("mnt"),
        Just("host"),
        Just("C:"),
        Just("é"),
    ];
    let separator = prop_oneof![4 => Just("/"), 1 => Just("\\")];
    proptest::collection::vec((separator, part), 0..12)
        .prop_map(|parts| parts.into_iter().map(|(separator, part)| format!("{separator}{part}")).collect())
}

/// A path in the guest that is tidy and within a share, or one of the machine's own.
fn is_allowed(world: &World, path: &str) -> bool {
    let tidy =
        path == "/" || path.starts_with('/') && path[1..].split('/').all(|name| !matches!(name, "" | "." | ".."));
    let within = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let machine =
        ["/proc", "/sys", "/dev", "/run", "/var/run", "/var/lib/docker", "/var/lib/containerd", "/lib/modules"];
    tidy && (path == "/" || world.shares.iter().any(|share| within(share.at())) || machine.iter().any(|at| within(at)))
}

proptest! {
    #[test]
    fn h9_no_path_leads_out_of_what_is_shared(path in prop_oneof![any_path(), any_path().prop_map(|path| format!("C:{path}")), "\\PC{0,24}"]) {
        let links = [("/home/me/out", "/etc"), ("/home/me/in", "/srv"), ("/c", "/home/me")];
        let unix = World::of(Drawn::new(HostKind::Unix, &HOME, &links), Some(&["~:w", "/srv"])).unwrap();
        let folders = ["C:\\Users\\me", "C:\\srv"];
        let links = [("C:\\Users\\me\\out", "C:\\etc"), ("C:\\Users\\me\\in", "C:\\srv")];
        let windows = World::of(Drawn::new(HostKind::Windows, &folders, &links), Some(&["~:w", "C:\\srv"])).unwrap();
        for world in [unix, windows] {
            if let Ok(Some(meant)) = world.means(&path) {
                prop_assert!(is_allowed(&world, &meant), "{} became {}", path, meant);
                let ours = ["/home/me/.lighter/", "/c/Users/me/.lighter/"];
                prop_assert!(!ours.iter().any(|ours| format!("{meant}/").starts_with(ours)), "{} became {}", path, meant);
            }
        }
    }
}
