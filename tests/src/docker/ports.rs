//! Published ports: containers that serve, and clients on the host, by another user of it, and at the neighbour's. Like those of
//! `network`, these cases run only with the daemon in a namespace that the rig made.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::network::restart;
use super::{BUSYBOX, Case, Session, reach, same};
use crate::process::{Run, hex};
use crate::rig::servers::{OPEN_FILES, content, content_hash};
use crate::rig::world::{HOST, SERVER, at_home, at_the_neighbours, daemon, guard, program_at_home};

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "ports_carry_50_mb_by_hash_each_way", run: by_hash },
        Case { name: "ports_are_this_computers_alone_and_are_listed", run: localhost },
        Case { name: "ports_are_found_on_the_guests_own_loopback", run: inside },
        Case { name: "ports_h11_refusals_reach_docker_run", run: refusals },
        Case { name: "ports_h11_ranges_and_dynamic_ports_find_a_free_one", run: free_ones },
        Case { name: "ports_close_on_stop_rm_and_a_crash_of_dockerd", run: closing },
        Case { name: "ports_x1_go_and_come_with_lighter_itself", run: with_lighter },
        Case { name: "ports_h11_a_port_below_1024_without_the_right_to_it_fails_by_name", run: no_right },
        Case { name: "ports_as_asked_are_reached_by_neighbours_who_keep_their_address", run: as_asked },
        Case { name: "ports_without_a_network_fail_by_name", run: no_network },
    ]
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// A server that says the hash of what it got when it has got all, and one that says who its clients are.
const SERVERS: &str = "nc -ll -p 7001 -e sha256sum & nc -ll -p 7002 -e netstat -tn & exec httpd -f -p 80 -h /tmp";

/// Starts a container with these servers and options.
fn serve(s: &Session, options: &[&str]) -> Result<()> {
    guard(s)?;
    let words = [&["run", "-d", "--init"], options, &[BUSYBOX, "sh", "-c", SERVERS]].concat();
    s.out(&words).map(drop)
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("connect to {to}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// As dockerd finds a registry that runs in a container.
fn inside(s: &Session) -> Result<()> {
    serve(s, &["--name", "inner", "-p", "8085:7001"])?;
    let ask = |address: &str| {
        let script = format!("printf hi | nc {address} 8085");
        s.docker(["run", "--rm", "--network", "host", BUSYBOX, "sh", "-c", &script]).finish()
    };
    let want = hex(&Sha256::digest("hi"));
    for address in ["127.0.0.1", "::1"] {
        same(address, ask(address)?.text().split(' ').next(), Some(want.as_str()))?;
    }
    s.out(&["rm", "-f", "inner"])?;
    ensure!(!ask("127.0.0.1")?.status.success(), "the port of a container that is gone is still open inside");
    Ok(())
}

/// Says `words`, then the end; all that is answered until the other side's end.
fn ask(to: SocketAddr, words: &[u8]) -> Result<Vec<u8>> {
    let mut stream = connect(to)?;
    stream.write_all(words)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("the answer of {to}"))?;
    Ok(answer)
}

/// Asks until the container's servers have begun to serve.
fn ask_early(to: SocketAddr, words: &'static [u8]) -> Result<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask(to, words) {
            Ok(answer) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Says a word and hears it, is silent, and does so again on the same connection.
pub(super) fn early_and_late(to: SocketAddr, pause: Duration) -> Result<String> {
    ask_early(to, b"")?;
    let mut stream = connect(to)?;
    let mut say = |words: &str| -> Result<()> {
        stream.write_all(words.as_bytes())?;
        let mut heard = vec![0; words.len()];
        stream.read_exact(&mut heard).with_context(|| format!("{words:?} does not come back"))?;
        same("what came back", String::from_utf8_lossy(&heard).into_owned(), words.to_owned())
    };
    say("early")?;
    std::thread::sleep(pause);
    say("late")?;
    Ok("early late".to_owned())
}

fn hash_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn is_refused(ip: IpAddr, port: u16) -> Result<bool> {
    match TcpStream::connect_timeout(&(ip, port).into(), PATIENCE) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) => Err(error).with_context(|| format!("{ip}:{port}")),
    }
}

