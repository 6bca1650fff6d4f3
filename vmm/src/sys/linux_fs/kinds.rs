//! What kinds of file systems promise, by `f_type` of `statfs`: the numbers are in `include/uapi/linux/magic.h` and the file
//! systems' own sources. Of a kind that is not listed here nothing is known. Called by `watching` and by the backend itself.

use std::os::fd::AsFd;

/// ext2, ext3 and ext4.
const EXT: u32 = 0xef53;
const XFS: u32 = 0x5846_5342;
const BTRFS: u32 = 0x9123_683e;
const TMPFS: u32 = 0x0102_1994;
const F2FS: u32 = 0xf2f5_2010;
const OVERLAYFS: u32 = 0x794c_7630;
const BCACHEFS: u32 = 0xca45_1a4e;
const ZFS: u32 = 0x2fc1_2fc1;

/// The kind of what is open; 0, which is none, if it is not known.
pub(super) fn of(open: impl AsFd) -> u32 {
    rustix::fs::fstatfs(open).map_or(0, |space| space.f_type as u32)
}

/// Whether `inotify` tells of everything that happens there. It does where every change goes through this kernel: not where another
/// computer or another process has the files.
pub(super) fn reports_all(kind: u32) -> bool {
    matches!(kind, EXT | XFS | BTRFS | TMPFS | F2FS | OVERLAYFS | BCACHEFS | ZFS)
}

/// Whether closing a file there says nothing that writing to it did not say: the file system has no `flush` of its own. What
/// lies under an overlay may have one.
pub(super) fn closes_silently(kind: u32) -> bool {
    matches!(kind, EXT | XFS | BTRFS | TMPFS | BCACHEFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NFS, CIFS, SMB2, FUSE, 9p, vboxsf, Ceph, AFS, GFS2, OCFS2, ecryptfs, and nothing.
    const OTHERS: [u32; 12] = [
        0x6969,
        0xff53_4d42,
        0xfe53_4d42,
        0x6573_5546,
        0x0102_1997,
        0x786f_4256,
        0x00c3_6400,
        0x5346_414f,
        0x0116_1970,
        0x7461_636f,
        0xf15f,
        0,
    ];
    const LOCAL: [u32; 8] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x794c_7630, 0xca45_1a4e, 0x2fc1_2fc1];

    #[test]
    fn files_that_others_can_change_behind_the_kernels_back_are_not_reported_dependably() {
        assert_eq!(OTHERS.map(reports_all), [false; 12]);
        assert_eq!(LOCAL.map(reports_all), [true; 8]);
    }

    #[test]
    fn what_may_be_said_at_close_only_is_waited_for() {
        assert_eq!(OTHERS.map(closes_silently), [false; 12]);
        assert_eq!(LOCAL.map(closes_silently), [true, true, true, true, false, false, true, false]);
    }

    #[test]
    fn the_kind_is_that_of_what_is_open() {
        let open = std::fs::File::open("/proc/self/stat").unwrap();
        assert_eq!(of(&open), 0x9fa0);
    }
}
