//! The Docker API proxy and requests that name paths of the host: which are
//! passed on untouched or with the machine's path in its place, or refused (catalogue H9–H11).
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use lighter::shares::spelling::HostKind;
use lighter::sys::HOST_KIND;
use serde_json::json;
use stand_in::{
    Machine, OWN_SOCKET,
    paths::{chunked, create, of_windows, passes, post, refused},
    talk::{GET, OK, asked, exchange},
};

#[tokio::test]
async fn h9_bodies_of_every_kind_and_framing_pass_byte_for_byte() {
    let odd = "{ \"n\":1.0e+2,\r\n\"Image\":\"i\",\"Unknown\":{\"x\":[1,{}]},\"Labels\":{\"a\":\"1\",\"a\":\"2\"},\
        \"hostconfig\":{\"binds\":[\"cache:/c\",\"\\u002frun:/s:ro\",\"~:/h\"],\"Tmpfs\":{\"/t\":\"\"},\
        \"VolumesFrom\":[\"o\"],\"Mounts\":[{\"Type\":\"bind\",\"Source\":\"/dev/shm\",\"Target\":\"/b\"}]} }\n";
    let volume = r#"{"Name":"v","Driver":"local","DriverOpts":{"type":"none","o":"bind","device":"/run/x"}}"#;
    let service = r#"{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bind","Source":"/proc"}]}}}"#;
    for (path, body) in [
        ("/v1.45/containers/create?name=a", odd),
        ("/containers/create", odd),
        ("http://docker/v1.45//containers/%63reate", odd),
        ("/v1.45/volumes/create", volume),
        ("/v1.45/services/create", service),
        ("/v1.45/services/s/update?version=1", service),
    ] {
        passes(&post(path, body)).await;
        passes(&chunked(path, body)).await;
    }
    for nothing in ["", " \r\n"] {
        passes(&post("/containers/create", nothing)).await;
    }
    passes("POST /volumes/create HTTP/1.1\r\n\r\n").await;
}

#[tokio::test]
async fn h9_paths_that_dockerd_would_misread_are_refused_by_name() {
    let device = json!({"o": "bind", "type": "none", "device": "C:\\src"});
    let volume = json!({"Name": "v", "DriverOpts": device}).to_string();
    let mount = json!({"Type": "bind", "Source": "C:\\src", "Target": "/data"});
    let service = json!({"TaskTemplate": {"ContainerSpec": {"Mounts": [mount]}}}).to_string();
    for request in [
        create(&json!({"HostConfig": {"Binds": ["cache:/c", "C:\\src:/data:ro"]}})),
        create(&json!({"HostConfig": {"Mounts": [mount]}})),
        create(&json!({"HostConfig": {"Mounts": [
            {"Type": "volume", "Target": "/t", "VolumeOptions": {"DriverConfig": {"Options": device}}}]}})),
        post("/volumes/create", &volume),
        chunked("//volumes/create", &volume),
        chunked("/v1.45/services/create", &service),
        post("/v1.45/services/s/update?version=1", &service),
    ] {
        let message = refused(&request).await;
        for words in of_windows() {
            assert!(message.contains(words), "{message}");
        }
    }
}

/// Every place in which a path can stand, with this one in it.
fn everywhere(path: &str) -> [String; 3] {
    let device = json!({"type": "none", "o": "bind", "device": path});
    [
        create(&json!({"HostConfig": {"Binds": [format!("{path}:/x")]}})),
        create(&json!({"HostConfig": {"Mounts": [{"Type": "bind", "Source": path, "Target": "/y"}]}})),
        post("/volumes/create", &json!({"DriverOpts": device}).to_string()),
    ]
}