/// What `docker run` says instead of running.
fn refusal(s: &Session, options: &[&str]) -> Result<String> {
    let done = s.docker([&["run", "--rm"], options, &[BUSYBOX, "true"]].concat()).finish()?;
    ensure!(!done.status.success(), "{options:?} ran");
    Ok(done.talk())
}

fn by_hash(s: &Session) -> Result<()> {
    serve(s, &["--name", "web", "-p", "8080:80", "-p", "7001:7001"])?;
    at_home(|| ask_early((LOOPBACK, 7001).into(), b""))?;
    let length = 50_000_000;
    let got = at_home(move || ask((LOOPBACK, 7001).into(), &content(length)))?;
    same(
        "what the container got",
        String::from_utf8_lossy(&got).split(' ').next(),
        Some(content_hash(length).as_str()),
    )?;
    // The other way: noise that the container makes.
    let made = s.out(&["exec", "web", "sh", "-c", "head -c 50000000 /dev/urandom > /tmp/f; sha256sum < /tmp/f"])?;
    let got = at_home(|| ask((LOOPBACK, 8080).into(), b"GET /f HTTP/1.0\r\n\r\n"))?;
    let body = got.windows(4).position(|window| window == b"\r\n\r\n").context("no answer")? + 4;
    same("what the host got", Some(hash_of(&got[body..]).as_str()), made.split(' ').next())?;
    // By the other way in, and by somebody else.
    s.out(&["exec", "web", "sh", "-c", "echo small > /tmp/s"])?;
    let got = at_home(|| ask((LOOPBACK_V6, 8080).into(), b"GET /s HTTP/1.0\r\n\r\n"))?;
    ensure!(got.ends_with(b"small\n"), "over IPv6: {}", String::from_utf8_lossy(&got));
    let busybox = s.busybox.display().to_string();
    let other = ["--reuid=65534", "--clear-groups", &busybox, "wget", "-q", "-O", "-", "http://127.0.0.1:8080/s"];
    same("what another user gets", program_at_home("setpriv").args(other).ok()?.text(), "small".to_owned())
}

