//! The servers in `out`, each in threads that run until this process ends. Called by `inside`; `clients` is the other half.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::world;

/// Reads to the end.
pub const SINK: u16 = 7101;
/// Is told a time in milliseconds (eight bytes, little-endian), and writes for so long.
pub const SOURCE: u16 = 7102;
/// Gives back what comes, in pieces of [`MESSAGE`].
pub const ECHO: u16 = 7103;
/// Gives back one piece and closes.
pub const ONCE: u16 = 7104;
/// Gives back datagrams.
pub const DATAGRAMS: u16 = 7105;

/// Bytes of a request and of its answer.
pub const MESSAGE: usize = 64;
/// Bytes for each read and write of a stream.
pub const BLOCK: usize = 256 << 10;

/// What has arrived here: clients read it, in the same process.
#[derive(Default)]
pub struct Arrived {
    /// Datagrams.
    pub datagrams: AtomicU64,
    /// Bytes at the sink.
    pub bytes: AtomicU64,
    /// Streams at the sink that have not ended.
    pub streams: AtomicU64,
}

/// Starts all of them.
pub fn start() -> Result<Arc<Arrived>> {
    let arrived = Arc::new(Arrived::default());
    let (counted, all) = (Arc::clone(&arrived), Arc::clone(&arrived));
    world::outside(move || {
        serve(SINK, move |stream| sink(stream, &all))?;
        serve(SOURCE, source)?;
        serve(ECHO, |stream| echo(stream, usize::MAX))?;
        serve(ONCE, |stream| echo(stream, 1))?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DATAGRAMS))?;
        thread::spawn(move || datagrams(&socket, &counted));
        Ok(())
    })?;
    Ok(arrived)
}

fn serve(port: u16, talk: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if port == ONCE {
                // One client at a time: a thread for each would be most of what is measured.
                drop(talk(stream));
            } else {
                let talk = talk.clone();
                thread::spawn(move || drop(talk(stream)));
            }
        }
    });
    Ok(())
}

fn sink(mut stream: TcpStream, arrived: &Arrived) -> std::io::Result<()> {
    arrived.streams.fetch_add(1, Ordering::Relaxed);
    let mut block = vec![0; BLOCK];
    // Clients end with a reset.
    while let Ok(count @ 1..) = stream.read(&mut block) {
        arrived.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
    arrived.streams.fetch_sub(1, Ordering::Relaxed);
    Ok(())
}

fn source(mut stream: TcpStream) -> std::io::Result<()> {
    let mut millis = [0; 8];
    stream.read_exact(&mut millis)?;
    let (end, block) = (Instant::now() + Duration::from_millis(u64::from_le_bytes(millis)), vec![7; BLOCK]);
    while Instant::now() < end {
        stream.write_all(&block)?;
    }
    Ok(())
}

fn echo(mut stream: TcpStream, times: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE];
    for _ in 0..times {
        stream.read_exact(&mut message)?;
        stream.write_all(&message)?;
    }
    Ok(())
}

fn datagrams(socket: &UdpSocket, arrived: &Arrived) {
    let mut buffer = [0; 2048];
    loop {
        // An error is what the network says of an earlier answer.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        arrived.datagrams.fetch_add(1, Ordering::Relaxed);
        drop(socket.send_to(&buffer[..length], from));
    }
}
