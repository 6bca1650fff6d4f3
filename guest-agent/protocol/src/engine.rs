//! What dockerd has to know of the network that the user lives in: proxies, registries of their own, and whom they trust. Part
//! of [`crate::Boot`], because a container can read the kernel's command line and a proxy's URL may hold a password.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most [`Certificates`] frames that follow a [`crate::Boot`].
pub const MOST_CERTIFICATE_FRAMES: u32 = 64;
/// Most bytes of PEM text in one of them; JSON writes each of its line ends in two.
pub const CERTIFICATES_IN_FRAME: usize = 96 * 1024;

/// How dockerd is to be set up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineSettings {
    /// Proxies for what dockerd and its builder fetch.
    #[serde(default)]
    pub proxies: Proxies,
    /// URLs of mirrors of Docker Hub, in the order in which they are asked.
    #[serde(default)]
    pub registry_mirrors: Vec<String>,
    /// Registries that may be spoken to without TLS or without a known certificate: `host`, `host:port` or a network.
    #[serde(default)]
    pub insecure_registries: Vec<String>,
    /// How many [`Certificates`] frames follow on the same connection, at most [`MOST_CERTIFICATE_FRAMES`].
    #[serde(default)]
    pub certificate_frames: u32,
}

/// Values of the environment variables of these names; a URL may hold a password, so none is ever shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxies {
    /// `HTTP_PROXY`.
    pub http: Option<String>,
    /// `HTTPS_PROXY`.
    pub https: Option<String>,
    /// `NO_PROXY`.
    pub no_proxy: Option<String>,
}

impl Proxies {
    /// The environment variables that are set, in both of the usual spellings.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let upper = [("HTTP_PROXY", &self.http), ("HTTPS_PROXY", &self.https), ("NO_PROXY", &self.no_proxy)];
        let lower = [("http_proxy", &self.http), ("https_proxy", &self.https), ("no_proxy", &self.no_proxy)];
        upper.into_iter().chain(lower).filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |value: &Option<String>| value.as_ref().map(|_| "…");
        f.debug_struct("Proxies")
            .field("http", &hidden(&self.http))
            .field("https", &hidden(&self.https))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// Root certificates that the host trusts, beyond those of the guest image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// Any number of certificates as PEM text, each whole.
    pub pem: String,
}

/// Certificates in as few frames as they need, in their order. Each must be shorter than [`CERTIFICATES_IN_FRAME`].
pub fn frames_of(certificates: &[String]) -> Vec<Certificates> {
    let mut frames: Vec<Certificates> = Vec::new();
    for pem in certificates {
        match frames.last_mut() {
            Some(frame) if frame.pem.len() + pem.len() <= CERTIFICATES_IN_FRAME => frame.pem.push_str(pem),
            _ => frames.push(Certificates { pem: pem.clone() }),
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn c9_a_proxys_password_is_in_no_debug_text() {
        let url = Some("http://me:secret@proxy:3128".to_owned());
        let proxies = Proxies { http: url.clone(), https: url, no_proxy: Some("localhost".to_owned()) };
        let settings = EngineSettings { proxies, ..EngineSettings::default() };
        assert!(!format!("{settings:?}{settings:#?}").contains("secret"));
        assert_eq!(settings.proxies.variables().count(), 6);
    }

    #[test]
    fn a1_certificates_of_any_number_go_into_frames_that_a_message_has_room_for() {
        // The worst that JSON makes of PEM text is two bytes for a line end.
        let certificates: Vec<String> = (0..500).map(|n| format!("{n}{}", "\n".repeat(n * 7))).collect();
        let frames = frames_of(&certificates);
        assert!(frames.len() > 1 && frames.len() < MOST_CERTIFICATE_FRAMES as usize);
        for frame in &frames {
            wire::encode(frame).unwrap();
        }
        let all: String = frames.iter().map(|frame| frame.pem.as_str()).collect();
        assert_eq!(all, certificates.concat());
        assert!(frames_of(&[]).is_empty());
    }
}