fn localhost(s: &Session) -> Result<()> {
    serve(s, &["--name", "web", "-p", "8080:80", "-p", "127.0.0.9:7002:7002"])?;
    let clients = at_home(|| ask_early(("127.0.0.9".parse::<IpAddr>()?, 7002).into(), b""))?;
    ensure!(clients.contains("192.168.127.1:"), "a client on loopback speaks as the gateway: {clients}");
    let (home, port): (IpAddr, u16) = (HOST.parse()?, 8080);
    ensure!(at_the_neighbours(move || is_refused(home, port))?, "the neighbour reaches a port that is ours alone");
    ensure!(at_home(move || is_refused(home, port))?, "it listens on another address than loopback");
    let listed = s.lighter(["ports", "--json"]).ok()?.text();
    let ports: Vec<serde_json::Value> = listed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let found: Vec<String> = ports
        .iter()
        .map(|port| {
            format!("{} {} {} {}", port["host_address"], port["host_port"], port["container_port"], port["container"])
        })
        .collect();
    let want = [r#""127.0.0.1" 8080 80 "web""#, r#""127.0.0.9" 7002 7002 "web""#, r#""::1" 8080 80 "web""#];
    same("lighter ports", found, want.map(str::to_owned).to_vec())?;
    let shown = s.out(&["ps", "--format", "{{.Ports}}"])?;
    for words in ["0.0.0.0:8080->80/tcp", "127.0.0.9:7002->7002/tcp"] {
        ensure!(shown.contains(words), "docker ps: {shown}");
    }
    Ok(())
}

fn refusals(s: &Session) -> Result<()> {
    guard(s)?;
    let in_use = format!("{OPEN_FILES}:80");
    for (option, words) in [
        (in_use.as_str(), "is in use by another program on this computer"),
        ("192.0.2.1:8080:80", "192.0.2.1 is no address of this computer"),
        ("8080:80/sctp", "no SCTP"),
    ] {
        let said = refusal(s, &["-p", option])?;
        ensure!(said.contains(words), "-p {option}: {said}");
    }
    s.out(&["run", "-d", "-p", "8080:80", BUSYBOX, "sleep", "600"])?;
    // dockerd itself knows of this one.
    let said = refusal(s, &["-p", "8080:81"])?;
    ensure!(said.contains("port is already allocated"), "the same twice: {said}");
    for option in ["0.0.0.0:65536:80", "localhost:8080:80", "[fe80::1%25eth0]:8080:80"] {
        refusal(s, &["-p", option])?;
    }
    let listed = s.lighter(["ports", "--json"]).ok()?.text();
    same("what is left listening", listed.lines().count(), 2)
}

fn free_ones(s: &Session) -> Result<()> {
    let port = |name: &str| -> Result<u16> {
        let shown = s.out(&["port", name, "80/tcp"])?;
        let port = shown.lines().next().and_then(|line| line.rsplit(':').next()).context("no port")?;
        Ok(port.parse()?)
    };
    serve(s, &["--name", "first", "-p", "8100-8101:80"])?;
    serve(s, &["--name", "second", "-p", "8100-8101:80"])?;
    same("ports of one range", (port("first")?, port("second")?), (8100, 8101))?;
    serve(s, &["--name", "any", "-p", "80"])?;
    // The one that dockerd would choose next, which it cannot know to be taken.
    let next = port("any")? + 1;
    let _taken = at_home(move || Ok(TcpListener::bind((LOOPBACK, next))?))?;
    serve(s, &["--name", "another", "-p", "80"])?;
    ensure!(port("another")? != next, "{next} is in use");
    for port in [port("first")?, port("second")?, port("any")?, port("another")?] {
        let said = at_home(move || ask_early((LOOPBACK, port).into(), b"GET /none HTTP/1.0\r\n\r\n"))?;
        ensure!(said.contains("404"), "{port}: {said}");
    }
    Ok(())
}

fn closing(s: &Session) -> Result<()> {
    let is_closed = || at_home(|| is_refused(LOOPBACK, 8080));
    let get = || at_home(|| ask_early((LOOPBACK, 8080).into(), b"GET /none HTTP/1.0\r\n\r\n"));
    serve(s, &["--name", "web", "-p", "8080:80"])?;
    get()?;
    s.out(&["stop", "-t", "0", "web"])?;
    ensure!(is_closed()?, "it listens after docker stop");
    // Whoever wants the port has it at once.
    drop(at_home(|| Ok(TcpListener::bind((LOOPBACK, 8080))?))?);
    s.out(&["start", "web"])?;
    get()?;
    s.out(&["restart", "-t", "0", "web"])?;
    get()?;
    s.out(&["rm", "-f", "web"])?;
    ensure!(is_closed()?, "it listens after docker rm -f");
    serve(s, &["--name", "web", "-p", "8080:80"])?;
    get()?;
    s.lighter(["shell", "sh", "-c", "kill -9 $(pidof dockerd)"]).ok()?;
    let end = Instant::now() + s.seconds(60);
    while !is_closed()? {
        ensure!(Instant::now() < end, "it listens after the end of dockerd");
        std::thread::sleep(Duration::from_millis(50));
    }
    while !s.docker(["version"]).finish()?.status.success() {
        ensure!(Instant::now() < end, "dockerd does not come back");
        std::thread::sleep(Duration::from_millis(200));
    }
    s.sweep()?;
    serve(s, &["--name", "web", "-p", "8080:80"])?;
    get().map(drop)
}

/// A container that dockerd starts again by itself, over a restart of the machine and the end of its daemon.
fn with_lighter(s: &Session) -> Result<()> {
    let is_closed = || at_home(|| is_refused(LOOPBACK, 8080));
    let get = || at_home(|| ask_early((LOOPBACK, 8080).into(), b"GET /none HTTP/1.0\r\n\r\n"));
    serve(s, &["--name", "web", "--restart", "always", "-p", "8080:80"])?;
    get()?;
    s.lighter(["restart"]).within(s.seconds(240)).ok()?;
    get()?;
    let listed = s.lighter(["ports", "--json"]).ok()?.text();
    same("lighter ports after a restart", listed.lines().count(), 2)?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(daemon(s)?)?).context("pid 0")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    let end = Instant::now() + PATIENCE;
    while !is_closed()? {
        ensure!(Instant::now() < end, "it listens after the end of lighter");
        std::thread::sleep(Duration::from_millis(50));
    }
    s.start()?;
    get().map(drop)
}

