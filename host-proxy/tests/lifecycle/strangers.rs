//! What must hold when the daemon is not what the verbs think it is, and that nobody but its user's programs can reach the
//! real one.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::lab::Lab;

/// Answers each client of the control socket with the next of these texts, as a frame or, if empty, by hanging up.
fn stranger(lab: &Lab, answers: &'static [&'static str]) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(lab.profile().join("control.sock")).unwrap();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut client, _) = listener.accept().unwrap();
            read_frame(&mut client);
            if !answer.is_empty() {
                client.write_all(&(answer.len() as u32).to_le_bytes()).unwrap();
                client.write_all(answer.as_bytes()).unwrap();
            }
        }
    })
}

fn read_frame(client: &mut UnixStream) {
    let mut length = [0; 4];
    client.read_exact(&mut length).unwrap();
    client.read_exact(&mut vec![0; u32::from_le_bytes(length) as usize]).unwrap();
}

const RUNNING: &str = r#"{"answer":"status","profile":"default","state":"running","reason":null,"engine":"kvm","docker_host":"x",
    "cpus":1,"memory_bytes":1,"pid":1,"versions":{"lighter":"9.9.9"}}"#;

cases! {
    /// A stop that did not happen must not be told as one.
    fn c10_a_daemon_that_does_not_understand_a_stop_is_not_called_stopped() {
        for answers in [&[RUNNING, "", RUNNING][..], &[RUNNING, "{}"][..], &[RUNNING, "nonsense"][..]] {
            let lab = Lab::new();
            fs::create_dir_all(lab.profile()).unwrap();
            let daemon = stranger(&lab, answers);
            let said = lab.lighter(&["stop"]);
            assert_eq!(said.code, Some(1), "{answers:?}: {said:#?}");
            assert!(!said.stderr.contains("is stopped"), "{answers:?}: {said:#?}");
            assert!(said.stderr.contains("lighter restart") || said.stderr.contains("--force"), "{said:#?}");
            daemon.join().unwrap();
        }
    }

    /// Browsers, and everybody else on the network, reach no socket of a file system.
    fn h12_the_daemon_listens_on_no_network_at_all() {
        let lab = Lab::new();
        lab.ok(&["start"]);
        assert!(lab.ask("GET", "/_ping").ends_with("OK"));
        let pid = &lab.status()["pid"];
        let held: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .filter_map(|entry| Some(fs::read_link(entry.unwrap().path()).ok()?.display().to_string()))
            .collect();
        let inode = |line: &str, field: usize| line.split_whitespace().nth(field).map(|inode| format!("socket:[{inode}]"));
        let listed = |file: &str, field: usize| -> Vec<String> {
            let text = fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap();
            text.lines().skip(1).filter_map(|line| inode(line, field)).filter(|socket| held.contains(socket)).collect()
        };
        for file in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
            assert_eq!(listed(file, 9), Vec::<String>::new(), "{file}");
        }
        // The same look does find what there is.
        assert!(listed("unix", 6).len() >= 2);
        lab.ok(&["stop", "--quit"]);
    }
}
