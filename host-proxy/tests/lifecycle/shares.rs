//! Folders of this computer from `lighter start` to what the API says of a bind.

use std::io::{Read, Write};

use crate::lab::Lab;

/// What the API answers to a container that binds this path.
fn bound(lab: &Lab, path: &str) -> String {
    let body = serde_json::json!({"HostConfig": {"Binds": [format!("{path}:/x")]}}).to_string();
    let mut client = lab.client();
    let head = format!(
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = Vec::new();
    // The stand-in of dockerd reads heads only, so its end may be a reset behind the answer.
    let _ = client.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn passes(lab: &Lab, path: &str) -> bool {
    let answer = bound(lab, path);
    assert!(answer.contains("page not found") || answer.contains("is on this computer"), "{path}: {answer}");
    answer.contains("page not found")
}

fn config(lab: &Lab) -> String {
    std::fs::read_to_string(lab.profile().join("config.toml")).unwrap()
}

cases! {
    fn h9_folders_that_start_names_are_shared_kept_and_changed_by_the_next_start() {
        let lab = Lab::new();
        let (work, other) = (lab.image("work # 1"), lab.image("other"));
        for folder in [&work, &other] {
            std::fs::create_dir(folder).unwrap();
        }
        let [work, other] = [&work, &other].map(|path| path.to_str().unwrap());
        // From the folder that it is in.
        let mut start = lab.command(&["start", "--mount", "work # 1:w", "--mount", "other/../other"]);
        assert_eq!(crate::lab::end(start.current_dir(lab.image("")).spawn().unwrap()).code, Some(0));
        assert!(passes(&lab, &format!("{work}/x")) && passes(&lab, other) && passes(&lab, "/proc"));
        let answer = bound(&lab, "/nowhere");
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(other), "what is shared is named: {answer}");
        assert!(config(&lab).contains(&format!("\nmounts = [\"{work}:w\", \"{other}/../other\"]\n")), "{}", config(&lab));
        // A call that wakes a machine waits until it is known what that one has.
        lab.ok(&["stop"]);
        assert!(passes(&lab, work) && !passes(&lab, "/srv"));
        let late = lab.ok(&["start", "--mount", "none"]);
        assert!(late.stderr.contains("lighter restart"), "{late:?}");
        assert!(passes(&lab, work));
        lab.ok(&["restart"]);
        assert!(config(&lab).contains("\nmounts = []\n"), "{}", config(&lab));
        let answer = bound(&lab, work);
        assert!(answer.contains("shares no folder with containers"), "{answer}");
    }

    fn h10_the_home_folder_is_shared_by_itself_but_not_lighters_own_files() {
        let lab = Lab::with_home("user/.lighter");
        let user = lab.home().parent().unwrap().to_owned();
        std::fs::create_dir(&user).unwrap();
        let start = lab.command(&["start"]).env("HOME", &user).spawn().unwrap();
        assert_eq!(crate::lab::end(start).code, Some(0));
        let path = |name: &str| user.join(name).to_str().unwrap().to_owned();
        assert!(passes(&lab, &path("src")) && passes(&lab, &path(".lighter/default/docker.sock")));
        assert!(!passes(&lab, user.parent().unwrap().to_str().unwrap()));
        for ours in [".lighter", ".lighter/default/data.img"] {
            let answer = bound(&lab, &path(ours));
            assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("among lighter's own files"), "{answer}");
        }
    }

    fn f12_folders_that_cannot_be_shared_fail_the_start_and_are_not_kept() {
        let lab = Lab::new();
        lab.ok(&["start", "--asleep", "--mount", "none"]);
        let ours = lab.profile();
        for (folder, words) in [
            ("/nowhere", "The folder /nowhere cannot be shared with containers: make it, or take it out"),
            (lab.image("kernel").to_str().unwrap(), "is no folder, and only folders are shared"),
            (ours.to_str().unwrap(), "holds lighter's own files"),
            ("/", "mounts cannot be \"/\": that is all of this computer"),
            ("/x:ro", "only `:w` may stand behind a path"),
        ] {
            let said = lab.fails(&["start", "--mount", folder]);
            assert!(said.stderr.contains(words), "{said:?}");
        }
        assert_eq!(lab.lighter(&["start", "--mount", ""]).code, Some(2));
        assert!(config(&lab).contains("\nmounts = []\n"), "{}", config(&lab));
        // One that goes away meanwhile is named where it is missed.
        std::fs::write(lab.profile().join("config.toml"), "mounts = [\"/nowhere\"]\n").unwrap();
        let answer = bound(&lab, "/srv");
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("/nowhere"), "{answer}");
        assert!(lab.lighter(&["doctor"]).stdout.contains("The folder /nowhere cannot be shared"));
    }
}
