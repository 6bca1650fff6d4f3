//! Which ports of addresses are open, by asking each of them. Called by the program, in a container or in a namespace of the
//! host.
//!
//! TCP: a connect to every port. Accepted is open, refused or unreachable is closed, and silence is told too, because
//! nothing in the way should be silent.
//!//!
//! UDP: a question for a name server to each port, first the low ones. Any answer is open; ports without one cannot be told from
//! closed ones whose refusal was held back, as kernels do, so they are only counted. Time bounds how many are asked.
//!
//! A port that was open is asked again: one that then is closed was somebody's own port (a socket that connects to a port of
//! its own host may be given that very port by the kernel, and then meets itself), and is told as `once`.
//!
//! ```text
//! open|once tcp|udp ADDRESS PORT
//! silent tcp ADDRESS PORT
//! swept tcp|udp ADDRESS asked N of N open N closed N silent N ms N
//! ```

mod ask;
mod target;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use ask::Protocol;
use ask::{Asked, Begun, Verdict};
pub use target::Target;

/// Questions on their way at the same time.
const AT_ONCE: usize = 256;
/// Lines about silent ports of one address; more say nothing new.
const LISTED: usize = 32;
/// Between a question that was answered and the same again, so that what answered has gone if it was the caller's own.
const AGAIN: Duration = Duration::from_millis(300);

/// What was found at one address.
#[derive(Debug, Default)]
struct Found {
    asked: usize,
    open: Vec<u16>,
    closed: usize,
    silent: Vec<u16>,
}

/// Asks every port of every target, all of TCP within `seconds` for each, and UDP as far as `udp_seconds` go.
///
/// # Errors
/// When this host is short of something, or a connect fails in a way that says nothing about the port.
pub fn run(seconds: u64, udp_seconds: u64, targets: &[Target]) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    for target in targets {
        for (protocol, seconds) in [(Protocol::Tcp, seconds), (Protocol::Udp, udp_seconds)] {
            let started = Instant::now();
            let found = sweep(protocol, target, started + Duration::from_secs(seconds))?;
            report(protocol, target, &found, started.elapsed())?;
        }
    }
    Ok(())
}

fn report(protocol: Protocol, target: &Target, found: &Found, took: Duration) -> io::Result<()> {
    let (name, address) = (protocol.name(), target.address);
    let mut out = io::stdout().lock();
    for &port in &found.open {
        let word = if is_still_open(protocol, (address, port).into())? { "open" } else { "once" };
        writeln!(out, "{word} {name} {address} {port}")?;
    }
    if protocol == Protocol::Tcp {
        found.silent.iter().take(LISTED).try_for_each(|port| writeln!(out, "silent {name} {address} {port}"))?;
    }
    writeln!(
        out,
        "swept {name} {address} asked {} of {} open {} closed {} silent {} ms {}",
        found.asked,
        target.ports().len(),
        found.open.len(),
        found.closed,
        found.silent.len(),
        took.as_millis()
    )?;
    out.flush()
}

fn is_still_open(protocol: Protocol, to: SocketAddr) -> io::Result<bool> {
    thread::sleep(AGAIN);
    let one = Target::of_ports(to.ip(), vec![to.port()]);
    Ok(!sweep(protocol, &one, Instant::now() + protocol.patience())?.open.is_empty())
}

/// Asks until `end`; what has been asked by then is still waited for.
fn sweep(protocol: Protocol, target: &Target, end: Instant) -> io::Result<Found> {
    let mut ports = target.ports().into_iter();
    let (mut found, mut waiting) = (Found::default(), Vec::<Asked>::new());
    let mut next_at = Instant::now();
    let mut all_asked = false;
    loop {
        while !all_asked && waiting.len() < AT_ONCE && Instant::now() >= next_at {
            let Some(port) = ports.next().filter(|_| Instant::now() < end) else {
                all_asked = true;
                break;
            };
            found.asked += 1;
            next_at += protocol.pace();
            match ask::begin(protocol, (target.address, port).into())? {
                Begun::Known(verdict) => found.note(port, verdict),
                Begun::Waits(asked) => waiting.push(asked),
            }
        }
        if all_asked && waiting.is_empty() {
            return Ok(found);
        }
        hear(&mut waiting, &mut found)?;
    }
}

/// Waits a moment for answers and takes out of `waiting` whoever has one or has waited long enough.
fn hear(waiting: &mut Vec<Asked>, found: &mut Found) -> io::Result<()> {
    let mut fds: Vec<PollFd<'_>> =
        waiting.iter().map(|asked| PollFd::new(&asked.socket, asked.protocol.wanted())).collect();
    // Short, because there may be more to ask.
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 }))?;
    let is_ready: Vec<bool> = fds.iter().map(|fd| fd.revents() != PollFlags::empty()).collect();
    let mut left = Vec::with_capacity(waiting.len());
    for (asked, is_ready) in waiting.drain(..).zip(is_ready) {
        let verdict = if is_ready { asked.verdict()? } else { None };
        match verdict.or_else(|| asked.is_overdue().then_some(Verdict::Silent)) {
            Some(verdict) => found.note(asked.port, verdict),
            None => left.push(asked),
        }
    }
    *waiting = left;
    Ok(())
}

impl Found {
    fn note(&mut self, port: u16, verdict: Verdict) {
        match verdict {
            Verdict::Open => self.open.push(port),
            Verdict::Closed => self.closed += 1,
            Verdict::Silent => self.silent.push(port),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn who_listens_is_found_and_who_does_not_is_closed() {
        let open = TcpListener::bind((HERE, 0)).unwrap().local_addr().unwrap().port();
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Target::of_ports(HERE, vec![open, port]);
        let found = sweep(Protocol::Tcp, &target, Instant::now() + Duration::from_secs(60)).unwrap();
        assert_eq!((found.asked, found.open, found.closed, found.silent), (2, vec![port], 1, vec![]));
        assert!(is_still_open(Protocol::Tcp, (HERE, port).into()).unwrap());
        drop(listener);
        assert!(!is_still_open(Protocol::Tcp, (HERE, port).into()).unwrap());
    }

    #[test]
    fn an_answer_a_refusal_and_silence_are_told_apart_over_udp() {
        let (echo, deaf) = (UdpSocket::bind((HERE, 0)).unwrap(), UdpSocket::bind((HERE, 0)).unwrap());
        let closed = UdpSocket::bind((HERE, 0)).unwrap().local_addr().unwrap().port();
        let (port, deaf_port) = (echo.local_addr().unwrap().port(), deaf.local_addr().unwrap().port());
        thread::spawn(move || {
            let mut question = [0; 512];
            let (length, from) = echo.recv_from(&mut question).unwrap();
            echo.send_to(&question[..length], from).unwrap();
        });
        let target = Target::of_ports(HERE, vec![port, deaf_port, closed]);
        let found = sweep(Protocol::Udp, &target, Instant::now() + Duration::from_secs(60)).unwrap();
        assert_eq!((found.asked, found.open, found.closed, found.silent), (3, vec![port], 1, vec![deaf_port]));
    }

    #[test]
    fn time_ends_a_sweep_and_the_report_says_how_far_it_came() {
        let target: Target = "127.0.0.1".parse().unwrap();
        let found = sweep(Protocol::Tcp, &target, Instant::now()).unwrap();
        assert_eq!((found.asked, target.ports().len()), (0, 65_535));
    }
}
