//! What containers must be able to reach, and what not: out through the host to a made-up world. These cases run only with
//! the daemon in a network namespace that the rig made (see `rig::world`), and ask for that first.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lighter_meter::names::NAMES;

use super::{BUSYBOX, Case, Session, ports, reach, same};
use crate::rig::servers::{COUNT, ECHO, FILES, LOOPBACK_FILES, LOW_FILES, OPEN_FILES, content_hash};
use crate::rig::world::{BLACK_HOLE, FAR, HOST, HOST_AGAIN, SERVER, SERVER_V6, UNREACHABLE, at_home, guard, plug};

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "net_a_container_fetches_a_file_by_its_hash", run: fetch },
        Case { name: "net_a_container_sends_a_file_by_its_hash", run: send },
        Case { name: "net_a_container_fetches_1_gb_by_its_hash", run: fetch_1_gb },
        Case { name: "net_a_narrow_path_is_found_by_streams_and_datagrams", run: narrow },
        Case { name: "net_idle_connections_live_on_after_ten_minutes", run: idle },
        Case { name: "net_each_side_of_a_connection_ends_by_itself", run: half_close },
        Case { name: "net_refused_and_unreachable_are_told_apart", run: failures },
        Case { name: "net_datagrams_pass_both_ways", run: datagrams },
        Case { name: "net_names_resolve_as_on_the_host", run: names },
        Case { name: "net_a_table_of_names_and_types", run: table_of_names },
        Case { name: "net_echoes_come_back", run: echoes },
        Case { name: "net_ipv6_reaches_the_world", run: ipv6 },
        Case { name: "net_host_docker_internal_is_the_hosts_loopback", run: host },
        Case { name: "net_n10_host_access_off_closes_the_host", run: n10_closed_host },
        Case { name: "net_n9_a_container_that_floods_starves_no_other", run: n9_flood },
        Case { name: "net_a_machine_without_a_network_starts", run: no_network },
    ]
}

/// Runs a script in a container on the default bridge.
fn container(s: &Session, script: &str) -> Result<String> {
    guard(s)?;
    s.out(&["run", "--rm", BUSYBOX, "sh", "-c", script])
}

fn fetch(s: &Session) -> Result<()> {
    let length = 20_000_000;
    let got = container(s, &format!("wget -q -O - http://{SERVER}:{FILES}/{length} | sha256sum"))?;
    same("hash", got.split(' ').next(), Some(content_hash(length).as_str()))
}

fn send(s: &Session) -> Result<()> {
    let script = format!("cat /bin/busybox /bin/busybox > /tmp/f; sha256sum < /tmp/f; nc {SERVER} {COUNT} < /tmp/f");
    let got = container(s, &script)?;
    let mut words = got.split_whitespace();
    let (here, there) = (words.next(), words.nth(2));
    ensure!(here.is_some_and(|hash| hash.len() == 64), "no hash: {got}");
    same("the hash that the server found", there, here)
}

fn fetch_1_gb(s: &Session) -> Result<()> {
    guard(s)?;
    let length = 1_000_000_000;
    let script = format!("wget -q -O - http://{SERVER}:{FILES}/{length} | sha256sum");
    let got = s.docker(["run", "--rm", BUSYBOX, "sh", "-c", &script]).within(s.seconds(1200)).ok()?.text();
    same("hash", got.split(' ').next(), Some(content_hash(length).as_str()))
}

/// Neither end of the path knows that packets of 1500 bytes do not pass in its middle.
fn narrow(s: &Session) -> Result<()> {
    // First, because what teaches the host by a stream helps its datagrams too.
    let sizes = ["1", "1232", "1253", "1400", "1472", "1473", "4000", "9000", "65000"];
    let words = ["datagrams", &format!("{FAR}:{ECHO}")].into_iter().chain(sizes).map(str::to_owned).collect::<Vec<_>>();
    same("datagrams that came back as they were", reach::meter(s, &[], &words, 300)?, sizes.join("\n"))?;
    let got = container(
        s,
        &format!(
            "wget -q -O - http://{FAR}:{FILES}/3000000 | sha256sum; head -c 1500000 /bin/busybox | sha256sum; \
             head -c 1500000 /bin/busybox | nc {FAR} {COUNT}; ping -c 2 -s 3000 {FAR}"
        ),
    )?;
    let mut lines = got.lines();
    same("fetched", lines.next().and_then(|line| line.split(' ').next()), Some(content_hash(3_000_000).as_str()))?;
    let sent = lines.next().and_then(|line| line.split(' ').next());
    same("sent", lines.next().and_then(|line| line.split(' ').nth(1)), sent)?;
    ensure!(got.contains("2 packets received"), "echoes longer than the path: {got}");
    Ok(())
}