/// Whoever looks after the engine means the engine's machine by them.
#[tokio::test]
async fn h9_paths_of_the_machine_itself_pass_unchanged() {
    let own = ["/", "/proc", "/dev/kvm", "/run/user/1000/ssh-agent.sock", "/var/run/docker.sock", "/var/lib/docker"];
    for path in own {
        for request in everywhere(path) {
            passes(&request).await;
        }
    }
    // A device is no folder, and none of this computer's is given to the machine.
    let device = json!({"PathOnHost": "/nowhere", "PathInContainer": "/z", "CgroupPermissions": "rwm"});
    passes(&create(&json!({"HostConfig": {"Devices": [device]}}))).await;
}

#[tokio::test]
async fn h9_folders_that_are_not_shared_are_refused_by_name() {
    let unix = ["/nowhere/at/all", "/etc", "/home", "/../etc", "/proc/../srv/x"];
    let (here, elsewhere): (&[&str], &[&str]) = match HOST_KIND {
        HostKind::Unix => (&unix, &[]),
        HostKind::Windows => (&[r"C:\nowhere\at\all", r"C:\Users", r"D:\srv"], &unix),
    };
    for path in here {
        let words = format!("{path:?} is on this computer, which shares no folder with containers");
        for request in everywhere(path) {
            let message = refused(&request).await;
            assert!(message.contains(&words) && message.contains("`mounts`"), "{message}");
        }
    }
    for path in elsewhere {
        for request in everywhere(path) {
            let message = refused(&request).await;
            assert!(message.contains(&format!("{path:?} is no folder of a drive of this computer")), "{message}");
        }
    }
}

/// Tools that start containers themselves (Testcontainers' reaper, agents of CI) give them the socket that they use themselves.
#[tokio::test]
async fn h9_the_engines_own_socket_is_dockerds_in_the_machine() {
    let body = |path: &str| {
        format!(
            "{{\"Image\":\"r\", \"n\": 1.50,\"HostConfig\":{{\"Binds\":[\"{path}:/var/run/docker.sock:rw\",\"/run{path}x:/y\"],\
             \"Mounts\":[{{\"Type\":\"bind\",\"Source\":\"{path}\",\"Target\":\"/s\"}}]}}}}"
        )
    };
    let theirs = body("/var/run/docker.sock").replace("/var/run/docker.sockx", &format!("{OWN_SOCKET}x"));
    let path = "/v1.45/containers/create";
    let want = format!("POST {path} HTTP/1.1\r\nX-A: b\r\nX-C:d\r\nContent-Length: {}\r\n\r\n{theirs}", theirs.len());
    let ours = body(OWN_SOCKET);
    let with_length =
        format!("POST {path} HTTP/1.1\r\nX-A: b\r\ncontent-length: {}\r\nX-C:d\r\n\r\n{ours}", ours.len());
    let in_chunks =
        chunked(path, &ours).replace("Transfer-Encoding: chunked", "X-A: b\r\nTransfer-Encoding: chunked\r\nX-C:d");
    // As a path may be written, too.
    let odd = with_length.replace("/home/me/.lighter", "/home//me/./.lighter");
    let odd = odd.replace(&format!("{}\r\nX-C", ours.len()), &format!("{}\r\nX-C", ours.len() + 9));
    for (request, want) in [(with_length, &want), (in_chunks, &want), (odd, &want)] {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        // What comes behind it, in the same packet, is the next request as ever.
        client.send(format!("{request}{GET}")).await;
        let mut engine = machine.engine().await;
        engine.expect(want).await;
        engine.send(OK).await;
        client.expect(OK).await;
        engine.expect(GET).await;
        engine.send(OK).await;
        client.expect(OK).await;
    }
}

