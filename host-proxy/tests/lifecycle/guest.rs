//! A machine in memory: it finds the boot secret where a real agent would, says hello, reports stages, serves the control
//! port and a dockerd that knows four paths. How it behaves is read from the file `mode` beside the image.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lighter::frames;
use lighter::guest::{BoxFuture, BoxedStream};
use lighter::machine::{Cause, Chosen, End, GuestImage, Incoming, Machine, Platform};
use lighter_protocol::engine::Certificates;
use lighter_protocol::wire::StreamFrame;
use lighter_protocol::{Boot, Event, Hello, Reply, Request, VERSION, ports};
use lighter_vmm::{EngineKind, MachineConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Mutex, mpsc, watch};

/// Image, engine and machines of a test; everything is below one directory.
pub struct StandIn(pub PathBuf);

impl Platform for StandIn {
    fn image(&self) -> Result<GuestImage, Cause> {
        let part = |name: &str| {
            let path = self.0.join(name);
            if path.exists() { Ok(path) } else { Err(Cause::from(format!("{} is missing", path.display()))) }
        };
        let versions = BTreeMap::from([("kernel".to_owned(), "6.12.0".to_owned())]);
        Ok(GuestImage { kernel: part("kernel")?, root: part("root")?, agent: part("agent")?, versions })
    }

    fn choose(&self, _wish: Option<EngineKind>) -> Result<Chosen, Cause> {
        if mode(&self.0) == "no-engine" {
            return Err("/dev/kvm is missing and so is QEMU: run `apt install qemu-system-x86`".into());
        }
        Ok(Chosen { engine: EngineKind::Kvm, why: Some("it is a stand-in".to_owned()) })
    }

    fn start(&self, config: MachineConfig) -> Result<Arc<dyn Machine>, Cause> {
        // One line for each machine that ever was.
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.0.join("machines"));
        io::Write::write_all(&mut log.unwrap(), b"machine\n").unwrap();
        std::fs::write(&config.console.path, "Linux version 6.12.0\nKernel panic - \x1b[31mno init\n").unwrap();
        let (end, ended) = watch::channel(None);
        let (calls, incoming) = mpsc::channel(4);
        let guest =
            Arc::new(Guest { dir: self.0.clone(), secret: secret(&config.initramfs), end, calls, _config: config });
        let machine = Arc::new(InMemory { guest: Arc::clone(&guest), ended, incoming: Mutex::new(Some(incoming)) });
        let life = tokio::spawn(async move { guest.live().await });
        let mut over = machine.ended.clone();
        tokio::spawn(async move {
            // A machine that is off runs no code.
            let _ = over.wait_for(Option::is_some).await;
            life.abort();
        });
        Ok(machine)
    }
}

fn mode(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("mode")).unwrap_or_default()
}

/// The file `/secret` of a newc archive.
fn secret(initramfs: &[u8]) -> String {
    let name = b"secret\0";
    let at = initramfs.windows(name.len()).position(|window| window == name).expect("the initramfs has the secret");
    let data = (at + name.len()).next_multiple_of(4);
    String::from_utf8(initramfs[data..data + 64].to_vec()).expect("the secret is hexadecimal")
}

struct InMemory {
    guest: Arc<Guest>,
    ended: watch::Receiver<Option<End>>,
    incoming: Mutex<Option<mpsc::Receiver<DuplexStream>>>,
}

impl Machine for InMemory {
    fn dial(&self, port: u32) -> BoxFuture<'_, io::Result<BoxedStream>> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let guest = Arc::clone(&self.guest);
        let mut ended = self.ended.clone();
        let off = ended.borrow().is_some();
        tokio::spawn(async move {
            tokio::select! {
                _ = ended.wait_for(Option::is_some) => (),
                () = guest.answer(port, theirs) => (),
            }
        });
        Box::pin(async move {
            if off { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(Box::new(ours) as BoxedStream) }
        })
    }

    fn listen(&self, port: u32) -> Box<dyn Incoming> {
        if port == ports::PUBLISH {
            return Box::new(Nobody);
        }
        assert_eq!(port, ports::HELLO);
        Box::new(Calls(self.incoming.try_lock().unwrap().take().expect("one listener per port")))
    }

    fn wait(&self) -> BoxFuture<'_, End> {
        let mut ended = self.ended.clone();
        Box::pin(async move { ended.wait_for(Option::is_some).await.unwrap().clone().unwrap() })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        self.guest.end.send_if_modified(|end| {
            let running = end.is_none();
            end.get_or_insert(End::Killed);
            running
        });
        Box::pin(async {})
    }

    fn trouble(&self) -> watch::Receiver<Option<String>> {
        let full = mode(&self.guest.dir) == "full";
        watch::channel(full.then(|| "The host has no space left".to_owned())).1
    }

    fn exits(&self) -> BTreeMap<String, u64> {
        BTreeMap::from([("hlt".to_owned(), 7)])
    }
}

/// This guest publishes nothing.
struct Nobody;

impl Incoming for Nobody {
    fn accept(&mut self) -> BoxFuture<'_, Option<BoxedStream>> {
        Box::pin(std::future::pending())
    }
}

struct Calls(mpsc::Receiver<DuplexStream>);

impl Incoming for Calls {
    fn accept(&mut self) -> BoxFuture<'_, Option<BoxedStream>> {
        Box::pin(async {
            match self.0.recv().await {
                Some(stream) => Some(Box::new(stream) as BoxedStream),
                None => std::future::pending().await,
            }
        })
    }
}

struct Guest {
    dir: PathBuf,
    secret: String,
    end: watch::Sender<Option<End>>,
    calls: mpsc::Sender<DuplexStream>,
    /// Holds the data disk's lock for as long as the machine is there.
    _config: MachineConfig,
}

