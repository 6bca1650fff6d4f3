//! Nodes: names by which processes find pipes, sockets and devices, whose content is no business of the file system.

use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use rustix::fs::{CWD, FileType, OFlags, lstat, major, makedev, minor, mknodat, open, rename, unlink};
use rustix::io::{Errno, read, write};

use crate::case::{Held, cases, equal, fails, holds};
use crate::scene::{allow, bits, file, folder, is_there, mode_is, opened, owner_is, text};
use crate::sys::child::{ANNA, as_user, spawn};

cases!("nodes":
    are_what_they_were_made_as,
    over_something_are_refused,
    a_pipe_carries_what_is_written,
    a_pipe_waits_for_its_other_end_unless_told,
    a_pipe_goes_on_under_another_name,
    a_socket_is_bound_connected_and_talks,
    a_socket_of_datagrams,
    a_socket_is_not_opened_nor_bound_twice,
    a_socket_of_nobody_refuses,
    a_socket_asks_for_writing,
    devices_keep_their_numbers,
    devices_are_made_by_root_only,
    folders_are_not_made_as_nodes,
);

fn node(path: &str, kind: FileType, mode: u32, dev: u64) -> rustix::io::Result<()> {
    mknodat(CWD, path, kind, bits(mode), dev)
}

fn are_what_they_were_made_as() -> Held {
    for (name, kind, dev) in [
        ("file", FileType::RegularFile, 0),
        ("fifo", FileType::Fifo, 0),
        ("socket", FileType::Socket, 0),
        ("chars", FileType::CharacterDevice, makedev(1, 3)),
        ("blocks", FileType::BlockDevice, makedev(7, 200)),
    ] {
        node(name, kind, 0o666, dev)?;
        let stat = lstat(name)?;
        equal(FileType::from_raw_mode(stat.st_mode), kind)?;
        equal((stat.st_rdev, stat.st_nlink, stat.st_size), (dev, 1, 0))?;
        mode_is(name, 0o644)?;
    }
    Ok(())
}

fn over_something_are_refused() -> Held {
    file("f")?;
    folder("d")?;
    node("p", FileType::Fifo, 0o644, 0)?;
    for name in ["f", "d", "p"] {
        fails(Errno::EXIST, node(name, FileType::Fifo, 0o644, 0))?;
    }
    fails(Errno::NOTDIR, node("f/p", FileType::Fifo, 0o644, 0))
}

fn a_pipe_carries_what_is_written() -> Held {
    node("p", FileType::Fifo, 0o644, 0)?;
    let writer = spawn(|| {
        let pipe = opened("p", OFlags::WRONLY)?;
        (0..1000_u32).try_for_each(|at| equal(write(&pipe, &at.to_le_bytes())?, 4))
    })?;
    let mut got = Vec::new();
    std::fs::File::open("p")?.read_to_end(&mut got)?;
    writer.wait()?;
    let wanted: Vec<u8> = (0..1000_u32).flat_map(u32::to_le_bytes).collect();
    holds(got == wanted, "what was written is what was read")?;
    equal(lstat("p")?.st_size, 0)
}

fn a_pipe_waits_for_its_other_end_unless_told() -> Held {
    node("p", FileType::Fifo, 0o644, 0)?;
    fails(Errno::NXIO, open("p", OFlags::WRONLY | OFlags::NONBLOCK, bits(0)))?;
    let reader = opened("p", OFlags::RDONLY | OFlags::NONBLOCK)?;
    equal(read(&reader, &mut [0; 4])?, 0)?;
    let writer = opened("p", OFlags::WRONLY | OFlags::NONBLOCK)?;
    fails(Errno::AGAIN, read(&reader, &mut [0; 4]))?;
    write(&writer, b"abc")?;
    equal(read(&reader, &mut [0; 4])?, 3)?;
    fails(Errno::SPIPE, rustix::io::pread(&reader, &mut [0; 4], 0))
}

fn a_pipe_goes_on_under_another_name() -> Held {
    node("p", FileType::Fifo, 0o644, 0)?;
    let reader = opened("p", OFlags::RDONLY | OFlags::NONBLOCK)?;
    rename("p", "q")?;
    rustix::fs::link("q", "r")?;
    write(opened("r", OFlags::WRONLY)?, b"abc")?;
    unlink("q")?;
    unlink("r")?;
    equal(read(&reader, &mut [0; 4])?, 3)
}