/// Which ports are good is dockerd's to say: it hears of each as it was asked for, and the client hears its answer.
#[tokio::test]
async fn h11_ports_of_every_kind_reach_dockerd_and_its_complaint_comes_back() {
    let ports = [
        json!({"80/tcp": [{"HostIp": "", "HostPort": "0"}]}),
        json!({"80/tcp": [{"HostPort": "65536"}], "53/udp": [{"HostPort": "-1"}], "0/tcp": null}),
        json!({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}, {"HostIp": "127.0.0.1", "HostPort": "80"}]}),
        json!({"80/udp": [{"HostIp": "fe80::1%eth0", "HostPort": "1"}], "81": [{"HostIp": "example.org"}]}),
        json!({"1-65535/tcp": [{"HostIp": "203.0.113.7", "HostPort": "1-65535"}]}),
    ];
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let first = create(&json!({}));
    let mut engine = asked(&mut machine, &mut client, &first).await;
    engine.send(OK).await;
    client.expect(OK).await;
    let complaint = "HTTP/1.1 400 Bad Request\r\nContent-Length: 26\r\n\r\n{\"message\":\"invalid port\"}";
    for round in 0..200 {
        let request = create(
            &json!({"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PortBindings": ports[round % ports.len()]}}),
        );
        exchange(&mut client, &mut engine, &request, complaint).await;
    }
    machine.assert_never_dialed_again();
}

/// Folders that are there, with links among them.
#[cfg(unix)]
mod shared {
    use lighter::settings::{Host, Settings, Wishes};
    use lighter::shares::Shares;

    use super::stand_in::talk::refusal;
    use super::*;

    /// Shares of this computer, whose own files are in a folder beside.
    fn sharing(mounts: &[String], ours: &std::path::Path) -> Machine {
        let wishes = Wishes { mounts: Some(mounts.to_vec()), ..Wishes::default() };
        let settings = Settings::new(&wishes, Host::here(), std::path::Path::new("config.toml")).unwrap();
        Machine::sharing(Shares::from_settings(&settings, ours).unwrap())
    }

    #[tokio::test]
    async fn h9_folders_that_are_shared_become_the_machines_paths_of_them() {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("src/deep")).unwrap();
        std::os::unix::fs::symlink("src/deep", root.join("link")).unwrap();
        let root = root.to_str().unwrap();
        let at = if root.starts_with("/tmp") { format!("/mnt/host{root}") } else { root.to_owned() };
        for (path, meant) in
            [("src", "src"), ("src/not/yet", "src/not/yet"), ("link/x", "src/deep/x"), ("a/../src", "src")]
        {
            let asked = everywhere(&format!("{root}/{path}"));
            for (request, wanted) in asked.iter().zip(everywhere(&format!("{at}/{meant}"))) {
                let mut machine = sharing(&[format!("{root}:w")], std::path::Path::new("/nonexistent"));
                let (mut client, _served) = machine.client();
                client.send(request).await;
                let mut engine = machine.engine().await;
                let head = engine.head().await;
                let body = wanted.split_once("\r\n\r\n").unwrap().1;
                assert!(head.to_lowercase().contains(&format!("content-length: {}", body.len())), "{head}");
                engine.expect(body).await;
                engine.send(OK).await;
                client.expect(OK).await;
            }
        }
    }

    /// A container could break the machine with them, and take over this computer's docker by the control socket.
    #[tokio::test]
    async fn h10_lighters_own_files_are_refused_in_a_share_too() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let ours = root.join(".lighter");
        std::fs::create_dir_all(ours.join("default")).unwrap();
        std::os::unix::fs::symlink(".lighter", root.join("link")).unwrap();
        let root = root.to_str().unwrap();
        for path in [".lighter", ".lighter/default/data.img", "x/../.lighter/default/control.sock", "link/default"] {
            for request in everywhere(&format!("{root}/{path}")) {
                let mut machine = sharing(&[format!("{root}:w")], &ours);
                let (mut client, _served) = machine.client();
                client.send(request).await;
                let (status, message) = refusal(&mut client).await;
                assert_eq!(status, "HTTP/1.1 400 Bad Request");
                assert!(message.contains(path) && message.contains("lighter's own files"), "{message}");
                machine.assert_never_dialed_again();
            }
        }
    }
}
