//! Servers of the made-up world: files by HTTP, echoes by UDP, a TCP service that speaks after the client's end, and names.
//! Each runs in threads until this program ends. Their sockets stay in the namespace in which they were made.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::Result;
use lighter_meter::names;
use sha2::{Digest, Sha256};

use super::connect_proxy;
use super::registries::PLAIN;
use crate::process::hex;

/// Files: `GET /N` gives [`content`] of N bytes.
pub const FILES: u16 = 8080;
/// Reads to the end, then says how many bytes that were, and their hash.
pub const COUNT: u16 = 7001;
/// Gives back what comes, as it comes: by TCP at the neighbour's, by UDP at the far end.
pub const ECHO: u16 = 7007;
/// Files again, on the host's loopback only.
pub const LOOPBACK_FILES: u16 = 9090;
/// And on every address of the host.
pub const OPEN_FILES: u16 = 9191;
/// The same on a port that belongs to the system.
pub const LOW_FILES: u16 = 91;
/// Gives datagrams back, on the host's loopback only.
pub const LOOPBACK_ECHO: u16 = 9292;
/// The same on a port that belongs to the system.
pub const LOW_ECHO: u16 = 92;

/// The bytes of a file.
pub fn content(length: usize) -> Vec<u8> {
    pieces(length).flatten().collect()
}

/// Their SHA-256.
pub fn content_hash(length: usize) -> String {
    let mut hash = Sha256::new();
    pieces(length).for_each(|piece| hash.update(piece));
    hex(&hash.finalize())
}

/// The bytes of a file piece by piece, which hold little memory however long it is.
fn pieces(length: usize) -> impl Iterator<Item = Vec<u8>> {
    let byte = |at: usize| ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u8;
    (0..length).step_by(1 << 20).map(move |from| (from..length.min(from + (1 << 20))).map(byte).collect())
}

/// What the neighbour serves.
pub fn of_the_world() -> Result<()> {
    serve(TcpListener::bind(("::", FILES))?, file);
    serve(TcpListener::bind(("::", COUNT))?, count);
    serve(TcpListener::bind(("::", 53))?, name_stream);
    // A socket of its own for IPv4, so that answers come from the address that was asked.
    datagrams(UdpSocket::bind((super::world::SERVER, 53))?, |question| answer(question, false));
    serve(TcpListener::bind((super::world::SERVER, ECHO))?, echo);
    connect_proxy::serve(super::world::SERVER)
}

/// What is served behind the narrow path.
pub fn of_the_far_end() -> Result<()> {
    serve(TcpListener::bind((super::world::FAR, FILES))?, file);
    serve(TcpListener::bind((super::world::FAR, COUNT))?, count);
    datagrams(UdpSocket::bind((super::world::FAR, ECHO))?, |question| Some(question.to_vec()));
    Ok(())
}

/// What the host itself serves.
pub fn of_the_host() -> Result<()> {
    serve(TcpListener::bind(("127.0.0.1", LOOPBACK_FILES))?, file);
    serve(TcpListener::bind(("0.0.0.0", OPEN_FILES))?, file);
    serve(TcpListener::bind(("0.0.0.0", LOW_FILES))?, file);
    for port in [LOOPBACK_ECHO, LOW_ECHO] {
        datagrams(UdpSocket::bind(("127.0.0.1", port))?, |question| Some(question.to_vec()));
    }
    // Whoever asks for the port of the neighbour's registry here gets that.
    serve(TcpListener::bind(("127.0.0.1", PLAIN))?, to_registry);
    connect_proxy::serve("127.0.0.1")
}

fn serve(listener: TcpListener, talk: fn(TcpStream) -> std::io::Result<()>) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that went away is its own affair.
            thread::spawn(move || drop(talk(stream)));
        }
    });
}

fn datagrams(socket: UdpSocket, answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) {
    thread::spawn(move || {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length]) {
                drop(socket.send_to(&answer, from));
            }
        }
    });
}

fn file(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    // The rest of the head says nothing that matters here.
    while reader.read_line(&mut String::new())? > 2 {}
    let wanted = request.strip_prefix("GET /").and_then(|rest| rest.split(' ').next()?.parse().ok());
    let length = wanted.unwrap_or(0);
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
    pieces(length).try_for_each(|piece| stream.write_all(&piece))
}

fn to_registry(client: TcpStream) -> std::io::Result<()> {
    let server = TcpStream::connect((super::world::SERVER, PLAIN))?;
    connect_proxy::join(client, server)
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut back = stream.try_clone()?;
    std::io::copy(&mut stream, &mut back).map(drop)
}

fn count(mut stream: TcpStream) -> std::io::Result<()> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    writeln!(stream, "{} {}", all.len(), hex(&Sha256::digest(&all)))
}

fn name_stream(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        let Some(answer) = answer(&question, true) else { return Ok(()) };
        stream.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat())?;
    }
}

/// Answers for the measuring client's table, `server.world.test` (address) and `text.world.test` (text of 200 bytes); other
/// names do not exist.
fn answer(question: &[u8], over_stream: bool) -> Option<Vec<u8>> {
    if let Some(of_the_table) = names::answer(question, over_stream) {
        return Some(of_the_table);
    }
    let end = 12 + question.get(12..)?.iter().position(|&byte| byte == 0)? + 5;
    let name = question.get(12..end - 4)?.to_ascii_lowercase();
    let kind = question.get(end - 4..end - 2)?;
    let record = match (name.as_slice(), kind) {
        (b"\x06server\x05world\x04test\0", [0, 1]) => Some([&[0, 4][..], &[10, 77, 0, 2]].concat()),
        (b"\x04text\x05world\x04test\0", [0, 16]) => Some([&[0, 201, 200][..], &[b'x'; 200]].concat()),
        _ => None,
    };
    let known = name.ends_with(b"\x05world\x04test\0")
        && (name.starts_with(b"\x06server\x05") || name.starts_with(b"\x04text\x05"));
    let mut answer = question[..2].to_vec();
    answer.extend_from_slice(&[0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(record.is_some()), 0, 0, 0, 0]);
    answer.extend_from_slice(&question[12..end]);
    if let Some(record) = record {
        answer.extend_from_slice(&[0xc0, 12]);
        answer.extend_from_slice(kind);
        answer.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        answer.extend_from_slice(&record);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// The rig's server and the client that a container runs, with nothing in between.
    #[test]
    fn n8_the_client_of_the_table_is_content_with_this_server_and_not_with_another_one() {
        let (stream, datagram) = loop {
            let stream = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            // The same port over UDP may be somebody else's.
            if let Ok(datagram) = UdpSocket::bind(stream.local_addr().unwrap()) {
                break (stream, datagram);
            }
        };
        let address = stream.local_addr().unwrap();
        serve(stream, name_stream);
        datagrams(datagram, |question| answer(question, false));
        names::run(address).unwrap();

        // One that cuts nothing, and so says too much.
        let other = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let address: SocketAddr = other.local_addr().unwrap();
        datagrams(other, |question| answer(question, true));
        assert!(names::run(address).unwrap_err().to_string().contains("bytes instead of"));
    }

    #[test]
    fn names_of_the_world_are_as_they_were() {
        let question = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x06server\x05world\x04test\0\0\x01\0\x01";
        assert!(answer(question, false).unwrap().ends_with(&[0, 4, 10, 77, 0, 2]));
        let mut other = question.to_vec();
        other[13] = b'x';
        assert_eq!(answer(&other, false).unwrap()[3], 0x83);
    }
}
