//! Which engine an endpoint belongs to, by the places that engines are known to use. Pure. Called by `gather` and `ways`.

/// Marks in an endpoint, and the engine that leaves them; the first that fits counts.
const MARKS: [(&str, &str); 21] = [
    ("/.lighter/", "another lighter"),
    ("/lighter-", "another lighter"),
    ("lighter_", "another lighter"),
    ("/.colima/", "Colima"),
    ("/colima/", "Colima"),
    ("/.docker/desktop/", "Docker Desktop"),
    ("/.docker/run/", "Docker Desktop"),
    ("/.docker/raw", "Docker Desktop"),
    ("dockerDesktop", "Docker Desktop"),
    ("/com.docker.docker/", "Docker Desktop"),
    ("/.orbstack/", "OrbStack"),
    ("/.rd/", "Rancher Desktop"),
    ("podman", "Podman"),
    ("/.lima/", "Lima"),
    ("/.finch/", "Finch"),
    ("/.socktainer/", "Socktainer"),
    ("/.arcbox/", "ArcBox"),
    ("/run/user/", "rootless dockerd"),
    ("minikube", "minikube"),
    ("192.168.49.2", "minikube"),
    ("containerd", "containerd"),
];

/// The name of the engine at `endpoint`, such as `Colima`.
pub fn name(endpoint: &str) -> &'static str {
    if let Some((_, name)) = MARKS.iter().find(|(mark, _)| endpoint.contains(mark)) {
        return name;
    }
    match endpoint {
        "unix:///var/run/docker.sock" | "unix:///run/docker.sock" => "dockerd of this system",
        _ if endpoint.ends_with("/docker_engine") => "the engine at docker_engine",
        _ if endpoint.starts_with("ssh://") => "an engine on another computer",
        _ if is_remote(endpoint) && is_loopback(endpoint) => "an engine at a port of this computer",
        _ if is_remote(endpoint) => "an engine on the network",
        _ => "an engine that lighter does not know",
    }
}

/// Whether `endpoint` is reached over the network, perhaps on this computer.
pub fn is_remote(endpoint: &str) -> bool {
    ["tcp://", "http://", "https://", "ssh://"].iter().any(|scheme| endpoint.starts_with(scheme))
}

/// Whether a URL or a `host:port` names this computer's loopback, which is another one inside the guest.
pub fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host == "::1" || host.starts_with("127.")
}

/// Places below the user's home where engines keep their endpoints; a `*` stands for one name.
pub const IN_HOME: [&str; 10] = [
    ".docker/desktop/docker.sock",
    ".docker/run/docker.sock",
    ".colima/*/docker.sock",
    ".config/colima/*/docker.sock",
    ".orbstack/run/docker.sock",
    ".rd/docker.sock",
    ".lima/*/sock/docker.sock",
    ".finch/finch.sock",
    ".socktainer/container.sock",
    ".local/share/containers/podman/machine/podman.sock",
];
/// Places below the user's run-time directory.
pub const IN_RUNTIME_DIR: [&str; 2] = ["docker.sock", "podman/podman.sock"];
/// Places of the whole computer.
pub const IN_SYSTEM: [&str; 2] = ["/run/podman/podman.sock", "/var/run/docker.sock"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_known_by_their_endpoints() {
        for (endpoint, engine) in [
            ("unix:///Users/me/.colima/default/docker.sock", "Colima"),
            ("unix:///home/me/.docker/desktop/docker.sock", "Docker Desktop"),
            ("unix:///Users/me/.docker/run/docker.sock", "Docker Desktop"),
            ("npipe:////./pipe/dockerDesktopLinuxEngine", "Docker Desktop"),
            ("unix:///Users/me/.orbstack/run/docker.sock", "OrbStack"),
            ("unix:///Users/me/.rd/docker.sock", "Rancher Desktop"),
            ("unix:///run/user/1000/podman/podman.sock", "Podman"),
            ("unix:///run/user/1000/docker.sock", "rootless dockerd"),
            ("unix:///home/me/.lighter/work/docker.sock", "another lighter"),
            ("unix:///var/run/docker.sock", "dockerd of this system"),
            ("tcp://192.168.49.2:2376", "minikube"),
            ("tcp://10.0.0.7:2375", "an engine on the network"),
            ("tcp://localhost:2375", "an engine at a port of this computer"),
            ("ssh://me@box", "an engine on another computer"),
            ("unix:///tmp/x.sock", "an engine that lighter does not know"),
        ] {
            assert_eq!(name(endpoint), engine, "{endpoint}");
        }
    }

    #[test]
    fn loopback_is_known_in_every_spelling() {
        for url in ["http://localhost:3128", "127.0.0.1:8080", "http://me:pw@127.1.2.3/", "http://[::1]:1", "LOCALHOST"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://proxy.example:3128", "10.0.0.1", "http://localhost.example", "", "http://[fe80::1]:1"] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
