//! Says what inotify reports of a folder, as a server that reloads by itself would hear of it. Called by `main`.

use std::io::{self, Write};
use std::mem::MaybeUninit;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// What is said, by its name.
const KINDS: [(ReadFlags, &str); 7] = [
    (ReadFlags::CREATE, "CREATE"),
    (ReadFlags::MODIFY, "MODIFY"),
    (ReadFlags::ATTRIB, "ATTRIB"),
    (ReadFlags::MOVED_FROM, "MOVED_FROM"),
    (ReadFlags::MOVED_TO, "MOVED_TO"),
    (ReadFlags::DELETE, "DELETE"),
    (ReadFlags::IGNORED, "IGNORED"),
];

/// Says `ready`, then a line for each event, `KIND NAME` and the cookie of a renaming, until `end` is created or the folder is
/// gone.
pub fn run(folder: &str) -> io::Result<()> {
    let queue = inotify::init(CreateFlags::CLOEXEC)?;
    let wanted = WatchFlags::CREATE
        | WatchFlags::MODIFY
        | WatchFlags::ATTRIB
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE;
    inotify::add_watch(&queue, folder, wanted)?;
    let mut out = io::stdout().lock();
    writeln!(out, "ready")?;
    out.flush()?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = Reader::new(&queue, &mut buffer);
    loop {
        let event = events.next()?;
        let name = event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for (flag, kind) in KINDS {
            if event.events().contains(flag) {
                let folder = if event.events().contains(ReadFlags::ISDIR) { "/" } else { "" };
                let cookie = if event.cookie() == 0 { String::new() } else { format!(" {}", event.cookie()) };
                writeln!(out, "{kind} {name}{folder}{cookie}")?;
            }
        }
        out.flush()?;
        if name == "end" || event.events().contains(ReadFlags::IGNORED) {
            return Ok(());
        }
    }
}