/// The daemon of a user who may not have ports below 1024; root without that right stands for them.
fn no_right(s: &Session) -> Result<()> {
    guard(s)?;
    s.lighter(["stop", "--quit"]).within(s.seconds(90)).ok()?;
    let without = ["--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"];
    let start = ["start", "--engine", s.engine, "--cpus", s.cpus, "--memory", "2", "--disk", "20"];
    let tried = (|| {
        s.dress(Run::new("setpriv")).args(without).args([&s.lighter]).args(start).ok()?;
        let said = refusal(s, &["-p", "80:80"])?;
        ensure!(said.contains("This user may not listen on 127.0.0.1:80/tcp: "), "docker run -p 80:80 says {said}");
        // Others are as free as ever.
        same("from 1024 on", s.out(&["run", "--rm", "-p", "8080:80", BUSYBOX, "echo", "free"])?, "free".to_owned())
    })();
    s.lighter(["stop", "--quit"]).within(s.seconds(90)).ok()?;
    s.start()?;
    tried
}

fn as_asked(s: &Session) -> Result<()> {
    guard(s)?;
    restart(s, "publish = \"as-asked\"")?;
    let tried = neighbours(s);
    restart(s, "publish = \"localhost\"")?;
    tried
}

fn neighbours(s: &Session) -> Result<()> {
    serve(s, &["--name", "web", "-p", "7002:7002"])?;
    let home: IpAddr = HOST.parse()?;
    at_home(|| ask_early((LOOPBACK, 7002).into(), b""))?;
    let clients = at_the_neighbours(move || ask((home, 7002).into(), b""))?;
    let clients = String::from_utf8_lossy(&clients);
    ensure!(clients.contains(&format!("{SERVER}:")), "the neighbour's own address is not seen: {clients}");
    reach::seen_by_the_neighbour(s, &[(reach::TCP, 7002)])?;

    let program = s.meter.display().to_string();
    s.out(&["create", "--name", "echo", "-p", "7000:7000/udp", BUSYBOX, "/data/meter", "echo", "7000"])?;
    s.out(&["cp", &program, "echo:/data/meter"])?;
    s.out(&["start", "echo"])?;
    let echo = move |from: IpAddr, to: IpAddr| -> Result<String> {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect((to, 7000))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let end = Instant::now() + PATIENCE;
        let mut answer = [0; 64];
        loop {
            // The server may not have begun yet, and nobody keeps a datagram for it.
            socket.send(b"hello")?;
            match socket.recv(&mut answer) {
                Ok(length) => return Ok(String::from_utf8_lossy(&answer[..length]).into_owned()),
                Err(error) if Instant::now() >= end => bail!("no echo: {error}"),
                Err(_) => {}
            }
        }
    };
    same("echo at home", at_home(move || echo(LOOPBACK, LOOPBACK))?, "192.168.127.1 hello".to_owned())?;
    let server: IpAddr = SERVER.parse()?;
    same("echo at the neighbour's", at_the_neighbours(move || echo(server, home))?, format!("{SERVER} hello"))
}

fn no_network(s: &Session) -> Result<()> {
    guard(s)?;
    restart(s, "network = false")?;
    let tried = refusal(s, &["-p", "8080:80"]);
    restart(s, "network = true")?;
    let said = tried?;
    ensure!(said.contains("set `network = true` in config.toml"), "{said}");
    Ok(())
}
