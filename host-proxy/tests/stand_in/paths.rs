//! Requests that may name paths of the host, and what becomes of them as a whole: refused before dockerd hears of them, or passed
//! on. The tests of mounts and of held bodies use it.

use lighter::shares::spelling::HostKind;
use lighter::sys::HOST_KIND;
use serde_json::Value;

use super::talk::{GET, OK, asked, exchange, refusal};
use super::{Machine, soon};

pub fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub fn create(body: &Value) -> String {
    post("/v1.45/containers/create?name=c", &body.to_string())
}

/// In chunks of a size that cuts everything.
pub fn chunked(path: &str, body: &str) -> String {
    let chunks = body.as_bytes().chunks(7);
    let text: String = chunks.map(|c| format!("{:x};e\r\n{}\r\n", c.len(), std::str::from_utf8(c).unwrap())).collect();
    format!("POST {path} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{text}0\r\nX: y\r\n\r\n")
}

/// It is refused with 400, and dockerd never hears of it.
pub async fn refused(request: &str) -> String {
    let mut machine = Machine::new();
    let (mut client, served) = machine.client();
    client.send(request).await;
    let (status, message) = refusal(&mut client).await;
    assert_eq!(status, "HTTP/1.1 400 Bad Request", "{request}");
    machine.assert_never_dialed_again();
    drop(client);
    soon("task", served).await.unwrap();
    message
}

/// It reaches dockerd byte for byte, and the connection goes on.
pub async fn passes(request: &str) {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let mut engine = asked(&mut machine, &mut client, request).await;
    engine.send(OK).await;
    client.expect(OK).await;
    exchange(&mut client, &mut engine, GET, OK).await;
}

/// What is said of `C:\src`, which is a folder of another computer, or one of this that is not shared.
pub fn of_windows() -> &'static [&'static str] {
    match HOST_KIND {
        HostKind::Unix => &["\"C:\\\\src\" is a folder of Windows", "`docker cp`", "-v NAME:/path"],
        HostKind::Windows => &["\"C:\\\\src\" is on this computer, which shares no folder with containers", "`mounts`"],
    }
}
