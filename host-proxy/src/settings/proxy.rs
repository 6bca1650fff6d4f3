//! Which proxies dockerd and containers use: `[proxy]` of `config.toml` over the environment of `lighter start`, each key over
//! its variable. Called by `world`, and through it by the daemon, by `lighter start` and by `doctor`.
//!
//! Decisions, with what dockerd (Go's `net/http`) and curl do in mind:
//! - A variable in upper case comes before the same in lower case, as Go has it; an empty one is not there.
//! - Go does not know `ALL_PROXY`. It stands in for `HTTP_PROXY` and `HTTPS_PROXY` where those are missing, as curl has it.
//! - A proxy on the host's loopback is called by the name that the guest has for that.
//! - What lies on this side of every proxy is never asked of one.

use std::fmt;

use lighter_protocol::Proxies;
use serde::{Deserialize, Serialize};

use super::url::Url;
use crate::net::HOST_NAME;

/// What dockerd can speak to a proxy.
const SCHEMES: &[&str] = &["http", "https", "socks5", "socks5h"];
/// Longest list of exceptions in bytes.
const LONGEST: usize = 16 * 1024;
/// Never asked of a proxy: the guest's own loopback, and the host, which a proxy elsewhere does not know by this name.
const NEAR: [&str; 4] = ["localhost", "127.0.0.0/8", "::1", HOST_NAME];

/// Proxies in the words of a user; `None` is what was not said, an empty text says that there is none.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyWords {
    /// For `http://`.
    pub http: Option<String>,
    /// For `https://`.
    pub https: Option<String>,
    /// For whatever has none of its own.
    pub all: Option<String>,
    /// What no proxy is asked for, with commas between.
    pub no_proxy: Option<String>,
}

impl ProxyWords {
    /// Those in this process's environment.
    pub fn from_env() -> ProxyWords {
        ProxyWords::from(|name| std::env::var(name).ok())
    }

    fn from(variable: impl Fn(&str) -> Option<String>) -> ProxyWords {
        let either = |upper: &str| {
            let said = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
            said(upper).or_else(|| said(&upper.to_ascii_lowercase()))
        };
        ProxyWords {
            http: either("HTTP_PROXY"),
            https: either("HTTPS_PROXY"),
            all: either("ALL_PROXY"),
            no_proxy: either("NO_PROXY"),
        }
    }
}

impl fmt::Debug for ProxyWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |word: &Option<String>| if word.is_some() { "…" } else { "none" };
        let Self { http, https, all, no_proxy } = self;
        write!(f, "http: {}, https: {}, all: {}, no_proxy: {}", said(http), said(https), said(all), said(no_proxy))
    }
}

/// `proxy` in `config.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyWish {
    /// No proxy, whatever the environment says.
    Off,
    /// These, over the environment.
    Table(ProxyWords),
}

/// A word that is no proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadProxy {
    /// `http`, `https`, `all` or `no_proxy`.
    pub key: &'static str,
    /// The word without a login, as far as that can be told.
    pub shown: String,
    /// What is wrong, and what could stand there.
    pub reason: String,
}

/// What is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InForce {
    /// For `http://`.
    pub http: Option<Url>,
    /// For `https://`.
    pub https: Option<Url>,
    /// As it was said, for programs in containers.
    pub all: Option<Url>,
    /// The user's own exceptions.
    exceptions: String,
}

