//! A Debian package of the program for Linux: the same files as in the archive, where Debian wants them. It runs no script at
//! installation: nothing has to be set up, and what a user has started is the user's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::archive::fresh;
use super::tree::{SUMS, Tree};
use super::{Contents, VERSION};
use crate::packages::{self, Package};
use crate::process::Run;

const DPKG: &[Package] = &[Package { name: "dpkg", probe: "dpkg-deb" }];

/// Where Debian wants a package's papers.
const DOC: &str = "usr/share/doc/lighter";

/// Completions by shell: where they are looked for.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/lighter"),
    ("zsh", "usr/share/zsh/vendor-completions/_lighter"),
    ("fish", "usr/share/fish/vendor_completions.d/lighter.fish"),
];

/// Makes the package in `out`, laid out in `stage`.
pub fn make(contents: &Contents, stage: &Path, stamp: u64, out: &Path) -> Result<PathBuf> {
    packages::ensure(DPKG)?;
    let mut tree = Tree::default();
    tree.program("usr/bin/lighter", &contents.program);
    tree.graft(&format!("usr/share/lighter/{}", lighter_image::place::FOLDER), &contents.image);
    tree.graft(&format!("{DOC}/licences"), &contents.licences);
    tree.text(format!("{DOC}/INSTALL.md"), contents.install.as_str());
    tree.text(format!("{DOC}/copyright"), copyright(&contents.licence));
    for (shell, path) in COMPLETIONS {
        let script = Run::new(&contents.program).args(["completion", shell]).ok()?;
        tree.text(path, script.stdout);
    }
    tree.seal(&format!("{DOC}/{SUMS}"))?;
    let folder = stage.join("deb");
    // Laid out once to be counted and summed, and once more with what was found.
    tree.lay(&folder, stamp)?;
    let kib = Run::new("du").args(["-k", "-s", "--apparent-size"]).args([&folder]).ok()?.text();
    let kib = kib.split_whitespace().next().unwrap_or("0").to_owned();
    let files: Vec<&str> = tree.paths().collect();
    let sums = Run::new("md5sum").args(&files).dir(&folder).within(Duration::from_secs(300)).ok()?.stdout;
    tree.text("DEBIAN/md5sums", sums);
    tree.text("DEBIAN/control", control(&kib));
    tree.lay(&folder, stamp)?;
    let package = fresh(out, &format!("lighter-{VERSION}-linux-x86_64.deb"))?;
    Run::new("dpkg-deb")
        // xz is what every release's dpkg reads.
        .args(["--root-owner-group", "-Zxz", "--build"])
        .args([&folder, &package])
        // Later files are dated back to it, and it goes into the archive's headers.
        .env("SOURCE_DATE_EPOCH", stamp.to_string())
        .within(Duration::from_secs(3600))
        .ok()?;
    Ok(package)
}

/// The program is static, so nothing is depended on. Without hardware virtualisation QEMU runs the guest; the docker CLI is what
/// people use lighter with, and it may as well come from elsewhere.
fn control(kib: &str) -> String {
    format!(
        "Package: lighter\n\
         Version: {VERSION}\n\
         Architecture: amd64\n\
         Maintainer: The developers of lighter <developers@lighter.invalid>\n\
         Installed-Size: {kib}\n\
         Recommends: qemu-system-x86, docker-cli | docker.io\n\
         Section: admin\n\
         Priority: optional\n\
         Description: Linux containers for the docker command, in a virtual machine of their own\n \
         A small virtual machine monitor boots a small Linux guest with a Docker engine, and a proxy\n \
         carries the Docker API to it. No administrator is needed to run it.\n \
         .\n \
         The guest image is in this package. /dev/kvm makes it fast; without it QEMU runs the guest.\n"
    )
}

/// The licence, and where those of the other parts are.
fn copyright(licence: &str) -> String {
    format!(
        "lighter is under the Apache License, Version 2.0, which follows. Crates in the program and everything in the guest image\n\
         have licences of their own: see the folder /{DOC}/licences.\n\n{licence}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_file_has_what_dpkg_wants() {
        let text = control("200000");
        for field in ["Package: lighter\n", "Architecture: amd64\n", "Installed-Size: 200000\n", "Maintainer: "] {
            assert!(text.contains(field), "{text}");
        }
        let description = text.split("Description: ").nth(1).unwrap();
        assert!(description.lines().skip(1).all(|line| line.starts_with(' ')), "{text}");
        assert!(!text.contains("Depends:") && text.ends_with('\n'));
    }
}
