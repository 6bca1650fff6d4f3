//! Guest paths and disk names that both sides must agree on.

/// The file in the initramfs that holds the boot secret in lower-case hex; read once and unlinked by the agent.
pub const SECRET: &str = "/secret";
/// The agent inside the initramfs; `/init` so that no kernel argument is needed.
pub const INIT: &str = "/init";
/// virtio-blk serial of the read-only root (erofs).
pub const ROOT_SERIAL: &str = "lighter-root";
/// virtio-blk serial of the data disk (ext4).
pub const DATA_SERIAL: &str = "lighter-data";
/// Volume label that a data disk gets when the agent formats it.
pub const DATA_LABEL: &str = "lighter-data";
/// Tag of the file system in which the host's folders are.
pub const FOLDERS_TAG: &str = "lighter";
/// Where the data disk is mounted.
pub const DATA: &str = "/data";
/// dockerd's socket inside the guest.
pub const DOCKER_SOCKET: &str = "/run/docker.sock";
/// The demo image in `docker load` format, inside the root.
pub const DEMO_IMAGE: &str = "/usr/share/lighter/demo.tar";
/// Root certificates that the host sent, in memory.
pub const CERTIFICATES: &str = "/run/lighter/host-certificates.pem";
/// Folder of the image's own root certificates.
pub const IMAGE_CERTIFICATES: &str = "/etc/ssl/certs";
