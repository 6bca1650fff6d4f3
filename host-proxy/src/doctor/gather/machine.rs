//! The daemon and its machine: asked over the control socket, and the guest only while the daemon says that it runs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lighter_protocol::GuestInfo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::agent;
use crate::control::Status;
use crate::doctor::facts::{DiskFacts, MachineFacts, Ping};
use crate::home::Profile;
use crate::plain;
use crate::sys::{endpoint, files, host};

/// How long a guest may take to say something that needs no work.
const PATIENCE: Duration = Duration::from_secs(5);
/// How far back the console's log is read, in bytes.
const WINDOW: u64 = 64 * 1024;

/// What the daemon says of itself.
#[derive(Debug, Clone)]
pub enum Answer {
    /// How it is; also what is known when there is none.
    Status(Box<Status>),
    /// It is there and does not answer; its process, if known.
    Silent(Option<u32>),
}

/// See the head of this file.
pub fn machine(profile: &Profile, answer: Answer) -> (MachineFacts, DiskFacts) {
    let mut facts = MachineFacts { panic: last_panic(&profile.console_log()), ..MachineFacts::default() };
    facts.daemons = daemons(profile);
    facts.socket_exists = endpoint::stands(&profile.docker_socket());
    match answer {
        Answer::Status(status) => facts.status = Some(*status),
        Answer::Silent(pid) => facts.silent = Some(pid),
    }
    let pid = facts.status.as_ref().and_then(|status| status.pid);
    facts.program_replaced = pid.and_then(host::program_replaced);
    if pid.is_none() && facts.silent.is_none() {
        let files = [profile.docker_socket(), profile.control_socket()];
        facts.left_over = files.into_iter().filter(|path| is_left_over(path)).collect();
    }
    let disk = disk(profile, facts.runs());
    if facts.runs() {
        facts.ping = block_on(ping(&profile.docker_socket()));
    }
    (facts, disk)
}

/// A socket that nobody listens at any more.
fn is_left_over(path: &Path) -> bool {
    endpoint::SYSTEM_SOCKET.is_some() && matches!(host::listens(path), Ok(false))
}

/// Processes that are daemons of this profile, in this home.
fn daemons(profile: &Profile) -> Vec<u32> {
    let program = std::env::current_exe().ok();
    let name = program.as_ref().and_then(|program| program.file_name()).and_then(|name| name.to_str());
    let root = profile.dir().parent();
    let ours = |process: &host::Process| {
        let mut words = process.arguments.iter().skip(1);
        let named =
            process.arguments.windows(2).any(|pair| pair[0] == "--profile" && pair[1] == profile.name().as_str());
        words.next().is_some_and(|verb| verb == "daemon") && named && process.home.as_deref() == root
    };
    host::processes(name.unwrap_or("lighter"))
        .iter()
        .filter(|process| ours(process))
        .map(|process| process.pid)
        .collect()
}

/// The data disk; the guest's view of it only while it runs.
pub fn disk(profile: &Profile, runs: bool) -> DiskFacts {
    let path = profile.data_disk();
    let about = path.metadata().ok().filter(std::fs::Metadata::is_file);
    let dir = path.ancestors().find(|dir| dir.is_dir());
    DiskFacts {
        limit: about.as_ref().map(std::fs::Metadata::len),
        allocated: about.as_ref().and_then(|_| files::allocated(&path).ok()),
        free: dir.and_then(files::free_space),
        guest: runs
            .then(|| block_on(guest_info(profile)))
            .flatten()
            .flatten()
            .map(|info| (info.disk_total, info.disk_total.saturating_sub(info.disk_free))),
        path,
    }
}

async fn guest_info(profile: &Profile) -> Option<GuestInfo> {
    let socket = profile.control_socket();
    tokio::time::timeout(PATIENCE, agent::info(&socket)).await.ok()?.ok()
}

/// `GET /_ping`, as a Docker client asks it; the answer's header `Date` is the guest's clock.
async fn ping(socket: &Path) -> Result<Ping, String> {
    let exchange = async {
        let mut stream = endpoint::connect(socket).await.map_err(|error| error.to_string())?;
        let request = b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        let mut limited = (&mut stream).take(16 * 1024);
        limited.read_to_end(&mut answer).await.map_err(|error| error.to_string())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        pong(&String::from_utf8_lossy(&answer), now)
    };
    let late = || Err(format!("nothing within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| late())
}

/// What the answer to a ping says, `now` seconds after 1970.
fn pong(answer: &str, now: u64) -> Result<Ping, String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200") {
        let body = plain::one_line(body);
        return Err(if status.is_empty() {
            "it hung up".to_owned()
        } else {
            format!("{}: {body}", plain::one_line(status))
        });
    }
    let date = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| seconds(value.trim()))?
    });
    Ok(Ping { ahead: date.and_then(|date| Some(i64::try_from(date).ok()? - i64::try_from(now).ok()?)) })
}

