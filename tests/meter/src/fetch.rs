//! Many connections at the same time: all of them are open before the first one asks for anything. What came is told by its
//! hash. Called by the program, in a container.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Who waits longer than this for one answer is stuck.
const STUCK: Duration = Duration::from_secs(120);

/// Gets `path` of `server` by HTTP/1.0 over `count` connections, and prints `TIMES HASH` for each different body, or
/// `TIMES ERROR`.
///
/// # Errors
/// When a thread cannot be started or nothing can be printed.
pub fn run(server: SocketAddr, path: &str, count: usize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    tally(server, path, count)?.iter().try_for_each(|(result, times)| writeln!(out, "{times} {result}"))
}

/// How often each result came.
fn tally(server: SocketAddr, path: &str, count: usize) -> io::Result<BTreeMap<String, usize>> {
    let all_are_open = Barrier::new(count);
    let results = thread::scope(|scope| -> io::Result<Vec<String>> {
        let one = || {
            let opened = TcpStream::connect_timeout(&server, STUCK);
            // Who could not connect is still waited for.
            all_are_open.wait();
            opened.and_then(|stream| get(stream, path)).unwrap_or_else(|error| format!("error: {error}"))
        };
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, String>| {
            thread.join().map_err(|_| io::Error::other("a thread panicked"))
        };
        threads.into_iter().map(join).collect()
    })?;
    let mut tally = BTreeMap::<String, usize>::new();
    results.into_iter().for_each(|result| *tally.entry(result).or_default() += 1);
    Ok(tally)
}

/// The body's hash.
fn get(mut stream: TcpStream, path: &str) -> io::Result<String> {
    stream.set_read_timeout(Some(STUCK))?;
    stream.set_write_timeout(Some(STUCK))?;
    // In one piece: a server that answers the first of several would reset the connection for the others.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let head = head.ok_or_else(|| io::Error::other("no HTTP answer"))? + 4;
    Ok(Sha256::digest(&answer[head..]).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn all_connections_are_open_before_the_first_is_answered_and_bodies_are_told_apart() {
        const COUNT: usize = 20;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = listener.local_addr().unwrap();
        let serve = thread::spawn(move || {
            let all: Vec<TcpStream> = (0..COUNT).map(|_| listener.accept().unwrap().0).collect();
            for (index, mut stream) in all.into_iter().enumerate() {
                let mut request = [0; 4096];
                assert!(stream.read(&mut request).unwrap() > 0);
                let body = if index == 7 { "other" } else { "same" };
                write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}").unwrap();
            }
        });
        let tally = tally(server, "/", COUNT).unwrap();
        serve.join().unwrap();
        let mut times: Vec<usize> = tally.values().copied().collect();
        times.sort_unstable();
        assert_eq!(times, [1, COUNT - 1]);
        assert!(tally.keys().all(|hash| hash.len() == 64), "{tally:?}");
    }
}