fn a_socket_is_bound_connected_and_talks() -> Held {
    let listener = UnixListener::bind("s")?;
    equal(FileType::from_raw_mode(lstat("s")?.st_mode), FileType::Socket)?;
    mode_is("s", 0o755)?;
    rename("s", "t")?;
    let caller = spawn(|| {
        let mut stream = UnixStream::connect("t")?;
        stream.write_all(b"ping")?;
        let mut got = [0; 4];
        stream.read_exact(&mut got)?;
        equal(&got, b"pong")
    })?;
    let (mut stream, _) = listener.accept()?;
    let mut got = [0; 4];
    stream.read_exact(&mut got)?;
    equal(&got, b"ping")?;
    stream.write_all(b"pong")?;
    caller.wait()
}

fn a_socket_of_datagrams() -> Held {
    let (here, there) = (UnixDatagram::bind("s")?, UnixDatagram::unbound()?);
    there.send_to(b"one", "s")?;
    there.send_to(b"three", "s")?;
    let mut got = [0; 9];
    equal(here.recv(&mut got)?, 3)?;
    equal(here.recv(&mut got)?, 5)
}

fn a_socket_is_not_opened_nor_bound_twice() -> Held {
    let _listener = UnixListener::bind("s")?;
    fails(Errno::NXIO, open("s", OFlags::RDWR, bits(0)))?;
    equal(UnixListener::bind("s").map(drop).map_err(|error| error.kind()), Err(std::io::ErrorKind::AddrInUse))?;
    unlink("s")?;
    UnixListener::bind("s")?;
    Ok(())
}

fn a_socket_of_nobody_refuses() -> Held {
    drop(UnixListener::bind("s")?);
    holds(is_there("s"), "it stays when nobody listens")?;
    let connect = |path: &str| UnixStream::connect(path).map(drop).map_err(|error| error.kind());
    equal(connect("s"), Err(std::io::ErrorKind::ConnectionRefused))?;
    equal(connect("nothing"), Err(std::io::ErrorKind::NotFound))?;
    file("f")?;
    equal(connect("f"), Err(std::io::ErrorKind::ConnectionRefused))
}

fn a_socket_asks_for_writing() -> Held {
    let _listener = UnixListener::bind("s")?;
    let connect = || UnixStream::connect("s").map(drop).map_err(|error| error.kind());
    as_user(ANNA, || equal(connect(), Err(std::io::ErrorKind::PermissionDenied)))?;
    allow("s", 0o666)?;
    as_user(ANNA, || equal(connect(), Ok(())))
}

fn devices_keep_their_numbers() -> Held {
    for (at, (high, low)) in [(0, 0), (1, 5), (255, 255), (259, 70_000), (4095, 1_048_575)].into_iter().enumerate() {
        let name = format!("dev-{at}");
        node(&name, FileType::CharacterDevice, 0o600, makedev(high, low))?;
        let got = lstat(name.as_str())?.st_rdev;
        equal((major(got), minor(got)), (high, low))?;
    }
    Ok(())
}

fn devices_are_made_by_root_only() -> Held {
    allow(".", 0o777)?;
    as_user(ANNA, || {
        fails(Errno::PERM, node("c", FileType::CharacterDevice, 0o666, makedev(1, 3)))?;
        fails(Errno::PERM, node("b", FileType::BlockDevice, 0o666, makedev(7, 0)))?;
        node("p", FileType::Fifo, 0o666, 0)?;
        node("s", FileType::Socket, 0o666, 0)?;
        Ok(node("f", FileType::RegularFile, 0o666, 0)?)
    })?;
    owner_is("p", ANNA.0, ANNA.0)?;
    owner_is("s", ANNA.0, ANNA.0)?;
    equal(text("f")?.as_str(), "")
}

fn folders_are_not_made_as_nodes() -> Held {
    fails(Errno::PERM, node("d", FileType::Directory, 0o755, 0))?;
    fails(Errno::INVAL, node("l", FileType::Symlink, 0o755, 0))
}
