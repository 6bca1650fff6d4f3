//! The never-format table (C4), against real images made by e2fsprogs, parted, cryptsetup and mkswap: only a disk whose every
//! byte is zero is ever formatted; whatever else is there, not a byte changes and the message names cause and cure.
//! Images are files: nothing here needs root or loop devices.
#![allow(clippy::unwrap_used, reason = "a failed test says so")]

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use lighter_agent::data_disk::{
    Content, DataDiskError, Decision, Facts, Keeper, Refusal, Superblock, check, decide, format, prepare, probe,
};
use lighter_agent::reaper::Reaper;
use lighter_protocol::paths::DATA_LABEL;
use rustix::fs::{SeekFrom, seek};

/// Large enough for a second block group, where the copy of the superblock is.
const SIZE: u64 = 192 << 20;
const KNOWN_BLANK: bool = true;

struct Disk {
    folder: tempfile::TempDir,
    path: PathBuf,
}

fn reaper() -> &'static Reaper {
    // It collects every child of the process, so there is one, and tools are started through it too.
    static REAPER: OnceLock<Reaper> = OnceLock::new();
    REAPER.get_or_init(|| Reaper::start().unwrap())
}

/// How often a check has said that it is busy.
static BUSY: AtomicUsize = AtomicUsize::new(0);

fn keeper() -> Keeper<'static> {
    Keeper { reaper: reaper(), busy: &|| _ = BUSY.fetch_add(1, Ordering::Relaxed) }
}

/// Runs a tool to its end; what it printed.
fn tool(program: &str, arguments: &[&str]) -> String {
    let (code, output) = tool_code(program, arguments);
    assert_eq!(code, 0, "{program} {arguments:?}: {output}");
    output
}

fn tool_code(program: &str, arguments: &[&str]) -> (i32, String) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let spawned = reaper().spawn(&mut command);
    drop(command);
    let (_, running) = spawned.unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    (running.wait().0, output)
}

impl Disk {
    fn blank(size: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        File::create(&path).unwrap().set_len(size).unwrap();
        fs::create_dir(folder.path().join("staging")).unwrap();
        Self { folder, path }
    }

    /// A disk as lighter leaves it, with a file on it.
    fn ours() -> Self {
        let disk = Self::blank(SIZE);
        assert!(disk.prepare(KNOWN_BLANK).unwrap());
        let file = disk.folder.path().join("precious");
        fs::write(&file, "a user's data").unwrap();
        disk.debugfs(&format!("write {} precious", file.display()));
        disk
    }

    fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn debugfs(&self, request: &str) -> String {
        tool("debugfs", &["-w", "-R", request, self.name()])
    }

    fn has_precious_file(&self) -> bool {
        tool_code("debugfs", &["-R", "cat precious", self.name()]).1.contains("a user's data")
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        OpenOptions::new().write(true).open(&self.path).unwrap().write_all_at(bytes, at).unwrap();
    }

    fn prepare(&self, known_blank: bool) -> Result<bool, DataDiskError> {
        prepare(keeper(), &self.path, known_blank, &self.folder.path().join("staging"))
    }