/// Seconds since 1970 of a date such as `Tue, 24 Nov 2026 01:44:55 GMT` (RFC 9110, §5.6.7).
fn seconds(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = date.split(' ').skip(1);
    // The guest wrote it: nothing is believed to be in its range.
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut time = words.next()?.split(':').map(|part| part.parse::<u64>().ok().filter(|number| *number <= 60));
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Days from civil: years that begin in March put the leap day at their end.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    // Days from 1 March of the year 0 to 1 January 1970.
    let days = days.checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The last `Kernel panic` that the guest printed after its last boot.
fn last_panic(console: &Path) -> Option<String> {
    let mut file = File::open(console).ok().filter(|file| file.metadata().is_ok_and(|about| about.is_file()))?;
    let end = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(end.saturating_sub(WINDOW))).ok()?;
    let mut bytes = Vec::new();
    file.take(WINDOW).read_to_end(&mut bytes).ok()?;
    panic_line(&String::from_utf8_lossy(&bytes))
}

fn panic_line(console: &str) -> Option<String> {
    // The lines of a panic come at the end: a later boot, whose first word may be the kernel's or the agent's, makes it
    // history.
    let marks = ["Kernel panic", "Linux version", "stage name="];
    let line = console.lines().rfind(|line| marks.iter().any(|mark| line.contains(mark)))?;
    let at = line.find("Kernel panic")?;
    Some(plain::one_line(&line[at..]).chars().take(160).collect())
}

/// Runs a question to its end; each has a limit of its own. `None` if the system has no room for one.
fn block_on<T>(future: impl Future<Output = T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer = runtime.block_on(future);
    runtime.shutdown_background();
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x6_the_guests_clock_is_read_from_the_answers_date() {
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("Tue, 29 Feb 2000 12:00:01 GMT"), Some(951_825_601));
        assert_eq!(seconds("Tue, 24 Nov 2026 01:44:55 GMT"), Some(1_795_484_695));
        for odd in [
            "",
            "now",
            "Thu, x Jan 1970 00:00:00 GMT",
            "Thu, 01 Fab 1970 00:00:00 GMT",
            "Thu, 01 Jan 1970 18446744073709551615:00:00 GMT",
            "Thu, 18446744073709551615 Jan 1970 00:00:00 GMT",
            "Thu, 00 Jan 1970 00:00:00 GMT",
            "Thu, 01 Jan 1970 00 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
        ] {
            assert_eq!(seconds(odd), None, "{odd:?}");
        }
        let answer = "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:01:00 GMT\r\n\r\nOK";
        assert_eq!(pong(answer, 70), Ok(Ping { ahead: Some(-10) }));
        assert_eq!(pong("HTTP/1.1 200 OK\r\n\r\nOK", 70), Ok(Ping { ahead: None }));
    }

    #[test]
    fn an_api_that_refuses_says_why_and_cannot_write_to_the_terminal() {
        assert_eq!(
            pong("HTTP/1.1 503 No\r\n\r\n{\"message\":\"\x1b[2Jx\"}", 0).unwrap_err(),
            "HTTP/1.1 503 No: {\"message\":\"[2Jx\"}"
        );
        assert_eq!(pong("", 0).unwrap_err(), "it hung up");
    }

    #[test]
    fn x4_only_a_panic_that_no_later_boot_has_made_history_counts() {
        let panic = "[    1.0] Kernel panic - not syncing: no init\x1b[0m\n[    1.1] CPU: 0\n";
        assert_eq!(panic_line(panic).unwrap(), "Kernel panic - not syncing: no init[0m");
        assert_eq!(panic_line(&format!("{panic}[    0.0] Linux version 6.12\n")), None);
        assert_eq!(panic_line(&format!("{panic}agent:    0.804 stage name=\"hello\"\n")), None);
        assert_eq!(panic_line("all well\n"), None);
    }
}
