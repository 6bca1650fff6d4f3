//! The client of the table: every question in datagrams without and with room, again over TCP where the answer was cut, and all
//! of them over one TCP connection. Called by the program, in a container.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::table::{Entry, entries};
use super::{LONGEST, answer, is_cut, question};

/// For one answer. A name server that was asked too much drops the question, so it is asked again.
const PATIENCE: Duration = Duration::from_secs(10);
const TRIES: usize = 3;
/// For one answer over TCP.
const STUCK: Duration = Duration::from_secs(60);
/// What is said about room in a datagram.
const ROOMS: [Option<u16>; 3] = [None, Some(1232), Some(4096)];

/// Asks `server` for the whole table and prints how many answers came: `udp N cut N tcp N bytes N`. Cut ones are those that
/// were asked for again over TCP; `tcp` are all that came over it.
///
/// # Errors
/// When an answer is not the table's, byte for byte, or none comes.
pub fn run(server: SocketAddr) -> io::Result<()> {
    let (mut udp, mut cut, mut tcp, mut bytes) = (0, 0, 0, 0);
    let mut id = 1;
    for room in ROOMS {
        for entry in entries() {
            id += 1;
            let asked = question(id, &entry.name, entry.kind, room);
            let said = same(&entry, "UDP", datagram(server, &asked), answer(&asked, false))?;
            (udp, bytes) = (udp + 1, bytes + said.len());
            if is_cut(&said) {
                // By a connection of its own, as resolvers do.
                let said = stream(server).and_then(|mut stream| over(&mut stream, &asked));
                let said = same(&entry, "TCP after a cut answer", said, answer(&asked, true))?;
                (cut, tcp, bytes) = (cut + 1, tcp + 1, bytes + said.len());
            }
        }
    }
    let mut stream = stream(server)?;
    for entry in entries() {
        id += 1;
        let asked = question(id, &entry.name, entry.kind, None);
        let said = over(&mut stream, &asked);
        (tcp, bytes) = (tcp + 1, bytes + same(&entry, "TCP", said, answer(&asked, true))?.len());
    }
    writeln!(io::stdout(), "udp {udp} cut {cut} tcp {tcp} bytes {bytes}")
}

/// What was said, if it is what the table has.
fn same(entry: &Entry, way: &str, said: io::Result<Vec<u8>>, want: Option<Vec<u8>>) -> io::Result<Vec<u8>> {
    let Entry { name, kind, .. } = entry;
    let fail = |what: String| Err(io::Error::other(format!("{name} type {kind} over {way}: {what}")));
    let want = want.unwrap_or_default();
    match said {
        Ok(said) if said == want => Ok(said),
        Ok(said) => {
            let at = said.iter().zip(&want).position(|(said, want)| said != want).unwrap_or(said.len().min(want.len()));
            let head = said[..said.len().min(12)].escape_ascii();
            fail(format!("{} bytes instead of {}, other from byte {at} on (head {head})", said.len(), want.len()))
        }
        Err(error) => fail(error.to_string()),
    }
}

fn datagram(server: SocketAddr, asked: &[u8]) -> io::Result<Vec<u8>> {
    // A socket of its own, so that a late answer to the question before is nobody's.
    let socket = match server {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut heard = vec![0; LONGEST];
    for _ in 0..TRIES {
        socket.send(asked)?;
        match socket.recv(&mut heard) {
            Ok(length) => return Ok(heard[..length].to_vec()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::TimedOut.into())
}

fn stream(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, STUCK)?;
    stream.set_read_timeout(Some(STUCK))?;
    stream.set_write_timeout(Some(STUCK))?;
    Ok(stream)
}

fn over(stream: &mut TcpStream, asked: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(&[&(asked.len() as u16).to_be_bytes(), asked].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut said = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut said)?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_differs_in_one_byte_or_in_length_is_an_error_that_says_where() {
        let entry = &entries()[0];
        let want = vec![1, 2, 3];
        assert_eq!(same(entry, "UDP", Ok(want.clone()), Some(want.clone())).unwrap(), want);
        let said = |said: &[u8]| same(entry, "UDP", Ok(said.to_vec()), Some(want.clone())).unwrap_err().to_string();
        assert!(said(&[1, 9, 3]).contains("from byte 1 on") && said(&[1, 2]).contains("2 bytes instead of 3"));
        assert!(said(&[1, 9, 3]).contains("a1.table.test type 1 over UDP"));
    }
}
