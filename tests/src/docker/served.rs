//! Servers that people publish, from Debian's packages, each asked by a client of the host as it is: nginx by curl, redis by
//! redis-cli, dnsmasq by dig, and a compose stack whose services find each other by name. Like those of `network`, these cases
//! run only with the daemon in a namespace that the rig made.

pub(super) mod image;

use std::collections::BTreeSet;
use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::{BUSYBOX, Case, Session, same};
use crate::clients::{compose, testcontainers};
use crate::packages::{self, Package};
use crate::process::{Finished, Run, hex};
use crate::rig::servers::content;
use crate::rig::world::{guard, program_at_home};
use image::{BIG, DNS, NGINX, NGINX_COMMAND, REDIS, REDIS_COMMAND};

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "served_nginx_by_curl", run: nginx },
        Case { name: "served_redis_by_redis_cli", run: redis },
        Case { name: "served_dns_by_dig", run: dns },
        Case { name: "served_datagrams_of_many_sizes", run: datagrams },
        Case { name: "served_testcontainers_by_mapped_ports_and_reaped", run: reaped },
        Case { name: "served_compose_stack_finds_its_services", run: stack },
    ]
}

/// The clients on the host.
const CLIENTS: &[Package] = &[
    Package { name: "curl", probe: "curl" },
    Package { name: "redis-tools", probe: "redis-cli" },
    Package { name: "bind9-dnsutils", probe: "dig" },
];

/// Brings what these cases unpack and install to this host, for a rig that has no way out.
pub fn fetch(cache: &Path) -> Result<()> {
    packages::ensure(CLIENTS)?;
    compose::plugin(cache)?;
    testcontainers::fetch(cache)?;
    for image in [NGINX, REDIS, DNS] {
        lighter_image::tools::all_unpacked(cache, image.packages)?;
    }
    Ok(())
}

