//! Debian's archives: what each is called, where apt finds it, and what its configuration says of it.

/// Debian's archive keys, from the package debian-archive-keyring.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Debian's release that the guest is made of.
pub const RELEASE: &str = "trixie";

/// Which of Debian's archives packages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    /// The guest's release with its updates.
    Release,
    /// The same, and newer versions of some packages that were made for it later: programs that run on the host.
    Backports,
    /// The release after it, with sources: for what that one has not, and only a test needs.
    Next,
}

impl Archive {
    /// The name that the archive gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Release => RELEASE,
            Self::Backports => "trixie-backports",
            Self::Next => "forky",
        }
    }

    /// The lines of a `sources.list`.
    pub fn sources(self, mirror: &str, security: &str) -> String {
        let signed = format!("[signed-by={KEYRING}]");
        let deb = |mirror: &str, suite: &str| format!("deb {signed} {mirror} {suite} main\n");
        let release = || {
            deb(mirror, RELEASE)
                + &deb(mirror, &format!("{RELEASE}-updates"))
                + &deb(security, &format!("{RELEASE}-security"))
        };
        match self {
            Self::Release => release(),
            Self::Backports => release() + &deb(mirror, self.name()),
            Self::Next => deb(mirror, self.name()) + &format!("deb-src {signed} {mirror} {} main\n", self.name()),
        }
    }

    /// What differs in apt's configuration.
    pub fn configuration(self) -> &'static str {
        match self {
            Self::Release => "",
            // They are not taken unless they are preferred.
            Self::Backports => "APT::Default-Release \"trixie-backports\";\n",
            // Seconds: a mirror that is some weeks behind is no reason to leave a test out; its signature is checked all the same.
            Self::Next => "Acquire::Min-ValidTime \"10368000\";\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_names_the_keyring() {
        for (archive, count) in [(Archive::Release, 3), (Archive::Backports, 4), (Archive::Next, 2)] {
            let sources = archive.sources("http://m/debian", "http://s");
            assert_eq!(sources.lines().count(), count);
            let signed = |line: &str| line.split_whitespace().nth(1) == Some(&format!("[signed-by={KEYRING}]"));
            assert!(sources.lines().all(|line| signed(line) && line.ends_with(" main")), "{sources}");
        }
    }
}
