//! A proxy of the made-up world that knows `CONNECT` and wants a user and a password. It runs in threads of this program, in the
//! namespace in which it was made, and counts what passes.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;

/// The port that proxies listen on, on the neighbour and on the host's loopback.
pub const PROXY: u16 = 3128;
/// What they want to hear, as it stands in a URL and in base64.
pub const LOGIN: &str = "me:secret";
const LOGIN_BASE64: &str = "bWU6c2VjcmV0";

/// Connections that went through all of them so far.
static PASSED: AtomicUsize = AtomicUsize::new(0);

/// See [`PASSED`].
pub fn passed() -> usize {
    PASSED.load(Ordering::SeqCst)
}

/// Listens at `address`.
pub fn serve(address: &str) -> Result<()> {
    let listener = TcpListener::bind((address, PROXY))?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A client that went away is its own affair.
            thread::spawn(move || drop(carry(client)));
        }
    });
    Ok(())
}

fn carry(mut client: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut request, mut login) = (String::new(), false);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        login |= line.trim_end().eq_ignore_ascii_case(&format!("proxy-authorization: basic {LOGIN_BASE64}"));
    }
    let target = request.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let Some(target) = target.filter(|_| login) else {
        let status = if login { "405 Method Not Allowed" } else { "407 Proxy Authentication Required" };
        return write!(
            client,
            "HTTP/1.1 {status}\r\nProxy-Authenticate: Basic realm=\"world\"\r\nContent-Length: 0\r\n\r\n"
        );
    };
    let Ok(mut server) = TcpStream::connect(target) else {
        return write!(client, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    };
    PASSED.fetch_add(1, Ordering::SeqCst);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    // What the reader has taken already belongs to the far side.
    server.write_all(reader.buffer())?;
    join(client, server)
}

/// Carries both ways, each to its end.
pub fn join(mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
    let (mut back, mut home) = (server.try_clone()?, client.try_clone()?);
    let answers = thread::spawn(move || {
        let copied = std::io::copy(&mut back, &mut home);
        drop(home.shutdown(Shutdown::Write));
        copied
    });
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Write)?;
    answers.join().map_or(Ok(()), |copied| copied.map(drop))
}
