//! What a Linux program may expect of a file system, asked of the one on which a folder lies. The same program asks lighter's
//! shared folders, from a container or over this host's own `/dev/fuse`, and a file system of the host's kernel, which is the
//! judge of whether a case is right. It wants to be root, as whom it also plays other users; it keeps to its folder.

mod case;
mod cases;
mod edits;
mod scene;
mod stress;
mod sys;

use std::process::ExitCode;
use std::time::Duration;

use crate::case::Wrong;

const USAGE: &str = "usage: lighter-files posix DIR [WORD…]     cases whose names contain a word, or all
       lighter-files stress DIR --seconds N --seed S
       lighter-files edits DIR MOUNT FILE     edits in DIR, each seen in MOUNT once a line of FILE tells of it
       lighter-files list";
/// For one case, however slow the machine under it is.
const DEADLINE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["list"] => {
            case::named(&[]).iter().for_each(|case| println!("{}", case.name));
            Ok(true)
        }
        ["posix", folder, ref words @ ..] => posix(folder, words),
        ["edits", folder, mount, lines] => edits::run(folder, mount, lines),
        ["stress", folder, "--seconds", seconds, "--seed", seed] => match (seconds.parse(), seed.parse()) {
            (Ok(seconds), Ok(seed)) => stress::run(folder, Duration::from_secs(seconds), seed),
            _ => Err(Wrong::new(USAGE)),
        },
        _ => Err(Wrong::new(USAGE)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Wrong(error)) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs cases, each in a process and in an empty folder of its own; true when all held.
fn posix(folder: &str, words: &[&str]) -> Result<bool, Wrong> {
    if !rustix::process::geteuid().is_root() {
        return Err(Wrong::new("other users are played by root only"));
    }
    std::env::set_current_dir(folder)?;
    let (mut held, mut failed) = (0, 0);
    for case in case::named(words) {
        let place = format!("posix-{}-{}", std::process::id(), case.name);
        std::fs::create_dir(&place)?;
        let outcome = sys::child::spawn(|| {
            sys::child::lead()?;
            std::env::set_current_dir(&place)?;
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
            (case.run)()
        })
        .and_then(|child| child.wait_for(DEADLINE));
        let swept = std::fs::remove_dir_all(&place);
        match outcome.and_then(|()| Ok(swept?)) {
            Ok(()) => {
                held += 1;
                println!("ok {}", case.name);
            }
            Err(Wrong(why)) => {
                failed += 1;
                println!("FAILED {}: {why}", case.name);
            }
        }
    }
    println!("{held} held, {failed} failed");
    Ok(failed == 0)
}
