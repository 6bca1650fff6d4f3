//! A stand-in for Testcontainers' reaper, which is published as an image only: the same words on the same port. It is told by
//! labels what to remove, `label=KEY=VALUE` a line, answers `ACK` to each, and does it when nobody is connected any more.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

const PORT: u16 = 8080;
const SOCKET: &str = "/var/run/docker.sock";
/// How long the first client may take to come, and another one when the last has gone.
const FIRST: Duration = Duration::from_secs(120);
const NEXT: Duration = Duration::from_secs(10);

enum News {
    Came,
    Told(String),
    Left,
}

/// Serves until there is nobody left to serve, and removes what belongs to them.
///
/// # Errors
/// When the port or dockerd cannot be had.
pub fn run() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))?;
    let (sender, news) = channel();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || listen(client, &sender));
        }
    });
    writeln!(io::stdout(), "reaper Started!")?;
    let labels = until_alone(&news);
    for label in &labels {
        remove(label)?;
    }
    writeln!(io::stdout(), "removed what has {labels:?}")
}

/// One client. Whoever reads the news outlives it.
fn listen(client: TcpStream, news: &Sender<News>) {
    drop(news.send(News::Came));
    let mut answers = &client;
    for line in BufReader::new(&client).lines().map_while(Result::ok) {
        let filters = line.trim().split('&').filter_map(|filter| filter.strip_prefix("label="));
        filters.for_each(|label| drop(news.send(News::Told(label.to_owned()))));
        drop(answers.write_all(b"ACK\n"));
    }
    drop(news.send(News::Left));
}

/// Waits until the last client has gone for good; what was said by then.
fn until_alone(news: &Receiver<News>) -> BTreeSet<String> {
    let (mut labels, mut clients, mut patience) = (BTreeSet::new(), 0, FIRST);
    loop {
        match news.recv_timeout(patience) {
            Ok(News::Came) => clients += 1,
            Ok(News::Told(label)) => drop(labels.insert(label)),
            Ok(News::Left) => clients -= 1,
            Err(RecvTimeoutError::Timeout) if clients > 0 => {}
            Err(_) => return labels,
        }
        patience = NEXT;
    }
}

/// Containers first: what they hold cannot go before them.
fn remove(label: &str) -> io::Result<()> {
    let filter: String = format!("{{\"label\":[\"{label}\"]}}").bytes().map(|byte| format!("%{byte:02x}")).collect();
    for (list, key, one, options) in [
        (format!("/containers/json?all=1&filters={filter}"), "Id", "/containers", "?force=1&v=1"),
        (format!("/networks?filters={filter}"), "Id", "/networks", ""),
        (format!("/volumes?filters={filter}"), "Name", "/volumes", "?force=1"),
        (format!("/images/json?filters={filter}"), "Id", "/images", "?force=1"),
    ] {
        for name in values(&ask("GET", &list)?, key) {
            ask("DELETE", &format!("{one}/{name}{options}"))?;
        }
    }
    Ok(())
}

/// What dockerd answers, head and all.
fn ask(method: &str, path: &str) -> io::Result<String> {
    let mut dockerd = UnixStream::connect(SOCKET)?;
    write!(dockerd, "{method} {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = Vec::new();
    dockerd.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The texts that stand behind `"KEY":` in JSON that dockerd prints.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let before = format!("\"{key}\":\"");
    text.split(&before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_others_not() {
        let text = r#"[{"Id":"12ab","Names":["/a"],"ImageID":"sha256:1","NetworkID":"n"},{"Id":"34cd"}]"#;
        assert_eq!(values(text, "Id"), ["12ab", "34cd"]);
    }

    #[test]
    fn labels_are_kept_until_the_last_client_has_gone() {
        let (sender, news) = channel();
        for word in [News::Came, News::Told("a=1".into()), News::Came, News::Left, News::Told("b=2".into()), News::Left]
        {
            sender.send(word).unwrap();
        }
        drop(sender);
        assert_eq!(until_alone(&news), ["a=1", "b=2"].map(str::to_owned).into());
    }
}
