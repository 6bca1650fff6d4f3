//! Packages from Debian's signed archive by a private apt: own sources, state and cache under a directory of ours, nothing
//! of the system's touched, no root needed. The host's apt.conf (proxies) stays in effect; its hooks do not. apt checks the
//! signatures with Debian's keyring. Called by the builder.

use std::{
    cell::Cell,
    env, fs,
    path::{Path, PathBuf},
};

use crate::{command, debian::Archive, digest, error::BuildError, manifest::Package};

const MIRROR: &str = "http://deb.debian.org/debian";
const SECURITY_MIRROR: &str = "http://deb.debian.org/debian-security";
const CURE: &str = "Check the network; behind a proxy set http_proxy or apt's Acquire::http::Proxy; \
                    LIGHTER_DEBIAN_MIRROR names another mirror";

/// A file of a source package.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SourceFile {
    uri: String,
    name: String,
    sha256: String,
}

/// An apt whose whole state lies under one directory.
#[derive(Debug)]
pub struct Apt {
    config: PathBuf,
    archives: PathBuf,
    fresh: Cell<bool>,
}

/// A package that apt would download, and the name that apt gives to the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What it is.
    pub package: Package,
    /// The file's name in the download directory.
    pub file: String,
}

impl Apt {
    /// Prepares the private state under `dir` for packages of the Debian architecture `architecture`.
    pub fn new(dir: &Path, architecture: &str) -> Result<Self, BuildError> {
        Self::of(Archive::Release, dir, architecture)
    }

    /// The same for another archive; each needs a directory of its own.
    pub fn of(archive: Archive, dir: &Path, architecture: &str) -> Result<Self, BuildError> {
        let mirror = env::var("LIGHTER_DEBIAN_MIRROR").unwrap_or_else(|_| MIRROR.into());
        let security = env::var("LIGHTER_DEBIAN_SECURITY_MIRROR").unwrap_or_else(|_| SECURITY_MIRROR.into());
        Self::with_mirrors(archive, dir, architecture, [&mirror, &security])
    }

