//! The docker CLI for Windows, built on this host from Debian's sources by Debian's Go: nobody offers one to download without an
//! agreement, and what it does with a named pipe (Microsoft's go-winio) is what people's clients do. Used by the suite `windows`.
//!
//! The sources are of the release after the guest's, the first that has go-winio.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::Run;
use crate::products::target_dir;

/// The compiler and every library that the program's packages name, as `go list -deps` tells; all that those packages depend on
/// would be five times as much.
const PACKAGES: &[&str] = &[
    "golang-go",
    "golang-src",
    "golang-etcd-server-dev",
    "golang-github-azure-go-ansiterm-dev",
    "golang-github-beorn7-perks-dev",
    "golang-github-cenkalti-backoff-v5-dev",
    "golang-github-cespare-xxhash-v2-dev",
    "golang-github-clipperhouse-uax29-dev",
    "golang-github-containerd-errdefs-dev",
    "golang-github-containerd-log-dev",
    "golang-github-containerd-platforms-dev",
    "golang-github-distribution-reference-dev",
    "golang-github-docker-cli-docs-tool-dev",
    "golang-github-docker-distribution-dev",
    "golang-github-docker-docker-credential-helpers-dev",
    "golang-github-docker-docker-dev",
    "golang-github-docker-go-connections-dev",
    "golang-github-docker-go-dev",
    "golang-github-docker-go-events-dev",
    "golang-github-docker-go-metrics-dev",
    "golang-github-docker-go-units-dev",
    "golang-github-felixge-httpsnoop-dev",
    "golang-github-fvbommel-sortorder-dev",
    "golang-github-go-jose-go-jose-dev",
    "golang-github-go-logr-logr-dev",
    "golang-github-go-logr-stdr-dev",
    "golang-github-go-viper-mapstructure-dev",
    "golang-github-gogo-protobuf-dev",
    "golang-github-golang-protobuf-1-5-dev",
    "golang-github-google-shlex-dev",
    "golang-github-google-uuid-dev",
    "golang-github-gorilla-mux-dev",
    "golang-github-grpc-ecosystem-grpc-gateway-dev",
    "golang-github-imdario-mergo-dev",
    "golang-github-inconshreveable-mousetrap-dev",
    "golang-github-klauspost-compress-dev",
    "golang-github-mattn-go-runewidth-dev",
    "golang-github-microsoft-go-winio-dev",
    "golang-github-moby-docker-image-spec-dev",
    "golang-github-moby-go-archive-dev",
    "golang-github-moby-patternmatcher-dev",
    "golang-github-moby-sys-dev",
    "golang-github-moby-term-dev",
    "golang-github-morikuni-aec-dev",
    "golang-github-munnerz-goautoneg-dev",
    "golang-github-opencontainers-go-digest-dev",
    "golang-github-opencontainers-image-spec-dev",
    "golang-github-pkg-browser-dev",
    "golang-github-pkg-errors-dev",
    "golang-github-prometheus-client-golang-dev",
    "golang-github-prometheus-client-model-dev",
    "golang-github-prometheus-common-dev",
    "golang-github-sirupsen-logrus-dev",
    "golang-github-spf13-cobra-dev",
    "golang-github-spf13-pflag-dev",
    "golang-github-xeipuuv-gojsonpointer-dev",
    "golang-github-xeipuuv-gojsonreference-dev",
    "golang-github-xeipuuv-gojsonschema-dev",
    "golang-golang-x-crypto-dev",
    "golang-golang-x-net-dev",
    "golang-golang-x-sync-dev",
    "golang-golang-x-sys-dev",
    "golang-golang-x-term-dev",
    "golang-golang-x-text-dev",
    "golang-golang-x-time-dev",
    "golang-google-genproto-dev",
    "golang-google-grpc-dev",
    "golang-google-protobuf-dev",
    "golang-gopkg-yaml.v3-dev",
    "golang-opentelemetry-contrib-dev",
    "golang-opentelemetry-otel-dev",
    "golang-opentelemetry-proto-dev",
    "golang-tags.cncf-container-device-interface-dev",
];
/// The file of the engine's source package in which the CLI's main program and the libraries that Debian has not are.
const SOURCE: (&str, &str) = ("docker.io", ".orig-cli.tar.xz");
/// What the compiler may take.
const COMPILING: Duration = Duration::from_secs(30 * 60);
const IMPORT: &str = "github.com/docker/cli";

/// `docker.exe`, made unless it is there.
pub fn built(cache: &Path) -> Result<PathBuf> {
    let tree = lighter_image::tools::of_next(cache, "docker-cli-for-windows", PACKAGES, SOURCE);
    let tree = tree.context("docker.exe is made of the packages that tests/src/rig/windows_docker.rs names")?;
    // One for each set of sources.
    let place = target_dir()?.join("windows-docker").join(tree.file_name().unwrap_or_default());
    let program = place.join("docker.exe");
    if program.is_file() {
        return Ok(program);
    }
    println!("windows: building docker.exe from Debian's sources");
    let libraries = tree.join("usr/share/gocode");
    let own = place.join("src").join(IMPORT);
    drop(fs::remove_dir_all(&own));
    fs::create_dir_all(&own)?;
    // Debian's patched sources over the original ones.
    for from in [tree.join("source/cli"), libraries.join("src").join(IMPORT)] {
        Run::new("cp").args(["-a"]).args([from.join("."), own.clone()]).ok()?;
    }
    let root = compiler(&tree)?;
    let path = std::env::join_paths([&place, &libraries])?;
    let fresh = place.join("docker.new");
    let build = Run::new(root.join("bin/go")).args(["build", "-trimpath", "-o"]).args([&fresh]);
    let build = build.args([format!("{IMPORT}/cmd/docker")]).dir(&place).within(COMPILING);
    let build = build.env("GOROOT", &root).env("GOPATH", path).env("GOCACHE", place.join("cache"));
    let build = build.env("GO111MODULE", "off").env("GOTOOLCHAIN", "local").env("GOFLAGS", "").env("GOENV", "off");
    build
        .env("GOOS", "windows")
        .env("GOARCH", "amd64")
        .env("CGO_ENABLED", "0")
        .ok()
        .context("docker.exe: if a package is missing, tests/src/rig/windows_docker.rs is to name it")?;
    fs::rename(&fresh, &program)?;
    Ok(program)
}

/// The folder of the one version of Go that is there.
fn compiler(tree: &Path) -> Result<PathBuf> {
    let libraries = tree.join("usr/lib");
    let found = fs::read_dir(&libraries)?.filter_map(|entry| Some(entry.ok()?.path()));
    let found = found.filter(|path| path.join("bin/go").is_file()).max();
    let found = found.with_context(|| format!("no Go in {}", libraries.display()))?;
    ensure!(found.join("src/fmt").is_dir(), "{} has no standard library", found.display());
    Ok(found)
}
