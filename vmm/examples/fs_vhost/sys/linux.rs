//! The device on its socket, and what it answers to lines.

use std::error::Error;
use std::io::BufRead;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use lighter_vmm::hv::software::tsc::Sample;
use lighter_vmm::hv::software::vhost_user::{self, Event, Offer};
use lighter_vmm::virtio::VirtioDevice;
use lighter_vmm::virtio::fs::{Fs, Limits, Name, NativeFs, Server};

/// No thread of a guest has this number.
const NOBODY: u32 = u32::MAX;
/// As the daemon's.
const LIMITS: Limits = Limits { held: 16_384, open: 65_536 };

pub fn run(words: &[String]) -> Result<(), Box<dyn Error>> {
    let [folder, socket] = words else { return Err("fs_vhost FOLDER SOCKET".into()) };
    let limit = rustix::process::Rlimit { current: Some(131_072), maximum: Some(131_072) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
    let server = Arc::new(Server::new(NativeFs::default(), LIMITS));
    let name = Name::new(b"share").map_err(|error| format!("{error:?}"))?;
    server.share(name, Path::new(folder), true).map_err(|error| format!("{folder}: {error:?}"))?;
    let device = Fs::new("lighter", 1, Arc::clone(&server));
    let queues = device.queue_sizes().len();
    let listener = UnixListener::bind(socket)?;
    let khz = Sample::take().and_then(Sample::kilohertz).unwrap_or_default();
    println!("ready {khz}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _inside = runtime.enter();
    if let Some(mut happenings) = server.watch()? {
        server.herald(NOBODY);
        runtime.spawn(async move { while happenings.next().await.is_some() {} });
    }
    let connect = move || listener.accept().map(|(socket, _)| socket);
    let serving = vhost_user::serve(Box::new(device), connect, Offer { queues, config: false }, |event| {
        if let Event::Ended(Err(error)) = event {
            eprintln!("{error}: {}", error.source);
        }
    })?;
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {
            let counts = server.served().into_iter().map(|(opcode, count)| format!("{opcode}:{count}"));
            println!("{}", counts.collect::<Vec<_>>().join(" "));
        }
    });
    serving.join().map_err(|_| "the device's thread panicked".into())
}