impl Guest {
    async fn live(&self) {
        let mode = mode(&self.dir);
        match mode.as_str() {
            "panic" => return self.off(End::Reset),
            "silent" => std::future::pending().await,
            // A container that found the port first.
            "liar" => drop(self.call(&"0".repeat(64)).await),
            _ => (),
        }
        let mut channel = self.call(&self.secret).await;
        let boot: Boot = frames::read(&mut channel).await.expect("the host answers");
        assert!(boot.version == VERSION && boot.unix_seconds > 1_700_000_000 && boot.hostname.starts_with("lighter"));
        for _ in 0..boot.engine.certificate_frames {
            let frame: Certificates = frames::read(&mut channel).await.expect("what was announced");
            assert!(frame.pem.contains("-----BEGIN CERTIFICATE-----"));
        }
        // What the agent was told, for the test to look at.
        std::fs::write(self.dir.join("orders"), serde_json::to_vec(&boot.engine).unwrap()).unwrap();
        let mut uptime_ms = 0;
        for name in ["pid1", "root", "data", "containerd", "dockerd"] {
            uptime_ms += 100;
            let stage = Event::Stage { name: name.to_owned(), uptime_ms };
            frames::write(&mut channel, &stage).await.unwrap();
        }
        match mode.as_str() {
            "fails" => {
                let reason = "the data disk holds a LUKS volume\x1b[2J, which is never formatted".to_owned();
                let event = Event::Failed { stage: "data".to_owned(), reason };
                frames::write(&mut channel, &event).await.unwrap();
                return std::future::pending().await;
            }
            // Ready when the test says so.
            "gate" => {
                while !self.dir.join("open").exists() {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
            _ => (),
        }
        let event = Event::Ready { engine_version: "26.1.5".to_owned(), uptime_ms };
        frames::write(&mut channel, &event).await.unwrap();
        let mut end = self.end.subscribe();
        // Crashes when the test says so.
        while mode == "mortal" && !self.dir.join("crash").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        if mode == "mortal" {
            return self.off(End::Reset);
        }
        let _ = end.wait_for(Option::is_some).await;
    }

    async fn call(&self, secret: &str) -> DuplexStream {
        let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
        self.calls.send(theirs).await.expect("the host listens");
        let hello = Hello { version: VERSION, secret: secret.to_owned() };
        frames::write(&mut ours, &hello).await.expect("the host reads");
        ours
    }

    fn off(&self, how: End) {
        self.end.send_modify(|end| *end = Some(how));
    }

    async fn answer(&self, port: u32, stream: DuplexStream) {
        match port {
            ports::CONTROL => self.control(stream).await,
            ports::DOCKER => dockerd(stream).await,
            _ => (),
        }
    }

    async fn control(&self, mut stream: DuplexStream) {
        match frames::read::<Request>(&mut stream).await {
            Ok(Request::Shutdown { .. }) if mode(&self.dir) == "deaf" => std::future::pending().await,
            Ok(Request::Shutdown { .. }) => {
                // Takes its time until the test says so.
                while mode(&self.dir) == "slow" && !self.dir.join("off").exists() {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                frames::write(&mut stream, &Reply::Done).await.unwrap();
                self.off(End::Reset);
            }
            Ok(Request::Shell(shell)) => {
                frames::write(&mut stream, &Reply::Stream).await.unwrap();
                let first = shell.command.join(" ") + "|";
                frames::write_stream(&mut stream, &StreamFrame::Stdout(first.into_bytes())).await.unwrap();
                // Echoes until the end of input, then exits with the number of bytes.
                let mut count = 0;
                while let Ok(StreamFrame::Stdin(bytes)) = frames::read_stream(&mut stream).await {
                    count += bytes.len();
                    if bytes.is_empty() {
                        break;
                    }
                    frames::write_stream(&mut stream, &StreamFrame::Stderr(bytes)).await.unwrap();
                }
                let code = i32::try_from(count).unwrap_or(255).min(255);
                frames::write_stream(&mut stream, &StreamFrame::Exit(code)).await.unwrap();
            }
            Ok(Request::Logs { source, tail, .. }) => {
                frames::write(&mut stream, &Reply::Stream).await.unwrap();
                let text = format!("{source:?} {tail:?}\n").into_bytes();
                frames::write_stream(&mut stream, &StreamFrame::Stdout(text)).await.unwrap();
                frames::write_stream(&mut stream, &StreamFrame::Exit(0)).await.unwrap();
            }
            _ => (),
        }
    }
}

async fn dockerd(mut stream: DuplexStream) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path.ends_with("/events") {
            let head = b"HTTP/1.1 200 OK\r\nApi-Version: 1.45\r\nTransfer-Encoding: chunked\r\n\r\n";
            let _ = stream.write_all(head).await;
            return std::future::pending().await;
        }
        let (status, body) = match path {
            _ if path.ends_with("/_ping") => ("200 OK", "OK".to_owned()),
            _ if path.ends_with("/version") => (
                "200 OK",
                r#"{"Version":"26.1.5","ApiVersion":"1.45","MinAPIVersion":"1.24","Os":"linux","Arch":"amd64"}"#
                    .to_owned(),
            ),
            _ => ("404 Not Found", r#"{"message":"page not found"}"#.to_owned()),
        };
        let length = body.len();
        let body = if head.starts_with("HEAD") { String::new() } else { body };
        let answer = format!(
            "HTTP/1.1 {status}\r\nApi-Version: 1.45\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        if stream.write_all(answer.as_bytes()).await.is_err() || head.to_lowercase().contains("connection: close") {
            return;
        }
    }
}
