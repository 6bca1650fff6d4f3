//! The FUSE server over a real folder, asked whatever a guest's kernel could be made to ask: any requests in any order, whole or
//! cut. It must not panic, answer within what it was given room for, keep within its limits, and leave what lies beside the
//! shared folder as it is.
#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lighter_vmm::virtio::fs::fuse::request::{HEADER, Header, Operation, WRITE_HEAD};
use lighter_vmm::virtio::fs::{Answer, Exchange, Limits, Name, NativeFs, Server};
use vm_memory::VolatileSlice;

/// Bytes of one request behind its header, at most.
const BODY: usize = 160;
const LIMITS: Limits = Limits { held: 32, open: 16 };

fuzz_target!(|data: &[u8]| {
    let place = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
    let shared = place.path().join("shared");
    fs::create_dir_all(shared.join("folder/below")).unwrap();
    fs::write(shared.join("file"), "content").unwrap();
    fs::write(place.path().join("canary"), "canary").unwrap();
    std::os::unix::fs::symlink("../canary", shared.join("link")).unwrap();
    let server = Server::new(NativeFs::default(), LIMITS);
    server.share(Name::new(b"0").unwrap(), &shared, true).unwrap();
    greet(&server);
    let mut rest = data;
    while let Some(([opcode, node, len], after)) = rest.split_first_chunk::<3>() {
        let len = usize::from(*len).min(BODY).min(after.len());
        let (body, after) = after.split_at(len);
        // Ids are given from 2 on, and handles from 1, so small numbers are what there is.
        ask(&server, u32::from(*opcode), u64::from(*node), body);
        rest = after;
    }
    let [_, held, files, folders] = server.counts();
    assert!(held <= LIMITS.held + 1 && files <= LIMITS.open && folders <= LIMITS.open);
    assert_eq!(fs::read(place.path().join("canary")).unwrap(), b"canary");
    let beside: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
});

fn greet(server: &Server<NativeFs>) {
    let init = [7u32, 38, 1 << 17, u32::MAX].map(u32::to_le_bytes).concat();
    ask(server, 26, 0, &init);
    for (folder, name) in [(1, &b"0\0"[..]), (2, b"file\0"), (2, b"folder\0"), (2, b"link\0")] {
        ask(server, 1, folder, name);
    }
}

fn ask(server: &Server<NativeFs>, opcode: u32, node: u64, body: &[u8]) {
    let header = Header { len: (HEADER + body.len()) as u32, opcode, unique: 1, node, uid: 0, gid: 0, pid: 1 };
    let Ok(operation) = Operation::parse(&header, body) else { return };
    let mut content = body.get(WRITE_HEAD - HEADER..).unwrap_or_default().to_vec();
    let mut room = vec![0; 4096];
    let content = [VolatileSlice::from(&mut content[..])];
    let room = [VolatileSlice::from(&mut room[..])];
    match server.serve(&header, &operation, &Exchange { content: &content, room: &room }) {
        Answer::Read(len) => assert!(len <= 4096),
        Answer::None | Answer::Payload(_) | Answer::Error(_) => {}
    }
}