/// One connection of a container to the neighbour, and one of the host to a container; neither says a word for ten minutes.
fn idle(s: &Session) -> Result<()> {
    guard(s)?;
    let talk = format!("(echo early; sleep 600; echo late) | nc {SERVER} {ECHO}");
    s.out(&["run", "-d", "--name", "out", BUSYBOX, "sh", "-c", &talk])?;
    s.out(&[
        "run",
        "-d",
        "--init",
        "--name",
        "in",
        "-p",
        "7003:7003",
        BUSYBOX,
        "nc",
        "-ll",
        "-p",
        "7003",
        "-e",
        "cat",
    ])?;
    let inward = at_home(|| ports::early_and_late((Ipv4Addr::LOCALHOST, 7003).into(), Duration::from_secs(600)))?;
    same("what the host's client heard", inward, "early late".to_owned())?;
    s.docker(["wait", "out"]).within(s.seconds(700)).ok()?;
    same("what the container heard", s.out(&["logs", "out"])?, "early\nlate".to_owned())
}

fn half_close(s: &Session) -> Result<()> {
    let got = container(s, &format!("head -c 300000 /bin/busybox | nc {SERVER} {COUNT}"))?;
    same("what the server read before it spoke", got.split(' ').next(), Some("300000"))
}

fn failures(s: &Session) -> Result<()> {
    guard(s)?;
    let ask = |address: &str| {
        let done =
            s.docker(["run", "--rm", BUSYBOX, "wget", "-q", "-O", "-", &format!("http://{address}/")]).finish()?;
        ensure!(!done.status.success(), "{address} answered");
        Ok(done.talk())
    };
    for (address, words) in [
        (format!("{SERVER}:1"), "Connection refused"),
        (UNREACHABLE.to_owned(), "No route to host"),
        ("169.254.169.254".to_owned(), "No route to host"),
        ("192.168.127.4".to_owned(), "No route to host"),
    ] {
        let said = ask(&address)?;
        ensure!(said.contains(words), "{address}: {said}");
    }
    Ok(())
}

fn datagrams(s: &Session) -> Result<()> {
    // Busybox speaks UDP to name servers only; this one is the neighbour's, asked past the gateway's.
    let got = container(s, &format!("nslookup server.world.test {SERVER}"))?;
    ensure!(got.matches(SERVER).count() >= 2, "the neighbour's own name server: {got}");
    Ok(())
}

fn names(s: &Session) -> Result<()> {
    let fetch = |name: &str| container(s, &format!("wget -q -O - http://{name}:{FILES}/100 | sha256sum"));
    for name in ["server.world.test", "server", "neighbour"] {
        let got = fetch(name)?;
        same(name, got.split(' ').next(), Some(content_hash(100).as_str()))?;
    }
    let asked = container(s, "nslookup -type=txt text.world.test; nslookup nobody.world.test; true")?;
    ensure!(asked.contains(&"x".repeat(200)), "a text record does not pass: {asked}");
    ensure!(asked.contains("NXDOMAIN"), "a name that does not exist: {asked}");
    Ok(())
}

/// Fifty names and fifteen types, answers of up to 64 KiB, over both transports: the client compares every byte.
fn table_of_names(s: &Session) -> Result<()> {
    let said = reach::meter(s, &[], &["names".to_owned(), "192.168.127.1:53".to_owned()], 600)?;
    println!("    {said}");
    let number = |word| said.split(' ').skip_while(|&found| found != word).nth(1).and_then(|word| word.parse().ok());
    let (udp, cut, tcp) = (number("udp"), number("cut"), number("tcp"));
    // Three times in datagrams, once over a stream, and again what was cut.
    ensure!(udp >= Some(3 * NAMES), "too few were asked for: {said}");
    ensure!(cut > Some(0) && tcp >= cut.map(|cut| cut + NAMES), "cut answers were not asked for again: {said}");
    Ok(())
}

fn echoes(s: &Session) -> Result<()> {
    let got = container(s, &format!("ping -c 2 192.168.127.1; ping -c 2 {SERVER}"))?;
    same("both answer", got.matches("2 packets received").count(), 2)
}

fn ipv6(s: &Session) -> Result<()> {
    guard(s)?;
    let script = format!("wget -q -O - http://[{SERVER_V6}]:{FILES}/1000000 | sha256sum");
    let got = s.out(&["run", "--rm", "--network", "host", BUSYBOX, "sh", "-c", &script])?;
    same("hash", got.split(' ').next(), Some(content_hash(1_000_000).as_str()))?;
    let refused = format!(
        "wget -q -O - http://[{SERVER_V6}]:1/ 2>&1; wget -q -O - http://[::ffff:127.0.0.1]:{LOOPBACK_FILES}/1 2>&1; true"
    );
    let said = s.out(&["run", "--rm", "--network", "host", BUSYBOX, "sh", "-c", &refused])?;
    same("refusals", said.matches("can't connect").count(), 2)
}

