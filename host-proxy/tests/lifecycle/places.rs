//! What must hold of the places where a profile is: homes that cannot be written, paths of every length and letter, and what a crash
//! or somebody else has left where the daemon wants its lock and its sockets.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use crate::lab::{Lab, can_mount, docker_is_here, ends_promptly, eventually, fails};

/// The longest path that a socket may have on Linux.
const LONGEST: usize = 107;

/// Runs what follows with the home mounted read-only, in mounts of its own that end with it.
const READ_ONLY: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-ec",
    "mount --bind \"$LIGHTER_HOME\" \"$LIGHTER_HOME\"; mount -o remount,bind,ro \"$LIGHTER_HOME\"; exec \"$0\" \"$@\"",
];

cases! {
    fn c6_a_home_that_cannot_be_used_is_named_with_the_way_out() {
        // Not even root may write there.
        let mut lab = Lab::new();
        let said = fails(lab.command(&["start"]).env("LIGHTER_HOME", "/proc/lighter").spawn().unwrap());
        assert!(said.stderr.contains("/proc/lighter") && said.stderr.contains("set LIGHTER_HOME"), "{said:#?}");
        // Others may write to it.
        lab.ok(&["status"]);
        std::fs::create_dir_all(lab.profile()).unwrap();
        for dir in [lab.home().to_owned(), lab.profile()] {
            assert!(Command::new("chmod").arg("0777").arg(&dir).status().unwrap().success());
            let said = lab.fails(&["start"]);
            assert!(said.stderr.contains("chmod go-w"), "{said:#?}");
            assert!(Command::new("chmod").arg("0700").arg(&dir).status().unwrap().success());
        }
        // A link in place of the profile.
        lab = Lab::new();
        std::fs::create_dir_all(lab.home()).unwrap();
        std::os::unix::fs::symlink("/tmp", lab.profile()).unwrap();
        let said = lab.fails(&["start"]);
        assert!(said.stderr.contains("is not a directory"), "{said:#?}");
    }

    fn c6_a_profile_that_has_become_read_only_is_named_with_the_way_out() {
        if !can_mount() {
            return;
        }
        let lab = Lab::new();
        lab.ok(&["start"]);
        lab.ok(&["stop", "--quit"]);
        let before = lab.files();
        let refused = |args: &[&str]| {
            let said = fails(lab.through(&READ_ONLY, args).spawn().unwrap());
            let words = ["Read-only file system", "LIGHTER_HOME", &lab.profile().display().to_string()];
            assert!(words.iter().all(|word| said.stderr.contains(word)), "{args:?}: {said:#?}");
            said
        };
        refused(&["start"]);
        // With the directory for the machine's sockets in its place, the lock is what cannot be had.
        DirBuilder::new().mode(0o700).create(lab.profile().join("run")).unwrap();
        for args in [&["start"][..], &["start", "--foreground"], &["start", "--asleep"], &["delete", "--force"]] {
            let said = refused(args);
            assert!(said.stderr.contains("start.lock: make its place writable"), "{said:#?}");
        }
        let said = ends_promptly(lab.through(&READ_ONLY, &["status"]).spawn().unwrap());
        assert_eq!(said.code, Some(0), "{said:#?}");
        std::fs::remove_dir(lab.profile().join("run")).unwrap();
        assert_eq!(lab.files(), before);
        lab.ok(&["start"]);
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
    }

    fn c5_something_that_is_no_socket_in_its_place_is_not_removed() {
        let lab = Lab::new();
        lab.ok(&["start"]);
        lab.ok(&["stop", "--quit"]);
        std::fs::write(lab.profile().join("docker.sock"), "precious").unwrap();
        let said = lab.fails(&["start"]);
        assert!(said.stderr.contains("docker.sock"), "{said:#?}");
        assert_eq!(std::fs::read_to_string(lab.profile().join("docker.sock")).unwrap(), "precious");
    }

    fn c5_a_link_in_place_of_a_socket_is_neither_followed_nor_removed() {
        let lab = Lab::new();
        lab.ok(&["start"]);
        lab.ok(&["stop", "--quit"]);
        let theirs = lab.image("theirs.sock");
        let listener = UnixListener::bind(&theirs).unwrap();
        listener.set_nonblocking(true).unwrap();
        // One that leads to a socket of somebody who lives, and one that leads nowhere.
        for (name, target) in [("docker.sock", theirs), ("control.sock", lab.image("nowhere.sock"))] {
            let link = lab.profile().join(name);
            symlink(&target, &link).unwrap();
            let said = lab.fails(&["start"]);
            assert!(said.stderr.contains(name) && said.stderr.contains("move it away"), "{said:#?}");
            assert_eq!(std::fs::read_link(&link).unwrap(), target);
            std::fs::remove_file(&link).unwrap();
        }
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody called");
        lab.ok(&["start"]);
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
    }

    fn c5_a_number_that_another_process_has_now_is_never_used() {
        let lab = Lab::new();
        lab.ok(&["start"]);
        lab.signal("-KILL");
        eventually("the daemon is dead", || lab.processes().is_empty());
        eventually("nobody listens", || lab.status()["state"] == "stopped");
        // The lab ends whatever lives in its home, should this test fail.
        let mut stranger = Command::new("sleep").arg("1000").env("LIGHTER_HOME", lab.home()).spawn().unwrap();
        let lock = lab.profile().join("daemon.lock");
        for args in [&["stop"][..], &["stop", "--force"], &["stop", "--quit"], &["stop", "--quit", "--force"], &["status"], &["start"]] {
            std::fs::write(&lock, format!("{}\n", stranger.id())).unwrap();
            let said = ends_promptly(lab.spawn(args));
            assert_eq!(said.code, Some(0), "{args:?}: {said:#?}");
            assert!(stranger.try_wait().unwrap().is_none(), "{args:?}");
        }
        assert_ne!(lab.status()["pid"].as_u64(), Some(u64::from(stranger.id())));
        lab.ok(&["stop", "--quit", "--force"]);
        assert!(stranger.try_wait().unwrap().is_none());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        lab.assert_clean();
    }

    fn c7_a_path_too_long_for_a_socket_gets_a_short_one() {
        let lab = Lab::with_home(&format!("{}/home", "long".repeat(30)));
        let said = ends_promptly(lab.spawn(&["start"]));
        assert_eq!(said.code, Some(0), "{said:#?}");
        let host = lab.status()["docker_host"].as_str().unwrap().to_owned();
        let socket = host.strip_prefix("unix://").unwrap().to_owned();
        assert!(socket.starts_with("/tmp/lighter-") && socket.len() < 104, "{socket}");
        assert!(UnixStream::connect(&socket).is_ok());
        lab.ok(&["stop", "--quit"]);
        assert!(!std::path::Path::new(&socket).parent().unwrap().exists());
        lab.assert_clean();
    }

    fn c7_sockets_stay_in_the_profile_up_to_the_last_byte_that_fits() {
        // Both sides of what fits on macOS and on Linux.
        for length in [103, 104, LONGEST, LONGEST + 1] {
            // Every lab's directory has as long a path as every other's.
            let rest = Lab::with_home("h").profile().join("control.sock").as_os_str().len() - 1;
            let Some(room) = length.checked_sub(rest).filter(|room| *room > 0) else {
                println!("temporary directories have too long a path here");
                return;
            };
            let lab = Lab::with_home(&"h".repeat(room));
            assert_eq!(lab.profile().join("control.sock").as_os_str().len(), length);
            let said = ends_promptly(lab.spawn(&["start"]));
            assert_eq!(said.code, Some(0), "{length}: {said:#?}");
            let host = lab.status()["docker_host"].as_str().unwrap().to_owned();
            let socket = host.strip_prefix("unix://").unwrap().to_owned();
            let inside = lab.profile().join("docker.sock");
            assert_eq!(std::path::Path::new(&socket) == inside, length <= LONGEST, "{length}: {socket}");
            assert!(UnixStream::connect(&socket).is_ok(), "{length}: {socket}");
            lab.ok(&["stop", "--quit"]);
            lab.assert_clean();
        }
    }

    fn c7_spaces_quotes_and_other_scripts_in_the_path_work() {
        let lab = Lab::with_home("o'neil's \"häfen\" ⚓ 100%");
        lab.ok(&["start"]);
        let script = format!("{}exec docker version --format '{{{{.Server.Version}}}}'", lab.ok(&["env", "--shell", "sh"]).stdout);
        if docker_is_here() {
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "26.1.5", "{output:?}");
        }
        lab.ok(&["stop", "--quit"]);
        lab.assert_clean();
        let said = fails(lab.command(&["status"]).env("LIGHTER_HOME", "/tmp/new\nline").spawn().unwrap());
        assert!(said.stderr.contains("not plain UTF-8 text"), "{said:#?}");
    }
}
