//! The user's network world: which proxies are in force and whether they answer, and whether the files of certificates can be
//! used. Opens a connection to each proxy and says nothing on it.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

use crate::daemon::{fault::chain, trust};
use crate::doctor::facts::{ProxyFacts, WorldFacts};
use crate::net::HostAccess;
use crate::settings::Settings;
use crate::settings::proxy::ProxyWords;
use crate::settings::url::Url;

/// How long a proxy may take to accept a connection, its name to be found included.
const PATIENCE: Duration = Duration::from_secs(3);

/// See the head of this file.
pub fn world(settings: &Settings) -> WorldFacts {
    let (proxies, bad) = settings.world.proxies(&ProxyWords::from_env());
    let asked = proxies.urls().into_iter().map(|url| ProxyFacts {
        shown: url.to_string(),
        closed: is_closed(url, settings.host_access),
        silent: silent(url),
    });
    let native = settings.network && trust::gather(&[]).is_ok_and(|trust| trust.pem.is_empty());
    WorldFacts {
        network: settings.network,
        proxies: asked.collect(),
        bad_variables: bad.into_iter().map(|bad| (bad.key.to_owned(), bad.reason)).collect(),
        certificates_error: trust::of_files(&settings.world.ca_certificates).err().map(|error| chain(&error)),
        no_native_certificates: native,
    }
}

/// Whether the machine cannot reach a proxy because it is on this computer.
fn is_closed(url: &Url, access: HostAccess) -> bool {
    url.is_loopback() && !access.allows(url.endpoint().1)
}

/// Why a proxy does not answer.
fn silent(url: &Url) -> Option<String> {
    let (host, port) = url.endpoint();
    let (host, (done, answer)) = (host.to_owned(), mpsc::channel());
    // A thread, because looking up a name knows no deadline.
    std::thread::spawn(move || {
        let connect = || {
            let mut last = std::io::Error::other("it has no address");
            for address in (host.as_str(), port).to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, PATIENCE) {
                    Ok(_) => return Ok(()),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        // Nobody listens any more to one that comes too late.
        let _ = done.send(connect());
    });
    match answer.recv_timeout(PATIENCE) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn c9_a_proxy_on_the_loopback_is_no_trouble_as_far_as_the_host_is_open() {
        for (url, access, closed) in [
            ("http://127.0.0.1:3128", HostAccess::Unprivileged, false),
            ("http://localhost:80", HostAccess::Unprivileged, true),
            ("http://localhost:80", HostAccess::All, false),
            ("http://[::1]:3128", HostAccess::No, true),
            ("http://proxy.example:80", HostAccess::No, false),
        ] {
            let url = Url::parse(url, &["http"], None).unwrap();
            assert_eq!(is_closed(&url, access), closed, "{url} {access:?}");
        }
    }

    #[test]
    fn c9_a_proxy_that_answers_and_one_that_does_not_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = |port: u16| Url::parse(&format!("http://me:secret@127.0.0.1:{port}"), &["http"], None).unwrap();
        assert_eq!(silent(&url(port)), None);
        drop(listener);
        assert!(silent(&url(port)).is_some_and(|why| !why.contains("secret")));
    }
}
