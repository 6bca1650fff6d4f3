//! The clients, which run in a guest's namespace. Each returns one figure of one short run, and gives up when nothing moves.
//! Called by `measures` and `counters`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::servers::{self, Arrived, BLOCK, MESSAGE};
use super::world::SERVER;

/// How long nothing may move.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a datagram.
const DATAGRAM: usize = 1200;
/// So many are sent every millisecond.
const BURST: u64 = 10;

/// Bytes that went, and how long they took.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    /// All flows together.
    pub bytes: u64,
    /// From the first byte to the last.
    pub seconds: f64,
}

/// `flows` streams at once for `time`, to the server: what the server has got by then. What is still under way is given up,
/// because not every stack delivers it soon.
pub fn up(arrived: &Arrived, flows: usize, time: Duration) -> Result<Moved> {
    let streams = (0..flows).map(|_| connect(servers::SINK)).collect::<Result<Vec<_>>>()?;
    let (before, begun) = (arrived.bytes.load(Ordering::Relaxed), Instant::now());
    let moved = thread::scope(|scope| {
        for stream in &streams {
            scope.spawn(move || {
                let (mut stream, block) = (stream, vec![7; BLOCK]);
                // Ends when the stream is shut below.
                while stream.write_all(&block).is_ok() {}
            });
        }
        thread::sleep(time);
        let bytes = arrived.bytes.load(Ordering::Relaxed) - before;
        let seconds = begun.elapsed().as_secs_f64();
        for stream in &streams {
            // Dropping it becomes a reset. Where the stack broke it already, so be it.
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        Moved { bytes, seconds }
    });
    drop(streams);
    let end = Instant::now() + PATIENCE;
    while arrived.streams.load(Ordering::Relaxed) > 0 && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(moved)
}

/// `flows` streams at once for `time`, from the server.
pub fn down(flows: usize, time: Duration) -> Result<Moved> {
    let streams = (0..flows).map(|_| connect(servers::SOURCE)).collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    let bytes = thread::scope(|scope| {
        let all: Vec<_> = streams.into_iter().map(|stream| scope.spawn(move || receive(stream, time))).collect();
        let each = all.into_iter().map(|flow| flow.join().map_err(|_| anyhow!("a client panicked"))?);
        each.sum::<Result<u64>>()
    })?;
    Ok(Moved { bytes, seconds: begun.elapsed().as_secs_f64() })
}

fn receive(mut stream: TcpStream, time: Duration) -> Result<u64> {
    stream.write_all(&(time.as_millis() as u64).to_le_bytes())?;
    let (mut total, mut block) = (0, vec![0; BLOCK]);
    while let count @ 1.. = stream.read(&mut block).context("receive")? {
        total += count as u64;
    }
    Ok(total)
}

/// Connect, request, answer, close, again and again for `time`; how long each took, in nanoseconds.
pub fn visits(time: Duration) -> Result<Vec<u64>> {
    repeated(time, || {
        let mut stream = connect(servers::ONCE)?;
        ask(&mut stream)?;
        // The server's end; whoever ends first keeps the port's memory, which shall be the server.
        stream.read(&mut [0]).context("wait for the end")?;
        Ok(())
    })
}

/// Requests on one connection for `time`; how long each took, in nanoseconds.
pub fn requests(time: Duration) -> Result<Vec<u64>> {
    let mut stream = connect(servers::ECHO)?;
    repeated(time, || ask(&mut stream))
}

fn repeated(time: Duration, mut work: impl FnMut() -> Result<()>) -> Result<Vec<u64>> {
    let (end, mut samples) = (Instant::now() + time, Vec::new());
    while Instant::now() < end {
        let begun = Instant::now();
        work()?;
        samples.push(begun.elapsed().as_nanos() as u64);
    }
    Ok(samples)
}

fn ask(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(&[7; MESSAGE]).context("ask")?;
    stream.read_exact(&mut [0; MESSAGE]).context("wait for the answer")
}

fn connect(port: u16) -> Result<TcpStream> {
    let server: SocketAddr = format!("{SERVER}:{port}").parse()?;
    let stream = TcpStream::connect_timeout(&server, PATIENCE).with_context(|| format!("connect to {server}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Datagrams at a fixed rate for `time`, each echoed: the parts that were lost on the way out, and on the way back.
pub fn datagrams(arrived: &Arrived, time: Duration) -> Result<[f64; 2]> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(format!("{SERVER}:{}", servers::DATAGRAMS))?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let (before, back, over) = (arrived.datagrams.load(Ordering::Relaxed), AtomicU64::new(0), AtomicBool::new(false));
    let sent = thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; DATAGRAM];
            // Ends with the first silence after the last one was sent.
            while socket.recv(&mut buffer).map(|_| back.fetch_add(1, Ordering::Relaxed)).is_ok()
                || !over.load(Ordering::Relaxed)
            {}
        });
        let (begun, mut sent) = (Instant::now(), 0u64);
        while begun.elapsed() < time {
            let due = begun.elapsed().as_millis() as u64 * BURST;
            while sent < due {
                // What the guest's own kernel does not take is lost as well.
                drop(socket.send(&[7; DATAGRAM]));
                sent += 1;
            }
            thread::sleep(Duration::from_micros(300));
        }
        thread::sleep(Duration::from_millis(100));
        over.store(true, Ordering::Relaxed);
        sent
    });
    let (there, back) = ((arrived.datagrams.load(Ordering::Relaxed) - before) as f64, back.into_inner() as f64);
    Ok([1.0 - there / sent as f64, 1.0 - back / there.max(1.0)])
}
