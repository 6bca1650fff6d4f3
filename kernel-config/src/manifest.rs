//! `manifest.json`: the bill of materials of a guest image. Written by the builder, read by the daemon at each boot, and
//! hashed to name the image. Portable: no operating-system calls here.

use serde::{Deserialize, Serialize};

/// Version of the manifest's layout. A reader refuses any other.
pub const SCHEMA: u32 = 1;
/// The manifest's file name inside an image directory.
pub const FILE: &str = "manifest.json";
/// Hex digits of the manifest's SHA-256 that name an image.
pub const NAME_DIGITS: usize = 32;

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The guest's CPU, as Rust names it: `x86_64` or `aarch64`.
    pub architecture: String,
    /// The kernel that the VMM boots: an uncompressed ELF on x86-64, an `Image` on AArch64.
    pub kernel: Part,
    /// The read-only root file system (erofs).
    pub root: Part,
    /// The guest agent, a static executable that becomes `/init`.
    pub agent: Part,
    /// The demo image in `docker load` format. It lies inside the root, so it has no file of its own beside this manifest.
    pub demo: Part,
    /// The compiler that built the kernel, as it names itself.
    pub compiler: String,
    /// The kernel's configuration fragments, in the order of their merging.
    pub fragments: Vec<Part>,
    /// Debian's packages that the kernel, the root and the tool that packed the root came from.
    pub packages: Vec<Package>,
}

/// One file that the image holds or was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// File name; for the parts that are files of the image, relative to its directory.
    pub file: String,
    /// Version of what the file holds.
    pub version: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

/// One Debian package, as the signed index describes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Name, for example `docker.io`.
    pub name: String,
    /// Full version with epoch and revision.
    pub version: String,
    /// Debian's name of the architecture, or `all`.
    pub architecture: String,
    /// Size of the `.deb` in bytes.
    pub size: u64,
    /// SHA-256 of the `.deb`, lower-case hex.
    pub sha256: String,
}

impl Manifest {
    /// The bytes of `manifest.json`.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("strings and integers always serialise");
        json.push(b'\n');
        json
    }

    /// The parts that are files of the image directory.
    pub fn files(&self) -> [&Part; 3] {
        [&self.kernel, &self.root, &self.agent]
    }
}

/// The name of the image whose manifest has these bytes.
pub fn image_name(json: &[u8]) -> String {
    let mut name = crate::digest::of_bytes(json);
    name.truncate(NAME_DIGITS);
    name
}