    fn with_mirrors(archive: Archive, dir: &Path, architecture: &str, mirrors: [&str; 2]) -> Result<Self, BuildError> {
        let archives = dir.join("archives");
        for needed in ["state/lists/partial", "cache/archives/partial", "archives"] {
            let path = dir.join(needed);
            fs::create_dir_all(&path).map_err(BuildError::io("create", &path))?;
        }
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).map_err(BuildError::io("write", &path)).map(|()| path)
        };
        write("status", "")?;
        let [mirror, security] = mirrors;
        write("sources.list", &archive.sources(mirror, security))?;
        let text = configuration(&dir.to_string_lossy(), architecture) + archive.configuration();
        let config = write("apt.conf", &text)?;
        Ok(Self { config, archives, fresh: Cell::new(false) })
    }

    /// Fetches the indexes of the archive and checks their signatures.
    pub fn update(&self) -> Result<(), BuildError> {
        command::output(self.command().args(["update", "-q", "-o", "APT::Update::Error-Mode=any"]), CURE)?;
        self.fresh.set(true);
        Ok(())
    }

    /// Whether the indexes were fetched by this very build.
    pub fn is_fresh(&self) -> bool {
        self.fresh.get()
    }

    /// What the indexes say of the newest version of each package, in the order of `names`.
    pub fn resolve(&self, names: &[&str]) -> Result<Vec<Candidate>, BuildError> {
        let text = command::output(self.command().args(["download", "--print-uris"]).args(names), CURE)?;
        let text = String::from_utf8_lossy(&text);
        let found = text.lines().filter(|line| line.starts_with('\'')).map(parse_uri).collect::<Result<Vec<_>, _>>()?;
        let of_name = |name: &&str| {
            found
                .iter()
                .find(|candidate| candidate.package.name == *name)
                .cloned()
                .ok_or_else(|| BuildError::NoPackage { name: (*name).to_owned() })
        };
        names.iter().map(of_name).collect()
    }

    /// The same of `name` and of everything that it depends on, recommendations left out.
    pub fn closure(&self, name: &str) -> Result<Vec<Candidate>, BuildError> {
        let words = ["install", "--print-uris", "--yes", "--no-install-recommends", name];
        let text = command::output(self.command().args(words), CURE)?;
        let text = String::from_utf8_lossy(&text);
        // In this answer the digests are MD5, so the names alone are taken from it.
        let names: Vec<&str> = text.lines().filter_map(named_file).collect();
        self.resolve(&names)
    }

    /// Downloads what is not there yet, checks every file against the index, and answers the paths in the same order.
    pub fn fetch(&self, wanted: &[Candidate]) -> Result<Vec<PathBuf>, BuildError> {
        let absent: Vec<_> = wanted.iter().filter(|candidate| !self.has(candidate)).collect();
        if !absent.is_empty() {
            let exact = absent.iter().map(|c| format!("{}={}", c.package.name, c.package.version));
            command::output(self.command().args(["download", "-q"]).args(exact).current_dir(&self.archives), CURE)?;
        }
        wanted.iter().map(|candidate| self.checked(candidate)).collect()
    }

    /// One file of a source package, whose name ends so, checked against the index.
    pub fn source_file(&self, package: &str, ending: &str) -> Result<PathBuf, BuildError> {
        let text = command::output(self.command().args(["source", "--print-uris", package]), CURE)?;
        let text = String::from_utf8_lossy(&text);
        let found = text.lines().filter_map(parse_source).find(|file| file.name.ends_with(ending));
        let found = found.ok_or_else(|| BuildError::NoPackage { name: format!("{package} (source)") })?;
        let path = self.archives.join(&found.name);
        let mut download = command::command("/usr/lib/apt/apt-helper");
        download.arg("-c").arg(&self.config).args(["-q", "download-file", &found.uri]).arg(&path);
        command::output(download.arg(format!("SHA256:{}", found.sha256)), CURE)?;
        let (sha256, _) = digest::of_file(&path).map_err(BuildError::io("read", &path))?;
        if sha256 == found.sha256 {
            return Ok(path);
        }
        let _ = fs::remove_file(&path);
        Err(BuildError::WrongDownload { path })
    }

    /// Whether the download of `candidate` is there, by name and size; [`Apt::fetch`] compares the content.
    pub fn has(&self, candidate: &Candidate) -> bool {
        fs::metadata(self.archives.join(&candidate.file)).is_ok_and(|about| about.len() == candidate.package.size)
    }

    /// Forgets downloads that are not among `used`: an archive of old kernels is nobody's wish.
    pub fn keep_only(&self, used: &[Candidate]) -> Result<(), BuildError> {
        for entry in fs::read_dir(&self.archives).map_err(BuildError::io("read", &self.archives))? {
            let path = entry.map_err(BuildError::io("read", &self.archives))?.path();
            if !used.iter().any(|candidate| path.ends_with(&candidate.file)) {
                fs::remove_file(&path).map_err(BuildError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn checked(&self, candidate: &Candidate) -> Result<PathBuf, BuildError> {
        let path = self.archives.join(&candidate.file);
        let (sha256, size) = digest::of_file(&path).map_err(BuildError::io("read", &path))?;
        if size == candidate.package.size && sha256 == candidate.package.sha256 {
            return Ok(path);
        }
        // Out of the way, so that the next build downloads it afresh.
        let _ = fs::remove_file(&path);
        Err(BuildError::WrongDownload { path })
    }

    fn command(&self) -> std::process::Command {
        let mut command = command::command("apt-get");
        command.arg("-c").arg(&self.config);
        command
    }
}

/// Read by apt after the host's own configuration, so that it wins.
fn configuration(dir: &str, architecture: &str) -> String {
    format!(
        r#"#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large-hidpi;
Dir::State "{dir}/state";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}/cache";
Dir::Etc::sourcelist "{dir}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "/dev/null";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Default-Release "";
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "root";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
"#
    )
}

/// The package's name in a line that begins with `'URI' name_version_arch.deb`.
fn named_file(line: &str) -> Option<&str> {
    let file = line.strip_prefix('\'')?.split_whitespace().nth(1)?;
    file.split('_').next()
}

/// One line of `apt-get download --print-uris`: `'URI' name_version_arch.deb size SHA256:digest`.
fn parse_uri(line: &str) -> Result<Candidate, BuildError> {
    let parse = || {
        let mut words = line.split_whitespace().skip(1);
        let file = words.next()?;
        let size = words.next()?.parse().ok()?;
        let sha256 = words.next()?.strip_prefix("SHA256:")?;
        let mut stem = file.strip_suffix(".deb")?.split('_');
        let (name, version, architecture) = (stem.next()?, stem.next()?, stem.next()?);
        let plain = !file.contains('/') && sha256.len() == 64 && stem.next().is_none();
        plain.then(|| Candidate {
            package: Package {
                name: name.to_owned(),
                // The epoch's colon is the one character that apt escapes in file names.
                version: version.replace("%3a", ":"),
                architecture: architecture.to_owned(),
                size,
                sha256: sha256.to_owned(),
            },
            file: file.to_owned(),
        })
    };
    parse().ok_or_else(|| BuildError::AptAnswer { line: line.to_owned() })
}

/// One line of `apt-get source --print-uris`: `'URI' name size SHA256:digest`.
fn parse_source(line: &str) -> Option<SourceFile> {
    let (uri, rest) = line.strip_prefix('\'')?.split_once('\'')?;
    let mut words = rest.split_whitespace();
    let (name, sha256) = (words.next()?, words.nth(1)?.strip_prefix("SHA256:")?);
    let plain = !name.contains('/') && sha256.len() == 64;
    plain.then(|| SourceFile { uri: uri.to_owned(), name: name.to_owned(), sha256: sha256.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::RELEASE;

    fn line(size: &str, digest: &str) -> String {
        format!(
            "'http://deb.debian.org/debian/pool/main/z/zlib/x.deb' zlib1g_1%3a1.3.dfsg+really1.3.1-1_amd64.deb {size} {digest}"
        )
    }

    #[test]
    fn epoch_version_size_and_digest_are_read() {
        let digest = "8".repeat(64);
        let candidate = parse_uri(&line("88720", &format!("SHA256:{digest}"))).unwrap();
        assert_eq!(candidate.package.name, "zlib1g");
        assert_eq!(candidate.package.version, "1:1.3.dfsg+really1.3.1-1");
        assert_eq!((candidate.package.size, candidate.package.sha256), (88720, digest));
        assert_eq!(candidate.file, "zlib1g_1%3a1.3.dfsg+really1.3.1-1_amd64.deb");
    }

    #[test]
    fn names_are_read_whatever_the_digest_is() {
        assert_eq!(named_file(&line("49432", "MD5Sum:8c82")), Some("zlib1g"));
        assert_eq!(named_file("Reading package lists..."), None);
    }

    #[test]
    fn answers_without_a_sound_digest_are_refused() {
        for bad in [line("88720", "MD5Sum:0123"), line("88720", "SHA256:12"), line("many", ""), "'x'".to_owned()] {
            assert!(parse_uri(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_of_sources_have_sound_digests() {
        let line = |name: &str, digest: &str| format!("'http://m/pool/x%2b1.tar.xz' {name} 12 {digest}");
        let digest = "8".repeat(64);
        let found = parse_source(&line("x+1.tar.xz", &format!("SHA256:{digest}"))).unwrap();
        assert_eq!((found.uri.as_str(), found.name.as_str()), ("http://m/pool/x%2b1.tar.xz", "x+1.tar.xz"));
        for (name, digest) in [("x", "MD5Sum:88"), ("x", "SHA256:12"), ("../x", &*format!("SHA256:{digest}"))] {
            assert_eq!(parse_source(&line(name, digest)), None);
        }
    }

    /// An archive in a folder with one index, and whatever stands in place of a signed release file.
    fn archive(at: &Path, release: &str) {
        const PACKAGES: &str = "Package: evil\nVersion: 1\nArchitecture: amd64\nFilename: evil.deb\nSize: 4\n\
             SHA256: 0000000000000000000000000000000000000000000000000000000000000000\n";
        let others = [Archive::Backports, Archive::Next].map(|archive| archive.name().to_owned());
        let own = [RELEASE.to_owned(), format!("{RELEASE}-updates"), format!("{RELEASE}-security")];
        for suite in own.into_iter().chain(others) {
            let dists = at.join("dists").join(&suite);
            fs::create_dir_all(dists.join("main/binary-amd64")).unwrap();
            fs::write(dists.join("main/binary-amd64/Packages"), PACKAGES).unwrap();
            let sums = format!(
                "Suite: {suite}\nCodename: {suite}\nComponents: main\nArchitectures: amd64\nDate: Thu, 01 Jan 2026 \
                 00:00:00 UTC\nSHA256:\n {} {} main/binary-amd64/Packages\n",
                digest::of_bytes(PACKAGES.as_bytes()),
                PACKAGES.len()
            );
            fs::write(dists.join(release), sums.clone()).unwrap();
            if release == "Release" {
                // Not a signature at all.
                fs::write(dists.join("Release.gpg"), "nobody").unwrap();
            }
        }
    }

    #[test]
    fn unsigned_archives_are_refused_although_the_host_trusts_everything() {
        let archives = [Archive::Release, Archive::Backports, Archive::Next];
        for (release, which) in ["Release", "InRelease"].into_iter().flat_map(|r| archives.map(|which| (r, which))) {
            let dir = tempfile::tempdir().unwrap();
            archive(&dir.path().join("archive"), release);
            let mirror = format!("file://{}", dir.path().join("archive").display());
            let apt = Apt::with_mirrors(which, &dir.path().join("apt"), "amd64", [&mirror, &mirror]).unwrap();
            let trusting = dir.path().join("trusting.conf");
            let everything = "Acquire::AllowInsecureRepositories \"true\";\n\
                 Acquire::AllowDowngradeToInsecureRepositories \"true\";\nAcquire::AllowWeakRepositories \"true\";\n\
                 APT::Get::AllowUnauthenticated \"true\";\n";
            fs::write(&trusting, everything).unwrap();
            let mut update = apt.command();
            update.env("APT_CONFIG", &trusting).args(["update", "-q", "-o", "APT::Update::Error-Mode=any"]);
            let error = command::output(&mut update, CURE).expect_err("nobody signed it").to_string();
            let why = ["GPG error", "is not signed", "OpenPGP signature"];
            assert!(why.iter().any(|why| error.contains(why)), "{error}");
            let mut resolve = apt.command();
            resolve.env("APT_CONFIG", &trusting).args(["download", "--print-uris", "evil"]);
            let error = command::output(&mut resolve, CURE).expect_err("the index was taken").to_string();
            // Nothing of the release that is preferred is known, or nothing of the package.
            assert!(error.contains("APT::Default-Release") || error.contains("evil"), "{error}");
        }
    }
}
