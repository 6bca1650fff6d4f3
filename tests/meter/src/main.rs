//! The client as a program, for a container. It answers each line of its standard input, `kept|fresh SOCKET PATH COUNT`,
//! `down|up SOCKET CONTAINER BYTES` or `vsock COUNT`, by the 50th and the 99th percentile in nanoseconds, so that one start serves many short turns. With words
//! of its own it does what the busybox of the other containers cannot: `echo PORT` is a UDP server, `scan …` asks
//! every port of addresses, `refused COUNT` is refused by the vsock device, `ways …` tries vsock in three ways,
//! `fetch …` has many connections at the same time, `datagrams …` wants datagrams back, `names SERVER` asks a name server for
//! a table of names, `reaper` removes what others leave, `watch FOLDER` says what inotify reports, `swap SECONDS FOLDER LINK…`
//! exchanges the name of a folder with those of links, `map FILE` reads and writes a file as memory, and `files` (with
//! `guest FOLDER…`, as the first process of a machine) works on trees of files.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::net::{Ipv6Addr, UdpSocket};
use std::path::Path;

use lighter_meter::{
    datagrams, exec, fetch, files, fresh, kept, map, names, percentile, reaper, scan, swap, sys, watch,
};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => answer(),
        ["echo", port] => echo(port.parse()?),
        ["scan", seconds, udp_seconds, ref targets @ ..] => {
            let targets = targets.iter().map(|word| word.parse()).collect::<Result<Vec<_>, _>>()?;
            Ok(scan::run(seconds.parse()?, udp_seconds.parse()?, &targets)?)
        }
        ["ways", ref ports @ ..] => {
            let ports: Vec<_> = ports.iter().map(|word| word.parse()).collect::<Result<_, _>>()?;
            if !ports.is_empty() {
                in_the_guest()?;
            }
            Ok(sys::ways::run(&ports)?)
        }
        ["refused", count] => {
            let samples = sys::vsock::refused(count.parse()?)?;
            Ok(writeln!(io::stdout(), "{} refused", samples.len())?)
        }
        ["datagrams", server, ref sizes @ ..] => {
            let sizes = sizes.iter().map(|word| word.parse()).collect::<Result<Vec<_>, _>>()?;
            Ok(datagrams::run(server.parse()?, &sizes)?)
        }
        ["names", server] => Ok(names::run(server.parse()?)?),
        ["swap", seconds, folder, ref links @ ..] => Ok(swap::run(seconds.parse()?, folder, links)?),
        ["reaper"] => Ok(reaper::run()?),
        ["map", file] => Ok(map::run(file)?),
        ["watch", folder] => Ok(watch::run(folder)?),
        ["files"] => Ok(files::answer(files::Caches { dropped: false })?),
        ["files", "guest", ref folders @ ..] => {
            sys::machine::prepare(folders)?;
            Ok(files::answer(files::Caches { dropped: true })?)
        }
        ["fetch", server, path, count] => Ok(fetch::run(server.parse()?, path, count.parse()?)?),
        _ => Err(format!("{words:?} is nothing that this program does").into()),
    }
}

/// Fails elsewhere: vsock knows no namespaces, so on a virtual machine of somebody else the other end would be that one's host.
fn in_the_guest() -> Result<(), Box<dyn Error>> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    if kernel.trim_end().ends_with("-lighter") {
        return Ok(());
    }
    Err(format!("ports of vsock are tried in lighter's guest only, and this kernel is {}", kernel.trim_end()).into())
}

fn answer() -> Result<(), Box<dyn Error>> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let samples = match &line.split_whitespace().collect::<Vec<_>>()[..] {
            ["kept", socket, path, count] => kept(Path::new(socket), path, count.parse()?)?,
            ["fresh", socket, path, count] => fresh(Path::new(socket), path, count.parse()?)?,
            ["down", socket, container, bytes] => {
                vec![exec::run(Path::new(socket), container, exec::Way::Down, bytes.parse()?)?]
            }
            ["up", socket, container, bytes] => {
                vec![exec::run(Path::new(socket), container, exec::Way::Up, bytes.parse()?)?]
            }
            ["vsock", count] => sys::vsock::refused(count.parse()?)?,
            _ => return Err(format!("`{line}` is nothing that is measured").into()),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{} {}", percentile(&samples, 50), percentile(&samples, 99))?;
        out.flush()?;
    }
    Ok(())
}

/// Answers each datagram with its sender's address and what it said, for ever.
fn echo(port: u16) -> Result<(), Box<dyn Error>> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
    let mut buffer = vec![0; 65_535];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        let said = [format!("{} ", from.ip().to_canonical()).as_bytes(), &buffer[..length]].concat();
        socket.send_to(&said, from)?;
    }
}
