//! Images of servers and other programs, made of Debian's packages for the guest's release and of busybox.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::{Session, busybox_tree, tar_of};
use super::CLIENTS;
use crate::packages;
use crate::process::Run;
use crate::rig::servers::content;
use crate::rig::world::guard;

/// An image: its name, the packages that its programs and their libraries come from, and other files.
pub struct Image {
    pub name: &'static str,
    pub packages: &'static [&'static str],
    pub files: &'static [(&'static str, &'static str)],
    /// A file of this many bytes of [`content`].
    pub big: Option<(&'static str, usize)>,
}

pub const NGINX: Image = Image {
    name: "nginx:test",
    packages: &["libc6", "nginx", "libcrypt1", "libpcre2-8-0", "libssl3t64", "libzstd1", "zlib1g"],
    files: &[
        ("nginx.conf", NGINX_CONF),
        ("etc/group", "root:x:0:\n"),
        ("var/log/nginx/none", ""),
        ("var/lib/nginx/none", ""),
    ],
    big: Some(("srv/big", BIG)),
};
pub const BIG: usize = 20_000_000;
const NGINX_CONF: &str = "user root;
daemon off;
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr;
events { worker_connections 512; }
http {
  access_log off;
  sendfile on;
  server {
    listen 80;
    root /srv;
    location /app/ {
      resolver 127.0.0.11 valid=1s ipv6=off;
      set $app app;
      proxy_pass http://$app:80/name;
    }
  }
}
";
pub const NGINX_COMMAND: &[&str] = &["/usr/sbin/nginx", "-c", "/nginx.conf"];

pub const REDIS: Image = Image {
    name: "redis:test",
    packages: &[
        "libc6",
        "redis-tools",
        "redis-server",
        "libatomic1",
        "libcap2",
        "libgcc-s1",
        "libjemalloc2",
        "liblzf1",
        "libssl3t64",
        "libstdc++6",
        "libsystemd0",
        "libzstd1",
        "zlib1g",
    ],
    files: &[],
    big: None,
};
pub const REDIS_COMMAND: &[&str] =
    &["/usr/bin/redis-server", "--save", "", "--protected-mode", "no", "--bind", "0.0.0.0"];

pub const DNS: Image = Image {
    name: "dns:test",
    packages: &[
        "libc6",
        "dnsmasq-base",
        "libcap2",
        "libdbus-1-3",
        "libgcc-s1",
        "libgmp10",
        "libhogweed6t64",
        "libidn2-0",
        "libjansson4",
        "libmnl0",
        "libnetfilter-conntrack3",
        "libnettle8t64",
        "libnfnetlink0",
        "libnftables1",
        "libnftnl11",
        "libsystemd0",
        "libunistring5",
        "libxtables12",
    ],
    files: &[("dns.conf", DNS_CONF), ("etc/group", "root:x:0:\n"), ("etc/hosts", "127.0.0.1 localhost\n")],
    big: None,
};
/// Long text makes an answer that no datagram of a resolver holds.
const DNS_CONF: &str = "no-resolv
no-hosts
user=root
group=root
pid-file
address=/one.test/10.1.2.3
address=/one.test/fd01::3
mx-host=one.test,mail.one.test,10
txt-record=short.test,\"a word\"
";

impl Image {
    /// Makes the image of a server unless it is there.
    pub fn ensure(&self, s: &Session) -> Result<()> {
        guard(s)?;
        self.made(s)
    }

    /// Makes the image unless it is there.
    pub fn made(&self, s: &Session) -> Result<()> {
        if s.docker(["image", "inspect", self.name]).finish()?.status.success() {
            return Ok(());
        }
        let tree = self.ground(s)?;
        for package in lighter_image::tools::all_unpacked(&s.cache, self.packages)? {
            Run::new("cp").args(["-a"]).args([package.join("usr"), tree.path().to_owned()]).ok()?;
        }
        for folder in ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/lib/x86_64-linux-gnu/gconv"] {
            drop(fs::remove_dir_all(tree.path().join(folder)));
        }
        for (path, text) in self.files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().context("a file has a folder")?)?;
            fs::write(path, text)?;
        }
        if let Some((path, length)) = self.big {
            fs::create_dir_all(tree.path().join("srv"))?;
            fs::write(tree.path().join(path), content(length))?;
        }
        self.import(s, tree.path())
    }

    /// Makes the image of folders and files of a tree that has all that they depend on, unless it is there.
    pub fn made_of(&self, s: &Session, whole: &Path, parts: &[&str]) -> Result<()> {
        if s.docker(["image", "inspect", self.name]).finish()?.status.success() {
            return Ok(());
        }
        let tree = self.ground(s)?;
        for part in parts {
            let target = tree.path().join(part);
            fs::create_dir_all(target.parent().context("it is below the tree")?)?;
            Run::new("cp").args(["-a"]).args([whole.join(part), target]).ok()?;
        }
        for (path, text) in self.files {
            fs::write(tree.path().join(path), text)?;
        }
        self.import(s, tree.path())
    }

    /// busybox, and links to where Debian's base files have them lead.
    fn ground(&self, s: &Session) -> Result<tempfile::TempDir> {
        let tree = tempfile::tempdir()?;
        busybox_tree(&s.busybox, tree.path())?;
        for (link, target) in [("lib64", "usr/lib64"), ("lib", "usr/lib")] {
            std::os::unix::fs::symlink(target, tree.path().join(link))?;
        }
        Ok(tree)
    }

    fn import(&self, s: &Session, tree: &Path) -> Result<()> {
        let import = s.docker(["import", "-", self.name]).stdin(Cursor::new(tar_of(tree)?));
        import.within(s.seconds(500)).ok().map(drop)
    }

    pub fn serve(&self, s: &Session, name: &str, options: &[&str], command: &[&str]) -> Result<()> {
        packages::ensure(CLIENTS)?;
        self.ensure(s)?;
        s.out(&[&["run", "-d", "--name", name], options, &[self.name], command].concat()).map(drop)
    }
}