impl InForce {
    /// What the table alone says, every word of it checked.
    pub fn of_table(words: &ProxyWords) -> Result<InForce, BadProxy> {
        let url = |key, word: &Option<String>| match word.as_deref().map(str::trim) {
            None | Some("") => Ok(None),
            Some(text) => Url::parse(text, SCHEMES, Some("http")).map(Some).map_err(|reason| {
                // All that stands before the last `@` may be a login, whatever else is wrong with it.
                let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest).chars().take(80).collect();
                BadProxy { key, shown, reason }
            }),
        };
        let (http, https, all) = (url("http", &words.http)?, url("https", &words.https)?, url("all", &words.all)?);
        let exceptions = words.no_proxy.clone().unwrap_or_default();
        let refuse = |reason: String| BadProxy { key: "no_proxy", shown: "so".to_owned(), reason };
        if exceptions.len() > LONGEST {
            return Err(refuse(format!("it is longer than {LONGEST} bytes")));
        }
        if exceptions.chars().any(char::is_control) {
            return Err(refuse("it is one line of names and networks with commas between".to_owned()));
        }
        Ok(InForce { http, https, all, exceptions })
    }

    /// `wish` over `environment`, and what in the environment is of no use. Its own words have been checked.
    pub fn new(wish: Option<&ProxyWish>, environment: &ProxyWords) -> (InForce, Vec<BadProxy>) {
        let none = ProxyWords::default();
        let (table, environment) = match wish {
            Some(ProxyWish::Off) => (&none, &none),
            Some(ProxyWish::Table(table)) => (table, environment),
            None => (&none, environment),
        };
        let mut words = environment.clone();
        for (word, over) in [
            (&mut words.http, &table.http),
            (&mut words.https, &table.https),
            (&mut words.all, &table.all),
            (&mut words.no_proxy, &table.no_proxy),
        ] {
            if over.is_some() {
                word.clone_from(over);
            }
        }
        let mut bad = Vec::new();
        let mut proxies = loop {
            match InForce::of_table(&words) {
                Ok(proxies) => break proxies,
                Err(error) => {
                    // Each turn takes one word out, and there are four.
                    match error.key {
                        "http" => words.http = None,
                        "https" => words.https = None,
                        "all" => words.all = None,
                        _ => words.no_proxy = None,
                    }
                    bad.push(error);
                }
            }
        };
        // An empty text said that there is none.
        if words.http.is_none() {
            proxies.http.clone_from(&proxies.all);
        }
        if words.https.is_none() {
            proxies.https.clone_from(&proxies.all);
        }
        (proxies, bad)
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }

    /// Each proxy once, as the host calls it.
    pub fn urls(&self) -> Vec<&Url> {
        let mut urls: Vec<&Url> = self.http.iter().chain(&self.https).collect();
        urls.dedup();
        urls
    }

    /// For people: without logins.
    pub fn shown(&self) -> Option<String> {
        let urls: Vec<String> = self.urls().iter().map(ToString::to_string).collect();
        (!urls.is_empty()).then(|| urls.join(" and "))
    }

    /// Those on the host's own loopback.
    pub fn on_loopback(&self) -> Option<&Url> {
        self.http.iter().chain(&self.https).find(|url| url.is_loopback())
    }

    /// What is never asked of a proxy.
    fn no_proxy(&self) -> String {
        let words: Vec<&str> = self.exceptions.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        if words.contains(&"*") {
            // More than this means less to some programs.
            return "*".to_owned();
        }
        let near = NEAR.iter().copied().filter(|near| !words.iter().any(|word| word.eq_ignore_ascii_case(near)));
        words.iter().copied().chain(near).collect::<Vec<_>>().join(",")
    }

    /// For dockerd.
    pub fn for_engine(&self) -> Proxies {
        let text = |url: &Option<Url>| url.as_ref().map(|url| url.for_guest().secret_text());
        let no_proxy = (!self.is_none()).then(|| self.no_proxy());
        Proxies { http: text(&self.http), https: text(&self.https), no_proxy }
    }

    /// For containers, in the form that the docker CLI has for it; `None` if there is nothing to say.
    pub fn for_containers(&self) -> Option<serde_json::Value> {
        let mut entry = serde_json::Map::new();
        for (name, url) in [("httpProxy", &self.http), ("httpsProxy", &self.https), ("allProxy", &self.all)] {
            if let Some(url) = url {
                entry.insert(name.to_owned(), url.for_guest().secret_text().into());
            }
        }
        if entry.is_empty() {
            return None;
        }
        entry.insert("noProxy".to_owned(), self.no_proxy().into());
        Some(entry.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pairs: &[(&str, &str)]) -> ProxyWords {
        ProxyWords::from(|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    fn table(http: Option<&str>, https: Option<&str>, no_proxy: Option<&str>) -> ProxyWish {
        let own = |text: Option<&str>| text.map(str::to_owned);
        ProxyWish::Table(ProxyWords { http: own(http), https: own(https), all: None, no_proxy: own(no_proxy) })
    }

    fn engine(wish: Option<&ProxyWish>, environment: &ProxyWords) -> Proxies {
        let (proxies, bad) = InForce::new(wish, environment);
        assert_eq!(bad, []);
        proxies.for_engine()
    }

    #[test]
    fn c9_variables_count_in_either_case_and_the_upper_one_first_as_dockerd_has_it() {
        let both = words(&[
            ("HTTP_PROXY", "http://upper:1"),
            ("http_proxy", "http://lower:1"),
            ("https_proxy", "http://lower:2"),
            ("HTTPS_PROXY", " "),
        ]);
        let proxies = engine(None, &both);
        assert_eq!(
            (proxies.http.as_deref(), proxies.https.as_deref()),
            (Some("http://upper:1"), Some("http://lower:2"))
        );
        let all = engine(None, &words(&[("all_proxy", "socks5://p:1080"), ("HTTP_PROXY", "q:1")]));
        assert_eq!((all.http.as_deref(), all.https.as_deref()), (Some("http://q:1"), Some("socks5://p:1080")));
        assert_eq!(
            engine(None, &words(&[("NO_PROXY", "corp")])),
            Proxies::default(),
            "exceptions from nothing are nothing"
        );
    }

    #[test]
    fn c9_settings_win_over_variables_key_by_key_and_off_wins_over_all() {
        let environment =
            words(&[("HTTP_PROXY", "http://env:1"), ("HTTPS_PROXY", "http://env:2"), ("NO_PROXY", "env")]);
        let proxies = engine(Some(&table(Some("http://own:9"), None, None)), &environment);
        assert_eq!((proxies.http.as_deref(), proxies.https.as_deref()), (Some("http://own:9"), Some("http://env:2")));
        assert!(proxies.no_proxy.unwrap().starts_with("env,"));
        let proxies = engine(Some(&table(None, Some(""), Some("own"))), &environment);
        assert_eq!((proxies.http.as_deref(), proxies.https), (Some("http://env:1"), None), "an empty text means none");
        assert!(proxies.no_proxy.unwrap().starts_with("own,"));
        assert_eq!(engine(Some(&ProxyWish::Off), &environment), Proxies::default());
    }

    #[test]
    fn c9_what_is_near_is_never_asked_of_a_proxy() {
        let near = |no: &str| engine(None, &words(&[("HTTP_PROXY", "p:1"), ("NO_PROXY", no)])).no_proxy.unwrap();
        assert_eq!(near(" "), "localhost,127.0.0.0/8,::1,host.docker.internal");
        assert_eq!(near("corp.example, ,Localhost"), "corp.example,Localhost,127.0.0.0/8,::1,host.docker.internal");
        assert_eq!(near("a,*"), "*");
    }

    #[test]
    fn c9_a_proxy_on_the_hosts_loopback_is_reached_from_guest_and_containers() {
        let (proxies, _) = InForce::new(None, &words(&[("HTTPS_PROXY", "http://me:secret@127.0.0.1:3128")]));
        assert_eq!(proxies.for_engine().https.unwrap(), "http://me:secret@host.docker.internal:3128");
        let entry = proxies.for_containers().unwrap();
        assert_eq!(entry["httpsProxy"], "http://me:secret@host.docker.internal:3128");
        assert_eq!(entry.get("httpProxy"), None);
        assert_eq!(entry["noProxy"], "localhost,127.0.0.0/8,::1,host.docker.internal");
        assert_eq!(proxies.on_loopback().unwrap().endpoint(), ("127.0.0.1", 3128));
        assert_eq!(InForce::default().for_containers(), None);
    }

    #[test]
    fn c9_a_variable_that_is_of_no_use_is_named_without_its_password_and_the_others_count() {
        let (proxies, bad) = InForce::new(
            None,
            &words(&[("HTTP_PROXY", "gopher://me:secret@p:1"), ("HTTPS_PROXY", "http://q:1"), ("NO_PROXY", "a\nb")]),
        );
        assert_eq!(proxies.shown().unwrap(), "http://q:1");
        assert_eq!(bad.iter().map(|bad| bad.key).collect::<Vec<_>>(), ["http", "no_proxy"]);
        assert!(!format!("{bad:?}").contains("secret"), "{bad:?}");
    }

    #[test]
    fn c9_no_debug_text_of_what_a_user_said_holds_a_password() {
        let words = words(&[("HTTP_PROXY", "http://me:secret@p:1"), ("ALL_PROXY", "me:secret@p")]);
        let (proxies, _) = InForce::new(None, &words);
        let all = format!("{words:?} {:?} {proxies:?} {:?}", ProxyWish::Table(words.clone()), proxies.shown());
        assert!(!all.contains("secret"), "{all}");
        assert!(proxies.for_engine().http.unwrap().contains("secret"), "whoever needs it gets it");
    }
}