/// Asks until what comes is good: a server needs a moment to begin, more of it on a slow machine.
fn until<T>(s: &Session, what: &str, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + s.seconds(60);
    loop {
        match ask() {
            Ok(good) => return Ok(good),
            Err(error) if Instant::now() >= end => return Err(error.context(what.to_owned())),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// A client on the host.
fn client(s: &Session, program: &str, words: &[&str]) -> Run {
    program_at_home(program).args(words).without_proxies().within(s.seconds(120))
}

fn curl(s: &Session, words: &[&str]) -> Result<Finished> {
    client(s, "curl", &[&["-q", "-sS", "--fail"], words].concat()).ok()
}

fn nginx(s: &Session) -> Result<()> {
    NGINX.serve(s, "web", &["-p", "8088:80"], NGINX_COMMAND)?;
    until(s, "nginx", || curl(s, &["http://127.0.0.1:8088/big", "-r", "0-0"]))?;
    // Twice over one connection.
    let url = "http://localhost:8088/big";
    let got = curl(s, &["-w", "%{stderr}%{num_connects} ", url, url])?;
    same("connections", String::from_utf8_lossy(&got.stderr).trim().to_owned(), "1 0".to_owned())?;
    same("hash of both", got.stdout_sha256, hex(&Sha256::digest(content(BIG).repeat(2))))?;
    let part = curl(s, &["-r", "5000000-5000999", "http://[::1]:8088/big"])?;
    same("a part of it", part.stdout.as_slice(), &content(5_001_000)[5_000_000..])?;
    let many: Vec<String> =
        (0..40).flat_map(|_| ["http://127.0.0.1:8088/big".to_owned(), "-o/dev/null".to_owned()]).collect();
    let words: Vec<&str> = ["-Z", "--parallel-immediate", "-r", "0-99999", "-w", "%{size_download}\n"]
        .into_iter()
        .chain(many.iter().map(String::as_str))
        .collect();
    let sizes = curl(s, &words)?.text();
    same("forty at a time", sizes.lines().filter(|line| *line == "100000").count(), 40)?;
    let none = client(s, "curl", &["-q", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8088/none"])
        .finish()?;
    same("a page that is not there", none.text(), "404".to_owned())
}

fn redis(s: &Session) -> Result<()> {
    REDIS.serve(s, "store", &["-p", "127.0.0.1:6379:6379"], REDIS_COMMAND)?;
    let ask = |words: &[&str]| client(s, "redis-cli", words).ok();
    until(s, "redis", || same("ping", ask(&["ping"])?.text(), "PONG".to_owned()))?;
    let value = content(5_000_000);
    same(
        "set",
        client(s, "redis-cli", &["-x", "set", "big"]).stdin(Cursor::new(value.clone())).ok()?.text(),
        "OK".to_owned(),
    )?;
    let got = ask(&["--raw", "get", "big"])?.stdout;
    same("hash", hex(&Sha256::digest(&got[..got.len().saturating_sub(1)])), hex(&Sha256::digest(&value)))?;
    // Ten thousand commands in one breath, their answers read by the way.
    let many: String =
        (0..10_000).map(|at| format!("*3\r\n$3\r\nSET\r\n$5\r\nk{at:04}\r\n$5\r\nv{at:04}\r\n")).collect();
    let said = client(s, "redis-cli", &["--pipe"]).stdin(Cursor::new(many)).ok()?.text();
    ensure!(said.contains("errors: 0, replies: 10000"), "redis-cli --pipe: {said}");
    same("one of them", ask(&["get", "k7777"])?.text(), "v7777".to_owned())?;
    same("keys", ask(&["dbsize"])?.text(), "10001".to_owned())
}

fn dns(s: &Session) -> Result<()> {
    let long: Vec<String> = (0..12).map(|at| format!("\"{}\"", format!("{at:02}").repeat(100))).collect();
    let long = format!("--txt-record=long.test,{}", long.join(","));
    let command = ["/usr/sbin/dnsmasq", "-k", "-C", "/dns.conf", long.as_str()];
    DNS.serve(s, "names", &["-p", "5354:53/udp", "-p", "5354:53/tcp"], &command)?;
    let dig = |words: &[&str]| -> Result<String> {
        let said = client(s, "dig", &[&["-p", "5354", "+time=5", "+tries=4"], words].concat()).ok()?.text();
        ensure!(!said.contains("timed out") && !said.contains("refused"), "dig {words:?}: {said}");
        Ok(said)
    };
    until(s, "dnsmasq", || dig(&["@127.0.0.1", "+short", "a.one.test"]))?;
    for server in ["@127.0.0.1", "@::1"] {
        for (question, answer) in [
            (&["+short", "a.one.test"][..], "10.1.2.3"),
            (&["+short", "a.one.test", "AAAA"], "fd01::3"),
            (&["+short", "one.test", "MX"], "10 mail.one.test."),
            (&["+short", "short.test", "TXT"], "\"a word\""),
            (&["+short", "+tcp", "a.one.test"], "10.1.2.3"),
        ] {
            same(&format!("{server} {question:?}"), dig(&[&[server], question].concat())?, answer.to_owned())?;
        }
        // Too long for a datagram: said so there, whole over a stream.
        let cut = dig(&[server, "+ignore", "+bufsize=512", "long.test", "TXT"])?;
        ensure!(cut.lines().any(|line| line.contains("flags:") && line.contains(" tc")), "not said to be cut: {cut}");
        let whole = dig(&[server, "+short", "long.test", "TXT"])?;
        ensure!(whole.contains(&"11".repeat(100)) && whole.contains(&"00".repeat(100)), "not whole: {whole}");
    }
    ensure!(dig(&["@127.0.0.1", "none.nowhere"])?.contains("REFUSED"), "a name that it has nobody to ask for");
    Ok(())
}

/// Datagrams of many sizes from both families' loopback to a container and back.
fn datagrams(s: &Session) -> Result<()> {
    guard(s)?;
    s.out(&["create", "--name", "echo", "-p", "7000:7000/udp", BUSYBOX, "/data/meter", "echo", "7000"])?;
    s.out(&["cp", &s.meter.display().to_string(), "echo:/data/meter"])?;
    s.out(&["start", "echo"])?;
    let patience = s.seconds(60);
    for loopback in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        crate::rig::world::at_home(move || {
            let socket = UdpSocket::bind((loopback, 0))?;
            socket.connect((loopback, 7000))?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            [1, 100, 1400, 1472, 1473, 4000, 9000, 60_000]
                .into_iter()
                .try_for_each(|size| there_and_back(&socket, size, patience))
        })
        .with_context(|| format!("to {loopback}"))?;
    }
    Ok(())
}

/// The server puts a word in front, its client's address.
fn there_and_back(socket: &UdpSocket, size: usize, patience: Duration) -> Result<()> {
    let sent: Vec<u8> = content(size + 7)[7..].to_vec();
    let end = Instant::now() + patience;
    let mut heard = vec![0; 65_536];
    loop {
        // The server may not have begun yet, and nobody keeps a datagram for it.
        socket.send(&sent)?;
        match socket.recv(&mut heard) {
            // An answer to a shorter one may be late.
            Ok(length) if heard[..length].ends_with(&sent) && length > size => return Ok(()),
            Ok(_) | Err(_) if Instant::now() < end => {}
            Ok(length) => anyhow::bail!("{size} bytes: {length} others came back"),
            Err(error) => return Err(error).with_context(|| format!("{size} bytes")),
        }
    }
}

const STACK: &str = "
name: shop
services:
  web:
    image: nginx:test
    command: [/usr/sbin/nginx, -c, /nginx.conf]
    ports: ['8089:80']
    networks: [front]
    depends_on: { app: { condition: service_healthy } }
  app:
    image: bb:latest
    init: true
    command: sh -c 'mkdir -p /srv; hostname > /srv/name; exec httpd -f -p 80 -h /srv'
    networks: [front, back]
    healthcheck: { test: [CMD, wget, -q, -O, /dev/null, 'http://127.0.0.1/name'], interval: 1s, timeout: 60s, retries: 60 }
    depends_on: { store: { condition: service_started } }
  store:
    image: redis:test
    command: [/usr/bin/redis-server, --save, '', --protected-mode, 'no', --bind, 0.0.0.0]
    networks: [back]
    volumes: ['shelf:/shelf']
networks: { front: {}, back: {} }
volumes: { shelf: {} }
";

/// The reaper's image is published at a registry only, so the measuring client stands in for it.
fn reaped(s: &Session) -> Result<()> {
    guard(s)?;
    let program = s.meter.display().to_string();
    s.out(&["create", "--name", "ryuk-made", BUSYBOX, "true"])?;
    s.out(&["cp", &program, "ryuk-made:/bin/ryuk"])?;
    s.out(&["commit", "-c", "ENTRYPOINT [\"/bin/ryuk\", \"reaper\"]", "-c", "CMD []", "ryuk-made", "ryuk:local"])?;
    s.out(&["rm", "ryuk-made"])?;
    testcontainers::with_a_network(s, &s.cache, "ryuk:local")?;
    same("containers that are left", s.out(&["ps", "-aq"])?, String::new())?;
    s.out(&["rmi", "-f", "ryuk:local"]).map(drop)
}

fn stack(s: &Session) -> Result<()> {
    packages::ensure(CLIENTS)?;
    NGINX.ensure(s)?;
    REDIS.ensure(s)?;
    if !s.docker(["compose", "version"]).finish()?.status.success() {
        compose::plug_in(s)?;
    }
    let compose = |words: &[&str]| {
        let words = [&["compose", "--ansi", "never", "--progress", "plain", "-f", "-"], words].concat();
        s.docker(words).stdin(Cursor::new(STACK)).within(s.seconds(240)).ok()
    };
    let verdict = (|| {
        compose(&["up", "-d"])?;
        let page = || Ok(curl(s, &["http://127.0.0.1:8089/app/"])?.text());
        let first: String = until(s, "the page of a service behind another", page)?;
        ensure!(!first.is_empty(), "an empty name");
        compose(&["up", "-d", "--no-recreate", "--scale", "app=2", "app"])?;
        let both = || {
            let names: BTreeSet<String> = (0..4).map(|_| page()).collect::<Result<_>>()?;
            ensure!(names.len() > 1, "all answers come from {names:?}");
            Ok(names)
        };
        let names = until(s, "both of a service that was scaled", both)?;
        ensure!(names.contains(&first) && names.len() == 2, "{first} and {names:?}");
        let said = compose(&["exec", "-T", "app", "sh", "-c", "(echo PING; sleep 1) | nc -w 5 store 6379"])?.text();
        same("what the store says", said.trim(), "+PONG")?;
        // It shares a network with one and none with the other.
        let script = "ping -c 1 -w 20 app > /dev/null && ping -c 1 -w 2 store 2>&1; true";
        let hidden = compose(&["exec", "-T", "web", "sh", "-c", script])?.text();
        same("how web finds the store", hidden.trim(), "ping: bad address 'store'")?;
        let listed = s.lighter(["ports"]).ok()?.text();
        ensure!(listed.contains("8089") && listed.contains("shop-web-1"), "lighter ports: {listed}");
        Ok(())
    })();
    let down = compose(&["down", "-v"]);
    verdict?;
    down?;
    let after = client(s, "curl", &["-q", "-s", "http://127.0.0.1:8089/"]).finish()?;
    same("curl's code when it is down", after.status.code(), Some(7))
}
