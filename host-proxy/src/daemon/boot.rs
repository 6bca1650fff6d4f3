//! From settings to a machine's configuration: checks the image, opens the data disk, makes the boot secret, packs the
//! initramfs, chooses the engine. Everything here blocks, and is called once per start by `lifecycle` on a thread for that.

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use lighter_protocol::paths;
use lighter_vmm::cpio::{self, Entry};
use lighter_vmm::{ConsoleSink, DiskConfig, EngineKind, MachineConfig};

use super::board::Board;
use super::disk::{self, DiskError};
use super::folders::{self, FolderError};
use crate::home::{HomeError, Profile};
use crate::machine::{Cause, Platform};
use crate::settings::{GIB, Settings};
use crate::shares::{ShareError, Shares};

/// Why no machine could be started.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Missing or altered.
    #[error(transparent)]
    Image(Cause),
    /// A part of the image went away after it was checked.
    #[error("Cannot read {path}, a part of the guest image. {cure}", cure = lighter_image::CURE)]
    ImagePart {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The data disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No engine works here.
    #[error(transparent)]
    Engine(Cause),
    /// The system gives no random numbers.
    #[error("The system gives no random numbers for the boot secret: {0}")]
    Random(getrandom::Error),
    /// A folder that is to be shared.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Directories.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A folder for containers.
    #[error(transparent)]
    Share(#[from] ShareError),
}

/// A machine that only needs to be started.
#[derive(Debug)]
pub struct Prepared {
    /// What to start.
    pub config: MachineConfig,
    /// The boot secret in lower-case hex.
    pub secret: String,
    /// Whether the data disk holds nothing at all.
    pub data_disk_blank: bool,
    /// Which folders of the host containers may see.
    pub shares: Shares,
}

/// Does everything that comes before the machine's start, in order.
pub fn prepare(
    platform: &dyn Platform,
    profile: &Profile,
    settings: &Settings,
    board: &Board,
) -> Result<Prepared, PrepareError> {
    board.stage("engine", "choosing the engine");
    let chosen = platform.choose(settings.engine.kind()).map_err(PrepareError::Engine)?;
    board.learn(Some(chosen.engine.name()), []);
    if let Some(why) = &chosen.why {
        board.stage("engine-chosen", why);
    }
    board.stage("image", "checking the guest image");
    let image = platform.image().map_err(PrepareError::Image)?;
    board.learn(None, image.versions.clone());
    board.stage("disk", "opening the data disk");
    let data = disk::open(&profile.data_disk(), settings.disk_bytes)?;
    if data.fresh {
        board.stage("disk-new", &format!("created an empty data disk of {} GiB", data.bytes / GIB));
    }
    let shares = Shares::from_settings(settings, profile.home())?;
    let secret = secret()?;
    let part =
        |path: &PathBuf| std::fs::read(path).map_err(|source| PrepareError::ImagePart { path: path.clone(), source });
    // The archive holds the secret: it lives in memory only.
    let initramfs = cpio::archive(&[
        Entry { path: paths::INIT, mode: 0o755, data: &part(&image.agent)? },
        Entry { path: paths::SECRET, mode: 0o400, data: secret.as_bytes() },
    ]);
    let root =
        File::open(&image.root).map_err(|source| PrepareError::ImagePart { path: image.root.clone(), source })?;
    let cmdline = cmdline(chosen.engine);
    tracing::info!(cmdline, "The kernel's arguments, before those that name the engine's devices");
    let config = MachineConfig {
        engine: chosen.engine,
        cpus: settings.cpus,
        memory_bytes: settings.memory_bytes,
        kernel: part(&image.kernel)?,
        initramfs,
        cmdline,
        disks: vec![
            DiskConfig { file: root, path: image.root, read_only: true, serial: paths::ROOT_SERIAL.to_owned() },
            DiskConfig {
                file: data.file,
                path: profile.data_disk(),
                read_only: false,
                serial: paths::DATA_SERIAL.to_owned(),
            },
        ],
        network: None,
        folders: folders::device(&shares, profile.home(), settings)?,
        console: ConsoleSink { path: profile.console_log(), max_bytes: 4 << 20 },
        runtime_dir: profile.runtime_dir().to_owned(),
        no_doorbell: false,
    };
    Ok(Prepared { config, secret, data_disk_blank: data.blank, shares })
}

/// The kernel's command line. Containers can read it, so nothing secret is in it.
fn cmdline(engine: EngineKind) -> String {
    let mut words = vec![
        // The virtio console; there is no serial port to wait for.
        "console=hvc0",
        // Every printed line is an exit; warnings and worse still come.
        "quiet",
        // A panic resets at once, and the daemon sees a machine that ended without saying goodbye.
        "panic=-1",
        // By the keyboard controller, which is the one way out that every engine emulates.
        "reboot=k",
        // Mounts and namespaces, which are what containers are made of, wait for grace periods; few CPUs are disturbed.
        "rcupdate.rcu_expedited=1",
    ];
    if engine == EngineKind::Software {
        // An emulated CPU speculates about nothing, and pays for every guard against it.
        words.push("mitigations=off");
    }
    words.join(" ")
}

/// 256 random bits in lower-case hex.
fn secret() -> Result<String, PrepareError> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).map_err(PrepareError::Random)?;
    Ok(bits.iter().fold(String::new(), |mut hex, byte| {
        // Writing into a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
