//! Mounts the server by this host's own kernel and passes on what it asks.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use lighter_vmm::virtio::fs::fuse::reply;
use lighter_vmm::virtio::fs::fuse::request::{HEADER, Header, Operation, WRITE_HEAD};
use lighter_vmm::virtio::fs::{Answer, Exchange, Limits, Name, NativeFs, Server};
use rustix::mount::MountFlags;
use vm_memory::VolatileSlice;

/// The largest request: a WRITE of 1 MiB with its header.
const LARGEST: usize = (1 << 20) + 4096;

pub fn run(words: &[String]) -> Result<(), Box<dyn Error>> {
    let [folder, mountpoint, options @ ..] = words else {
        return Err("fuse_rig FOLDER MOUNTPOINT [ro] [agent]".into());
    };
    let writable = !options.iter().any(|option| option == "ro");
    let threads = options.iter().find_map(|option| option.strip_prefix("threads=")).unwrap_or("1").parse::<u32>()?;
    let held = options.iter().find_map(|option| option.strip_prefix("held=")).unwrap_or("4096").parse()?;
    let server = Arc::new(Server::new(NativeFs::default(), Limits { held, open: 65_536 }));
    server
        .share(Name::new(b"share").expect("a name"), Path::new(folder), writable)
        .map_err(|error| format!("{folder}: {error:?}"))?;
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
    let data =
        format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions\0", device.as_raw_fd());
    let data = std::ffi::CStr::from_bytes_with_nul(data.as_bytes())?;
    let flags = MountFlags::NODEV;
    rustix::mount::mount("lighter", mountpoint.as_str(), "fuse.lighter", flags, data)?;
    let device = Arc::new(device);
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let (server, device) = (Arc::clone(&server), Arc::clone(&device));
            std::thread::spawn(move || serve(&server, &device).map_err(|error| error.to_string()))
        })
        .collect();
    if options.iter().any(|option| option == "agent") {
        super::agent::play(&server, mountpoint)?;
    }
    if options.iter().any(|option| option == "counts") {
        let server = Arc::clone(&server);
        std::thread::spawn(move || {
            std::io::stdin().lines().for_each(|_| println!("counts {:?}", server.served()));
        });
    }
    println!("mounted");
    serve(&server, &device)?;
    for other in others {
        other.join().map_err(|_| "a thread panicked")??;
    }
    println!("{:?} {:?}", server.counts(), server.served());
    Ok(())
}

fn serve(server: &Server<NativeFs>, mut device: &File) -> Result<(), Box<dyn Error>> {
    let (mut request, mut room) = (vec![0; LARGEST], vec![0; 1 << 20]);
    loop {
        let len = match device.read(&mut request) {
            Ok(len) => len,
            // The mount is gone.
            Err(error) if error.raw_os_error() == Some(19) => return Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(2 | 4 | 11)) => continue,
            Err(error) => return Err(error.into()),
        };
        let (head, content) = request[..len].split_at_mut(len.min(WRITE_HEAD));
        let header = Header::parse(head.first_chunk::<HEADER>().ok_or("a short request")?);
        let whole: Vec<u8>;
        let body = if header.opcode == 16 {
            &head[HEADER..]
        } else {
            whole = [&head[HEADER..], content].concat();
            &whole[..]
        };
        let content = [VolatileSlice::from(&mut *content)];
        let room_slices = [VolatileSlice::from(&mut room[..])];
        let exchange = Exchange { content: &content, room: &room_slices };
        let answer = match Operation::parse(&header, body) {
            Ok(operation) => server.serve(&header, &operation, &exchange),
            Err(error) => Answer::Error(error),
        };
        let (payload, error): (&[u8], i32) = match &answer {
            Answer::None => continue,
            Answer::Payload(payload) => (payload.bytes(), 0),
            Answer::Read(len) => (&room[..*len], 0),
            Answer::Error(error) => (&[], error.number()),
        };
        let head = reply::header(payload.len(), error, header.unique);
        match device.write_vectored(&[IoSlice::new(&head), IoSlice::new(payload)]) {
            Ok(_) => {}
            // Whoever asked is gone.
            Err(error) if error.raw_os_error() == Some(2) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
