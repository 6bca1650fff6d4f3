//! What must hold of the places where a profile is: homes that cannot be written, paths of every length and letter, and what a crash
//! or somebody else has left where the daemon wants its lock and its sockets.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::lab::{Lab, can_mount, docker_is_here, ends_promptly, fails};

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