fn host(s: &Session) -> Result<()> {
    let fetch =
        |address: &str, port: u16| container(s, &format!("wget -q -O - http://{address}:{port}/5000 | sha256sum"));
    for (address, port) in [("host.docker.internal", LOOPBACK_FILES), ("app.test", LOOPBACK_FILES), (HOST, OPEN_FILES)]
    {
        let got = fetch(address, port)?;
        same(address, got.split(' ').next(), Some(content_hash(5000).as_str()))?;
    }
    let said = container(s, &format!("wget -q -O - http://{HOST}:{LOOPBACK_FILES}/1 2>&1; true"))?;
    ensure!(said.contains("refused"), "what listens on loopback answers on another address: {said}");
    // Ports of the system want a word of their own.
    same("ports below 1024 by default", low_ports(s)?, String::new())
}

/// Which addresses of the host answer on a port below 1024.
fn low_ports(s: &Session) -> Result<String> {
    let script = format!(
        "for a in host.docker.internal {HOST} {HOST_AGAIN}; do \
         wget -q -O - http://$a:{LOW_FILES}/10 > /dev/null 2>&1 && echo $a; done; true"
    );
    container(s, &script)
}

/// More connections to nowhere than there are places for, from one container; another one's still work.
fn n9_flood(s: &Session) -> Result<()> {
    guard(s)?;
    let flood = format!(
        "i=0; while [ $i -lt 700 ]; do nc -w 120 {BLACK_HOLE} 80 < /dev/null > /dev/null 2>&1 & i=$((i+1)); done; \
         touch /tmp/flooding; sleep 600"
    );
    s.out(&["run", "-d", "--name", "flood", BUSYBOX, "sh", "-c", &flood])?;
    let verdict = (|| {
        s.out(&["exec", "flood", "sh", "-c", "while ! [ -e /tmp/flooding ]; do sleep 1; done"])?;
        let got = container(s, &format!("wget -q -O - http://{SERVER}:{FILES}/1000000 | sha256sum"))?;
        same("hash", got.split(' ').next(), Some(content_hash(1_000_000).as_str()))?;
        let logged = std::fs::read_to_string(s.dir.join("home/default/daemon.log"))?;
        ensure!(logged.contains("too many TCP connections"), "nothing was flooded: the case shows nothing");
        Ok(())
    })();
    s.out(&["rm", "-f", "flood"])?;
    verdict
}

/// Stops the machine, writes the settings and starts it again.
pub(super) fn restart(s: &Session, settings: &str) -> Result<()> {
    s.lighter(["stop"]).within(s.seconds(90)).ok()?;
    s.configure(settings)?;
    s.start()
}

fn n10_closed_host(s: &Session) -> Result<()> {
    guard(s)?;
    restart(s, "host_access = false")?;
    let tries = format!(
        "for u in host.docker.internal:{LOOPBACK_FILES} app.test:{LOOPBACK_FILES} {HOST}:{OPEN_FILES} {HOST_AGAIN}:{OPEN_FILES} \
         192.168.127.3:{OPEN_FILES}; do wget -q -O - http://$u/10 > /dev/null 2>&1 && echo $u; done; \
         wget -q -O - http://{SERVER}:{FILES}/10 | wc -c"
    );
    let got = container(s, &tries);
    restart(s, "host_access = \"all\"")?;
    let low = low_ports(s);
    restart(s, "host_access = true")?;
    same("what is reached", got?, "10".to_owned())?;
    same("ports below 1024 when all are allowed", low?.lines().count(), 3)
}

fn no_network(s: &Session) -> Result<()> {
    guard(s)?;
    plug(false)?;
    let unplugged = (|| {
        s.lighter(["stop"]).within(s.seconds(90)).ok()?;
        s.start()?;
        let said = container(s, &format!("wget -q -O - http://{SERVER}:{FILES}/1 2>&1; true"))?;
        ensure!(said.contains("unreachable"), "an unplugged host says {said:?}");
        Ok(())
    })();
    plug(true)?;
    unplugged?;
    // The machine that started without it uses it as soon as it is there.
    let got = container(s, &format!("wget -q -O - http://{SERVER}:{FILES}/1000 | sha256sum"))?;
    same("hash", got.split(' ').next(), Some(content_hash(1000).as_str()))
}
