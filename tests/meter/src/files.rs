//! What is done to a folder's tree while it is timed: in a guest whose folders are the host's, and on the host itself. Each line
//! of the standard input is `MEASURE FOLDER`; the answer is `= NANOSECONDS`, or `! ERROR`. Called by `bench files`.

mod content;
mod names;

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Folders of the tree, and files in each.
pub const FOLDERS: usize = 100;
/// See [`FOLDERS`].
pub const FILES: usize = 50;
/// Names in the folder `set`.
pub const SET: usize = 1000;
/// How often all names of the set are asked for.
pub const TIMES: usize = 5;
/// Bytes of the file `big`.
pub const BIG: u64 = 64 << 20;
/// Bytes that are streamed.
pub const STREAM: u64 = 128 << 20;
/// Reads or writes at random places.
pub const PLACES: usize = 1000;
/// New folders of an installation, and new files in all of them.
pub const NEW_FOLDERS: usize = 200;
/// See [`NEW_FOLDERS`].
pub const NEW_FILES: usize = 2000;

/// Gives up what the kernel has cached, where that is this program's to do.
#[derive(Debug, Clone, Copy)]
pub struct Caches {
    /// Whether they are dropped: in a guest of our own.
    pub dropped: bool,
}

impl Caches {
    fn drop(self) -> io::Result<()> {
        if self.dropped {
            std::fs::write("/proc/sys/vm/drop_caches", "3")?;
            // Servers are told of what was forgotten, and nobody waits for that.
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

/// Answers until the input ends.
///
/// # Errors
/// When nobody reads the answers.
pub fn answer(caches: Caches) -> io::Result<()> {
    println!("= ready");
    for line in io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let (Some(measure), Some(folder)) = (words.next(), words.next()) else { continue };
        match run(measure, Path::new(folder), caches) {
            Ok(time) => println!("= {}", time.as_nanos()),
            Err(error) => println!("! {line}: {error}"),
        }
        io::stdout().flush()?;
    }
    Ok(())
}

fn run(measure: &str, folder: &Path, caches: Caches) -> io::Result<Duration> {
    let timed = |work: &dyn Fn() -> io::Result<()>| {
        let started = Instant::now();
        work()?;
        Ok(started.elapsed())
    };
    match measure {
        "status-cold" => {
            caches.drop()?;
            timed(&|| names::status(folder))
        }
        // Follows the other within a second.
        "status-warm" => timed(&|| names::status(folder)),
        "install" => timed(&|| names::install(folder)),
        "uninstall" => timed(&|| std::fs::remove_dir_all(folder.join("installed"))),
        "stats" | "absent" => {
            let mut all = Duration::ZERO;
            for _ in 0..TIMES {
                caches.drop()?;
                all += timed(&|| if measure == "stats" { names::stats(folder) } else { names::absent(folder) })?;
            }
            Ok(all)
        }
        "list" => {
            caches.drop()?;
            timed(&|| names::list(&folder.join("many")))
        }
        "read-places" => {
            caches.drop()?;
            timed(&|| content::read_places(folder))
        }
        "write-places" => timed(&|| content::write_places(folder)),
        "write-stream" => timed(&|| content::write_stream(folder)),
        "sync-stream" => timed(&|| content::sync_stream(folder)),
        "read-stream" => {
            caches.drop()?;
            timed(&|| content::read_stream(folder))
        }
        _ => Err(io::Error::other("nothing that is measured")),
    }
}
