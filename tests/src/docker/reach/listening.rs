//! What lighter's processes listen on: every process in the daemon's network namespace, which the rig made for it alone, and of
//! the namespace's sockets those that one of these processes holds. Called by the cases of `reach`.

use std::collections::BTreeSet;
use std::fs::{read_dir, read_link, read_to_string};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::super::Session;
use super::scan::{TCP, UDP};
use crate::rig::world::daemon;

/// What others could try to reach.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// TCP sockets that listen, and UDP sockets that take datagrams from anybody.
    pub sockets: BTreeSet<(&'static str, SocketAddr)>,
    /// Unix sockets that listen under a name outside the file system, which every user of the namespace may connect to.
    pub nameless: BTreeSet<String>,
}

/// A socket that listens on a port, as `/proc/net` shows it, by its state: TCP_LISTEN, and what an unconnected UDP socket has.
const STATES: [(&str, &str, &str); 4] =
    [("tcp", TCP, "0A"), ("tcp6", TCP, "0A"), ("udp", UDP, "07"), ("udp6", UDP, "07")];
/// Somebody who owns nothing.
const NOBODY: u32 = 65_534;

/// What lighter listens on now.
pub fn of_lighter(s: &Session) -> Result<Listening> {
    beside(daemon(s)?)
}

/// What the processes in the network namespace of this one listen on.
fn beside(daemon: u64) -> Result<Listening> {
    let own = inodes(daemon)?;
    let mut found = Listening::default();
    for (file, protocol, state) in STATES {
        let table = read_to_string(format!("/proc/{daemon}/net/{file}"))?;
        for line in table.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, has, ..] = words[..] else { continue };
            if has == state && words.get(9).is_some_and(|inode| own.contains(*inode)) {
                found.sockets.insert((protocol, address(local).with_context(|| format!("{file}: {line}"))?));
            }
        }
    }
    found.nameless = unix(daemon, &own)?.into_iter().filter(|name| name.starts_with('@')).collect();
    Ok(found)
}

/// Paths of the unix sockets that lighter listens on.
pub fn paths(s: &Session) -> Result<Vec<PathBuf>> {
    let daemon = daemon(s)?;
    let names = unix(daemon, &inodes(daemon)?)?;
    let paths: Vec<PathBuf> = names.into_iter().filter(|name| name.starts_with('/')).map(PathBuf::from).collect();
    ensure!(paths.iter().any(|path| path.ends_with("docker.sock")), "docker.sock is not among them: {paths:?}");
    Ok(paths)
}

/// Connects to a unix socket as a user who owns nothing.
pub fn connect_as_nobody(path: PathBuf) -> Result<()> {
    let entered = thread::spawn(move || -> Result<()> {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(UnixStream::connect(path).map(drop)?)
    });
    entered.join().map_err(|_| anyhow!("a thread panicked"))?
}

/// Names of the listening unix sockets with one of these inodes.
fn unix(daemon: u64, own: &BTreeSet<String>) -> Result<Vec<String>> {
    /// `__SO_ACCEPTCON` in the column of flags.
    const LISTENS: &str = "00010000";
    let table = read_to_string(format!("/proc/{daemon}/net/unix"))?;
    let name = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_one = words.get(3) == Some(&LISTENS) && words.get(6).is_some_and(|inode| own.contains(*inode));
        words.get(7).filter(|_| is_one).map(|&name| name.to_owned())
    };
    Ok(table.lines().skip(1).filter_map(name).collect())
}

/// Inodes of all sockets of the processes in the daemon's namespace.
fn inodes(daemon: u64) -> Result<BTreeSet<String>> {
    let home = read_link(format!("/proc/{daemon}/ns/net"))?;
    let mut found = BTreeSet::new();
    for process in read_dir("/proc")?.flatten().map(|entry| entry.path()) {
        // Processes come and go, and what has no descriptors is none.
        if read_link(process.join("ns/net")).ok().as_ref() != Some(&home) {
            continue;
        }
        let Ok(descriptors) = read_dir(process.join("fd")) else { continue };
        for target in descriptors.flatten().filter_map(|entry| read_link(entry.path()).ok()) {
            let target = target.to_string_lossy().into_owned();
            found.extend(target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')).map(str::to_owned));
        }
    }
    ensure!(!found.is_empty(), "the daemon has no sockets at all");
    Ok(found)
}

/// `0100007F:1F90`: words of 32 bits as this processor has them in memory, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words = (0..ip.len() / 8).map(|at| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let ip: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
    };
    Some((ip, u16::from_str_radix(port, 16).ok()?).into())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};

    use super::*;

    #[test]
    fn sockets_that_listen_are_found_and_others_are_not() {
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let [open, connected] = [0; 2].map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        connected.connect(open.local_addr().unwrap()).unwrap();
        let name = format!("lighter-reach-{}", std::process::id());
        let _nameless = UnixListener::bind_addr(&UnixAddress::from_abstract_name(&name).unwrap()).unwrap();
        let found = beside(std::process::id().into()).unwrap();
        assert!(found.sockets.contains(&(TCP, listener.local_addr().unwrap())));
        assert!(found.sockets.contains(&(UDP, open.local_addr().unwrap())));
        assert!(found.nameless.contains(&format!("@{name}")));
        let others = [(TCP, client.local_addr().unwrap()), (UDP, connected.local_addr().unwrap())];
        assert!(others.iter().all(|socket| !found.sockets.contains(socket)), "{found:?}");
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        assert_eq!(address("0100007F:1F90"), Some(([127, 0, 0, 1], 8080).into()));
        assert_eq!(address("00000000000000000000000001000000:0035"), Some((Ipv6Addr::LOCALHOST, 53).into()));
        assert_eq!((address("0100007F"), address("zz:1"), address("0100007F:")), (None, None, None));
    }
}