    /// Of every block that is not zero, with its place.
    fn hash(&self) -> u64 {
        let file = File::open(&self.path).unwrap();
        let (mut hasher, mut block) = (DefaultHasher::new(), [0; 4096]);
        let mut at = 0;
        while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
            let end = seek(&file, SeekFrom::Hole(start)).unwrap();
            for place in (start..end).step_by(block.len()) {
                let count = file.read_at(&mut block, place).unwrap();
                if block[..count] != [0; 4096][..count] {
                    hasher.write_u64(place);
                    hasher.write(&block[..count]);
                }
            }
            at = end;
        }
        hasher.write_u64(fs::metadata(&self.path).unwrap().len());
        hasher.finish()
    }

    /// The disk is refused for `expected`, with or without the host's word that it is blank, and not a byte changes.
    #[track_caller]
    fn is_refused(&self, expected: impl Fn(&Refusal) -> bool) {
        let before = self.hash();
        for known_blank in [false, true] {
            match self.prepare(known_blank) {
                Err(DataDiskError::Refused(refusal)) => {
                    assert!(expected(&refusal), "{refusal:?}");
                    let message = refusal.to_string();
                    assert!(message.contains("Nothing was written"), "{message}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(self.hash(), before, "the disk was written to");
    }
}

fn is_clean(path: &Path) -> bool {
    tool_code("e2fsck", &["-f", "-n", path.to_str().unwrap()]).0 == 0
}

#[test]
fn c4_a_blank_disk_is_formatted_once_and_mounted_ever_after() {
    for known_blank in [false, true] {
        let disk = Disk::blank(SIZE);
        assert!(disk.prepare(known_blank).unwrap());
        assert!(is_clean(&disk.path));
        assert!(tool("e2label", &[disk.name()]).contains(DATA_LABEL));
        let made = disk.hash();
        assert!(!disk.prepare(known_blank).unwrap(), "it is mounted as it is");
        assert_eq!(disk.hash(), made);
    }
}

#[test]
fn c4_a_formatted_disk_takes_little_room_on_the_host() {
    let disk = Disk::blank(64 << 30);
    assert!(disk.prepare(KNOWN_BLANK).unwrap());
    let used = fs::metadata(&disk.path).unwrap().blocks() * 512;
    assert!(used < 32 << 20, "{used} bytes for an empty file system of 64 GiB");
    assert!(is_clean(&disk.path));
}

#[test]
fn c4_random_bytes_are_never_formatted() {
    let disk = Disk::blank(SIZE);
    let mut bytes = vec![0; 4 << 20];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    disk.write(0, &bytes);
    disk.is_refused(|refusal| matches!(refusal, Refusal::Unknown(_) | Refusal::Foreign(_)));
}

#[test]
fn c4_one_byte_anywhere_is_enough_when_the_host_does_not_vouch_for_the_disk() {
    for at in [0, 1, 511, 4095, (1 << 20) + 7, SIZE / 2 + 12_345, SIZE - 1] {
        let disk = Disk::blank(SIZE);
        disk.write(at, &[1]);
        let before = disk.hash();
        assert!(
            matches!(disk.prepare(false), Err(DataDiskError::Refused(Refusal::Unknown(found))) if found == at),
            "{at}"
        );
        assert_eq!(disk.hash(), before);
    }
}

#[test]
fn c4_a_host_that_wrongly_vouches_is_contradicted_by_both_ends_and_samples() {
    for at in [0, 65_536, SIZE / 64 * 3 / 4096 * 4096 + 5, SIZE / 2, SIZE - 1] {
        let disk = Disk::blank(SIZE);
        disk.write(at, &[1]);
        assert!(matches!(disk.prepare(KNOWN_BLANK), Err(DataDiskError::Refused(Refusal::Unknown(_)))), "{at}");
    }
}

#[test]
fn c4_a_gpt_is_never_formatted_nor_its_copy_at_the_end() {
    let disk = Disk::blank(SIZE);
    tool("parted", &["-s", disk.name(), "mklabel", "gpt", "mkpart", "p", "1MiB", "100MiB"]);
    disk.is_refused(|refusal| matches!(refusal, Refusal::Foreign(name) if name.contains("GPT")));
    disk.write(0, &[0; 34 * 512]);
    disk.is_refused(|refusal| matches!(refusal, Refusal::Foreign(name) if name.contains("GPT")));
}

#[test]
fn c4_an_mbr_is_never_formatted() {
    let disk = Disk::blank(SIZE);
    tool("parted", &["-s", disk.name(), "mklabel", "msdos"]);
    disk.is_refused(|refusal| matches!(refusal, Refusal::Foreign(name) if name.contains("partition table")));
}

#[test]
fn c4_swap_is_never_formatted() {
    let disk = Disk::blank(SIZE);
    tool("mkswap", &[disk.name()]);
    disk.is_refused(|refusal| matches!(refusal, Refusal::Foreign("swap space")));
}

#[test]
fn c4_luks_is_never_formatted() {
    for version in ["luks1", "luks2"] {
        let disk = Disk::blank(SIZE);
        let key = disk.folder.path().join("key");
        fs::write(&key, "key").unwrap();
        let pbkdf = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        let format = ["luksFormat", "-q", "--type", version, disk.name(), key.to_str().unwrap()];
        tool("cryptsetup", &[&pbkdf[..], &format].concat());
        disk.is_refused(|refusal| matches!(refusal, Refusal::Foreign("a LUKS volume")));
    }
}

#[test]
fn c4_somebody_elses_ext_is_never_formatted_nor_mounted() {
    for (kind, label) in [("ext4", "backup"), ("ext4", ""), ("ext2", "old"), ("ext3", "lighter")] {
        let disk = Disk::blank(SIZE);
        tool("mke2fs", &["-q", "-F", "-t", kind, "-L", label, disk.name()]);
        disk.is_refused(|refusal| matches!(refusal, Refusal::Label(found) if found == label));
    }
}

#[test]
fn c4_an_image_cut_short_is_never_formatted() {
    for size in [SIZE - 4096, SIZE / 2, 70 << 20, 1 << 20, 2048] {
        let disk = Disk::ours();
        OpenOptions::new().write(true).open(&disk.path).unwrap().set_len(size).unwrap();
        disk.is_refused(|refusal| matches!(refusal, Refusal::CutShort { needed, .. } if *needed == SIZE));
    }
}

#[test]
fn c4_a_lost_first_superblock_is_never_formatted_and_the_cure_works() {
    for lost in [4096, 1 << 20, 64 << 20] {
        let disk = Disk::ours();
        disk.write(0, &vec![0; lost]);
        disk.is_refused(|refusal| *refusal == Refusal::SuperblockGone { block: 32768, block_size: 4096 });
    }
    // The cure that the message names, on a disk that lost no more than its first block.
    let disk = Disk::ours();
    disk.write(0, &[0; 4096]);
    let (code, output) = tool_code("e2fsck", &["-y", "-b", "32768", "-B", "4096", disk.name()]);
    assert!(code <= 1, "{output}");
    assert!(!disk.prepare(false).unwrap());
    assert!(disk.has_precious_file());
}

#[test]
fn c4_lost_superblocks_of_other_block_sizes_are_recognised() {
    for (block_size, block) in [(1024, 8193), (2048, 16384)] {
        let disk = Disk::blank(SIZE);
        tool("mke2fs", &["-q", "-F", "-t", "ext4", "-b", &block_size.to_string(), disk.name()]);
        disk.write(0, &[0; 4096]);
        disk.is_refused(|refusal| *refusal == Refusal::SuperblockGone { block, block_size });
    }
}

#[test]
fn c4_a_bad_journal_is_repaired_or_refused_and_never_formatted() {
    let broken: [fn(&Disk); 2] = [
        |disk| drop(disk.debugfs("clri <8>")),
        |disk| {
            let blocks = disk.debugfs("bmap <8> 0");
            let block: u64 = blocks.split_whitespace().last().unwrap().parse().unwrap();
            disk.write(block * 4096, &[0xff; 4096]);
        },
    ];
    for (index, damage) in broken.into_iter().enumerate() {
        let disk = Disk::ours();
        let identity = tool("dumpe2fs", &["-h", disk.name()]);
        let identity = identity.lines().find(|line| line.contains("UUID")).unwrap().to_owned();
        damage(&disk);
        assert!(!disk.prepare(false).unwrap(), "{index}: mounting is tried first");
        // The kernel refuses to mount it; this is what happens then.
        if let Err(error) = check(keeper(), &disk.path) {
            assert!(matches!(error, DataDiskError::Damaged { .. }), "{index}: {error}");
            assert!(error.to_string().contains("was not formatted"), "{error}");
        }
        assert!(tool_code("dumpe2fs", &["-h", disk.name()]).1.contains(&identity), "{index}");
        assert!(disk.has_precious_file(), "{index}");
    }
}

#[test]
fn c4_a_disk_that_says_it_has_errors_is_checked_and_keeps_its_data() {
    let disk = Disk::ours();
    disk.debugfs("set_super_value state 2");
    let busy = BUSY.load(Ordering::Relaxed);
    assert!(disk.prepare(false).unwrap(), "it was checked");
    assert!(BUSY.load(Ordering::Relaxed) > busy, "a check may take hours, and the host has to know of it");
    assert!(is_clean(&disk.path));
    assert!(disk.has_precious_file());
    assert!(!disk.prepare(false).unwrap(), "once is enough");
}

#[test]
fn c4_an_interrupted_format_begins_again_wherever_it_stopped() {
    let whole = Disk::ours();
    let image = fs::read(&whole.path).unwrap();
    for stopped_at in [4096, 1 << 20, 128 << 20, SIZE] {
        let disk = Disk::blank(SIZE);
        // Everything up to there has been written, but with other contents, and the superblock not.
        let mut written = image[..usize::try_from(stopped_at).unwrap()].to_vec();
        written[..4096].fill(0);
        written[..format::MARK.len()].copy_from_slice(format::MARK);
        disk.write(0, &written);
        assert!(disk.prepare(false).unwrap());
        assert!(is_clean(&disk.path), "{stopped_at}");
        assert!(!disk.has_precious_file());
    }
}

#[test]
fn c4_a_mark_beside_a_file_system_goes_and_a_superblock_lost_later_is_not_formatted_over() {
    for damaged in [false, true] {
        let disk = Disk::ours();
        disk.write(0, format::MARK);
        if damaged {
            disk.debugfs("set_super_value state 2");
        }
        assert_eq!(disk.prepare(false).unwrap(), damaged, "mounted, or checked and mounted");
        assert!(disk.has_precious_file() && is_clean(&disk.path));
        disk.write(1024, &[0; 1024]);
        disk.is_refused(|refusal| matches!(refusal, Refusal::SuperblockGone { .. }));
    }
}

#[test]
fn c4_what_an_interrupted_format_left_is_zeroed_and_the_disk_keeps_its_size() {
    for size in [SIZE, SIZE + 512] {
        let disk = Disk::blank(size);
        disk.write(0, format::MARK);
        for at in [4096, 1 << 20, SIZE - 1, size - 1] {
            disk.write(at, &[0xa5]);
        }
        let mut file = OpenOptions::new().read(true).write(true).open(&disk.path).unwrap();
        format::clear(&mut file, size).unwrap();
        let whole = fs::read(&disk.path).unwrap();
        assert_eq!(whole.len() as u64, size);
        assert_eq!(whole[..format::MARK.len()], format::MARK[..]);
        assert!(whole[4096..].iter().all(|byte| *byte == 0), "{size}");
    }
}

#[test]
fn c4_a_disk_too_small_for_anything_is_refused() {
    for size in [0, 512, 4096, 1 << 20] {
        let disk = Disk::blank(size);
        assert!(
            matches!(disk.prepare(KNOWN_BLANK), Err(DataDiskError::Refused(Refusal::TooSmall(found))) if found == size)
        );
    }
}

#[test]
fn c4_a_superblock_that_lies_about_its_size_cannot_overflow() {
    let superblock = Superblock { label: DATA_LABEL.into(), blocks: u64::MAX, block_size: 65536, errors: false };
    let facts = Facts { size: SIZE, content: Content::Ext(superblock), marked: false };
    assert!(matches!(decide(&facts), Decision::Refuse(Refusal::CutShort { needed: u64::MAX, .. })));
}

#[test]
fn c4_any_first_sectors_at_all_are_probed_without_a_panic() {
    let disk = Disk::blank(1 << 20);
    let mut state = 7_u32;
    for round in 0..200_u32 {
        let noise: Vec<u8> = (0..4096)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        disk.write(0, &noise);
        disk.write(1024 + 0x38, &0xef53_u16.to_le_bytes());
        disk.write(1024 + 0x18, &(round % 9).to_le_bytes());
        let facts = probe(&mut File::open(&disk.path).unwrap(), false).unwrap();
        assert!(matches!(decide(&facts), Decision::Refuse(_)));
    }
}
