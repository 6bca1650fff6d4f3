//! What a path of this computer means in the machine: the way into a share, the machine's own, or nothing. `docker::hold` asks
//! it for every bind of every container.

use std::path::Path;

use super::disk::Disk;
use super::place;
use super::spelling::{HostKind, NoPath, Spelled};
use super::{Share, Shares};

/// Where dockerd listens in the machine, as images expect it.
const DOCKERD_SOCKET: &str = "/var/run/docker.sock";
/// Sockets that every desktop engine has at these paths, for containers only.
const SOCKETS: [&[&str]; 3] =
    [&["var", "run", "docker.sock"], &["run", "docker.sock"], &["run", "host-services", "ssh-auth.sock"]];
/// The kernel's folders, in which there is nothing to share, and from which links lead everywhere.
const KERNELS: [&str; 3] = ["proc", "sys", "dev"];
/// What tools that look after the engine mean as the engine's: monitors, agents, log collectors.
const MACHINES: [&[&str]; 5] =
    [&["run"], &["var", "run"], &["var", "lib", "docker"], &["var", "lib", "containerd"], &["lib", "modules"]];
/// No kernel opens a longer path.
const LONGEST: usize = 4096;

/// Why a path of this computer means nothing in the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotShared {
    /// Not in a share.
    #[error(
        "{path:?} is on this computer{}, which shares {shared} with containers and nothing else: name its folder too, by \
         `mounts` in config.toml or `lighter start --mount PATH` (`PATH:w` to let containers write), and run `lighter restart`",
        leads(.to)
    )]
    Outside {
        /// As it was asked for.
        path: String,
        /// Where links lead from a share.
        to: Option<String>,
        /// What is shared.
        shared: String,
    },
    /// In `$LIGHTER_HOME`.
    #[error(
        "{path:?} is among lighter's own files, whose machine a container could break with them: bind another folder"
    )]
    Private {
        /// As it was asked for.
        path: String,
    },
    /// No path of a drive.
    #[error(
        "{path:?} is no folder of a drive of this computer, and others are not shared with containers: copy what they need to \
         a folder such as C:\\src"
    )]
    NoDrive {
        /// As it was asked for.
        path: String,
    },
}

fn leads(to: &Option<String>) -> String {
    to.as_ref().map(|to| format!(" and leads to {to:?}")).unwrap_or_default()
}

impl Shares {
    /// The path in the machine for `path` of this computer; `None` for what is no whole path, about which dockerd has words of
    /// its own. `own_sockets` are the paths here of the engine's own socket. Asks the disk, so it blocks.
    ///
    /// # Errors
    /// [`NotShared`] when containers are not to see it.
    pub fn translate(&self, path: &str, own_sockets: &[String], disk: &dyn Disk) -> Result<Option<String>, NotShared> {
        let asked = match self.kind.read(path) {
            Ok(asked) => asked,
            Err(NoPath::Relative) => return Ok(None),
            Err(NoPath::NoDrive | NoPath::Network | NoPath::Device) => {
                return Err(NotShared::NoDrive { path: path.to_owned() });
            }
        };
        let sockets: Vec<Spelled> = own_sockets.iter().filter_map(|path| self.kind.read(path).ok()).collect();
        let is_engines = |path: &Spelled| sockets.iter().any(|socket| path.is(socket));
        if is_engines(&asked) {
            return Ok(Some(DOCKERD_SOCKET.to_owned()));
        }
        if SOCKETS.iter().any(|socket| is_at_or_in(&asked, socket) && asked.names().len() == socket.len()) {
            return Ok(Some(asked.to_string()));
        }
        let private = || NotShared::Private { path: path.to_owned() };
        if self.is_private(&asked) {
            return Err(private());
        }
        let in_share = self.share(&asked, None).map(|(share, _)| share);
        if is_kernels(&asked) || in_share.is_none() && is_machines(&asked) {
            return Ok(Some(asked.to_string()));
        }
        let real = self.real(&asked, disk);
        if is_engines(&real) {
            return Ok(Some(DOCKERD_SOCKET.to_owned()));
        }
        if self.is_private(&real) {
            return Err(private());
        }
        match self.share(&real, in_share) {
            Some((share, behind)) => Ok(Some(place::below(&share.at, behind))),
            None if self.kind == HostKind::Windows && asked.drive().is_none() => {
                Err(NotShared::NoDrive { path: path.to_owned() })
            }
            None => Err(NotShared::Outside {
                path: path.to_owned(),
                to: in_share.map(|_| real.to_string()),
                shared: self.shown(),
            }),
        }
    }

    /// The innermost share that `path` is in, and what follows behind it. Of two that are the same folder it is `favourite`,
    /// or the one that was given by this name.
    fn share<'a, 'p>(&'a self, path: &'p Spelled, favourite: Option<&Share>) -> Option<(&'a Share, &'p [String])> {
        let matches = self.list.iter().flat_map(|share| {
            let names = share.names.iter().enumerate();
            names.filter_map(move |(number, name)| Some((share, number, path.within(name)?)))
        });
        let best = matches.max_by_key(|(share, number, behind)| {
            (std::cmp::Reverse(behind.len()), favourite == Some(*share), *number == 0)
        });
        best.map(|(share, _, behind)| (share, behind))
    }

    /// The path with links followed as far as there is something on the disk.
    fn real(&self, asked: &Spelled, disk: &dyn Disk) -> Spelled {
        if asked.to_string().len() > LONGEST {
            return asked.clone();
        }
        let mut there = Some(asked.clone());
        while let Some(path) = there {
            if let Ok(real) = disk.real(Path::new(&path.to_string())) {
                let real = real.to_str().and_then(|real| self.kind.read(real).ok());
                let behind = &asked.names()[path.names().len()..];
                // Of a name that is no text the guest has to make something itself.
                return real.map_or_else(|| asked.clone(), |real| real.join(behind));
            }
            there = path.parent();
        }
        asked.clone()
    }

    fn shown(&self) -> String {
        let all: Vec<String> = self.list.iter().map(|share| share.names[0].to_string()).collect();
        if all.is_empty() { "no folder".to_owned() } else { all.join(", ") }
    }
}

fn is_kernels(path: &Spelled) -> bool {
    path.drive().is_none() && path.names().first().is_none_or(|top| KERNELS.contains(&top.as_str()))
}

fn is_machines(path: &Spelled) -> bool {
    MACHINES.iter().any(|folder| is_at_or_in(path, folder))
}

fn is_at_or_in(path: &Spelled, folder: &[&str]) -> bool {
    path.drive().is_none() && path.names().len() >= folder.len() && folder.iter().zip(path.names()).all(|(a, b)| a == b)
}
