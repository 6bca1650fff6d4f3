//! What the build machine must have: programs and headers, by the Debian packages that bring them, and free disk space.
//! Called before a build begins, and by xtask, which installs what is missing.

use std::{env, path::Path};

use crate::{command, error::BuildError};

/// A Debian package that building needs, and how its presence is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPackage {
    /// Name for apt-get.
    pub package: &'static str,
    /// How to see that it is there.
    pub probe: Probe,
}

/// How the presence of a package is seen. Looking for what is used, not asking dpkg, also suits other distributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// This program is found on `PATH`.
    Program(&'static str),
    /// This file exists.
    File(&'static str),
}

impl HostPackage {
    /// Whether the package's content is there.
    pub fn is_present(&self) -> bool {
        match self.probe {
            Probe::File(path) => Path::new(path).exists(),
            Probe::Program(name) => {
                env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(name).is_file()))
            }
        }
    }
}

/// Everything that building an image needs beyond Rust and a shell.
pub fn host_packages() -> &'static [HostPackage] {
    use Probe::{File, Program};
    const fn need(package: &'static str, probe: Probe) -> HostPackage {
        HostPackage { package, probe }
    }
    const NEEDED: &[HostPackage] = &[
        need("apt", Program("apt-get")),
        need("dpkg", Program("dpkg-deb")),
        need("debian-archive-keyring", File(crate::debian::KEYRING)),
        need("gcc", Program("gcc")),
        need("binutils", Program("strip")),
        need("make", Program("make")),
        need("flex", Program("flex")),
        need("bison", Program("bison")),
        need("bc", Program("bc")),
        need("libelf-dev", File("/usr/include/gelf.h")),
        need("libc6-dev", File("/usr/include/stdio.h")),
        need("tar", Program("tar")),
        need("xz-utils", Program("xz")),
        need("perl", Program("perl")),
    ];
    NEEDED
}

/// Refuses to begin when something is missing, naming all of it at once.
pub fn check_tools() -> Result<(), BuildError> {
    let packages: Vec<_> = host_packages().iter().filter(|need| !need.is_present()).map(|need| need.package).collect();
    if packages.is_empty() { Ok(()) } else { Err(BuildError::MissingTools { packages }) }
}

/// Refuses to begin when the file system of `dir` has less than `needed_mb` free.
pub fn check_space(dir: &Path, needed_mb: u64) -> Result<(), BuildError> {
    let text = command::output(command::command("df").arg("-Pk").arg(dir), "")?;
    // Nothing is refused on an answer that is not understood: a full disk shows itself later.
    let available_mb = parse_df(&String::from_utf8_lossy(&text)).unwrap_or(u64::MAX);
    if available_mb < needed_mb {
        return Err(BuildError::NoSpace { path: dir.to_owned(), available_mb, needed_mb });
    }
    Ok(())
}

/// Free megabytes from the output of `df -Pk` (POSIX: fourth field of the second line, in units of 1024 bytes).
fn parse_df(text: &str) -> Option<u64> {
    let free: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(free / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_read_from_df() {
        let text = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 100 50 2097152 3% /\n";
        assert_eq!(parse_df(text), Some(2048));
        assert_eq!(parse_df("df: nothing"), None);
    }

    #[test]
    fn c6_too_little_space_is_refused_with_figures() {
        let error = check_space(Path::new("/"), u64::MAX - 1).unwrap_err().to_string();
        assert!(error.contains("MB free in /") && error.contains("LIGHTER_CACHE"), "{error}");
    }

    #[test]
    fn missing_tools_come_as_one_line_for_apt() {
        let error = BuildError::MissingTools { packages: vec!["flex", "bc"] }.to_string();
        assert!(error.ends_with("`sudo apt-get install -y flex bc`"), "{error}");
    }

    #[test]
    fn probes_see_what_is_there_and_what_is_not() {
        assert!(HostPackage { package: "x", probe: Probe::Program("sh") }.is_present());
        assert!(!HostPackage { package: "x", probe: Probe::Program("no-such-program") }.is_present());
        assert!(!HostPackage { package: "x", probe: Probe::File("/no/such/file") }.is_present());
    }
}
