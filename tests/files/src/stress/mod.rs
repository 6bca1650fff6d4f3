//! One file, changed in every way there is in an order that a seed decides, next to a model of it in memory. After each act the
//! two have to be the same, through whichever descriptor or mapping one looks. The same seed does the same again.

mod chance;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, OFlags, copy_file_range, fallocate, fsync, ftruncate, open, rename, stat, unlink};
use rustix::io::{pread, pwrite};

use crate::case::{Held, Wrong};
use crate::scene::bits;
use crate::sys::mapping::Mapping;
use chance::Chance;

/// The file gets no longer than this, so that ranges meet often.
const LONGEST: usize = 300_000;
/// So many acts are told when one is wrong.
const TOLD: usize = 12;
const NAMES: [&str; 2] = ["one", "other"];

struct Stress {
    chance: Chance,
    model: Vec<u8>,
    /// Which of [`NAMES`] it has.
    name: usize,
    /// Two descriptors of different openings.
    open: [OwnedFd; 2],
    acts: Vec<String>,
}

/// Does so for that long in a new folder in `folder`; true when nothing was wrong, else the folder stays to be looked at.
pub fn run(folder: &str, time: Duration, seed: u64) -> Result<bool, Wrong> {
    let place = format!("{folder}/stress-{}", std::process::id());
    std::fs::create_dir(&place)?;
    std::env::set_current_dir(&place)?;
    let mut stress = Stress {
        chance: Chance::new(seed),
        model: Vec::new(),
        name: 0,
        open: [opened(NAMES[0])?, opened(NAMES[0])?],
        acts: Vec::new(),
    };
    let (start, mut count) = (Instant::now(), 0_u64);
    while start.elapsed() < time {
        if let Err(Wrong(why)) = stress.act().and_then(|()| stress.compare()) {
            println!("FAILED with seed {seed} after {count} acts: {why}\nin {place}; the last acts were");
            stress.acts.iter().rev().take(TOLD).rev().for_each(|act| println!("    {act}"));
            return Ok(false);
        }
        count += 1;
    }
    drop(stress);
    std::env::set_current_dir("..")?;
    let name = place.rsplit('/').next().unwrap_or(&place);
    std::fs::remove_dir_all(name)?;
    println!("{count} acts held");
    Ok(true)
}

fn opened(name: &str) -> rustix::io::Result<OwnedFd> {
    open(name, OFlags::RDWR | OFlags::CREATE, bits(0o644))
}

impl Stress {
    fn act(&mut self) -> Held {
        let which = self.chance.below(2);
        match self.chance.below(14) {
            0..=3 => self.write(which),
            4 => self.truncate(which),
            5 => self.punch(which, true),
            6 => self.punch(which, false),
            7 => self.allocate(which),
            8 | 9 => self.map(which),
            10 => self.copy(which),
            11 => self.append(),
            12 => self.reopen(which),
            _ => self.turn(which),
        }
    }

    fn told(&mut self, act: String) {
        if self.acts.len() > 1000 {
            self.acts.drain(..900);
        }
        self.acts.push(act);
    }

    /// A range within the longest, which may start behind the end.
    fn range(&mut self) -> (usize, usize) {
        let at = self.chance.crooked(LONGEST - 1);
        (at, 1 + self.chance.crooked((LONGEST - at).min(70_000)).min(LONGEST - at - 1))
    }

    /// A range within what is there; `None` if that is nothing.
    fn inside(&mut self) -> Option<(usize, usize)> {
        let len = self.model.len();
        (len > 0).then(|| {
            let at = self.chance.crooked(len);
            (at, 1 + self.chance.below(len - at))
        })
    }

    fn reach(&mut self, end: usize) {
        self.model.resize(self.model.len().max(end), 0);
    }

    fn write(&mut self, which: usize) -> Held {
        let (at, len) = self.range();
        let content = self.chance.bytes(len);
        self.told(format!("write {len} at {at} by {which}"));
        self.reach(at + len);
        self.model[at..at + len].copy_from_slice(&content);
        whole(&content, |done| pwrite(&self.open[which], &content[done..], (at + done) as u64))
    }

    fn append(&mut self) -> Held {
        let len = self.chance.below(5000).min(LONGEST - self.model.len());
        let content = self.chance.bytes(len);
        self.told(format!("append {len}"));
        self.model.extend_from_slice(&content);
        let file = open(NAMES[self.name], OFlags::WRONLY | OFlags::APPEND, bits(0))?;
        whole(&content, |done| rustix::io::write(&file, &content[done..]))
    }
}

impl Stress {
    fn truncate(&mut self, which: usize) -> Held {
        let len = self.chance.crooked(LONGEST);
        self.told(format!("truncate to {len} by {which}"));
        self.model.resize(len, 0);
        Ok(ftruncate(&self.open[which], len as u64)?)
    }

    /// Makes a hole, or zeroes, which may make the file longer.
    fn punch(&mut self, which: usize, hole: bool) -> Held {
        let (at, len) = self.range();
        self.told(format!("{} {len} at {at} by {which}", if hole { "punch" } else { "zero" }));
        if !hole {
            self.reach(at + len);
        }
        let end = (at + len).min(self.model.len());
        self.model[at.min(end)..end].fill(0);
        let hole =
            if hole { FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE } else { FallocateFlags::ZERO_RANGE };
        Ok(fallocate(&self.open[which], hole, at as u64, len as u64)?)
    }

    fn allocate(&mut self, which: usize) -> Held {
        let (at, len) = self.range();
        self.told(format!("allocate {len} at {at} by {which}"));
        self.reach(at + len);
        Ok(fallocate(&self.open[which], FallocateFlags::empty(), at as u64, len as u64)?)
    }

    fn map(&mut self, which: usize) -> Held {
        let Some((at, len)) = self.inside() else { return Ok(()) };
        let content = self.chance.bytes(len);
        let sync = self.chance.below(20) == 0;
        self.told(format!("write {len} at {at} by a mapping of {which}{}", if sync { ", synced" } else { "" }));
        let mapping = Mapping::shared(&self.open[which], self.model.len())?;
        mapping.write(at, &content);
        self.model[at..at + len].copy_from_slice(&content);
        if sync {
            mapping.sync()?;
        }
        Ok(())
    }

    /// Within the file, where the ranges do not meet.
    fn copy(&mut self, which: usize) -> Held {
        let Some((from, len)) = self.inside() else { return Ok(()) };
        let to = self.chance.crooked(LONGEST);
        let len = len.min(to.abs_diff(from)).min(LONGEST - to);
        self.told(format!("copy {len} from {from} to {to} by {which}"));
        let mut done = 0;
        while done < len {
            let (mut read_at, mut write_at) = ((from + done) as u64, (to + done) as u64);
            let [one, other] = [&self.open[which], &self.open[1 - which]];
            match copy_file_range(one, Some(&mut read_at), other, Some(&mut write_at), len - done)? {
                0 => return Err(Wrong::new("nothing more was copied")),
                more => done += more,
            }
        }
        if len > 0 {
            self.reach(to + len);
            self.model.copy_within(from..from + len, to);
        }
        Ok(())
    }

    fn reopen(&mut self, which: usize) -> Held {
        self.told(format!("open {which} again"));
        self.open[which] = opened(NAMES[self.name])?;
        Ok(())
    }

    /// Syncs it, renames it, or begins with a new one of this content under its name.
    fn turn(&mut self, which: usize) -> Held {
        let name = NAMES[self.name];
        match self.chance.below(3) {
            0 => {
                self.told(format!("sync by {which}"));
                Ok(fsync(&self.open[which])?)
            }
            1 => {
                self.told("rename".to_owned());
                self.name = 1 - self.name;
                Ok(rename(name, NAMES[self.name])?)
            }
            _ => {
                self.told("unlink, and begin again".to_owned());
                unlink(name)?;
                self.open = [opened(name)?, opened(name)?];
                whole(&self.model, |done| pwrite(&self.open[0], &self.model[done..], done as u64))
            }
        }
    }

    /// A part by each descriptor, or the whole, or the whole by a mapping.
    fn compare(&mut self) -> Held {
        let len = usize::try_from(stat(NAMES[self.name])?.st_size)?;
        crate::case::equal(len, self.model.len())?;
        let how = self.chance.below(4);
        let (at, len) = match self.inside() {
            None => return Ok(()),
            Some(part) if how < 2 => part,
            Some(_) => (0, len),
        };
        let mut got = vec![0; len];
        if how == 3 {
            Mapping::shared(&self.open[0], at + len)?.read(at, &mut got);
        } else {
            let mut done = 0;
            while done < len {
                match pread(&self.open[how % 2], &mut got[done..], (at + done) as u64)? {
                    0 => return Err(Wrong::new(format!("it ends at {} of {}", at + done, self.model.len()))),
                    more => done += more,
                }
            }
        }
        match got.iter().zip(&self.model[at..]).position(|(got, wanted)| got != wanted) {
            None => Ok(()),
            Some(off) => Err(Wrong::new(format!(
                "at {}: wanted {}, got {} (looked {})",
                at + off,
                self.model[at + off],
                got[off],
                ["by 0", "by 1", "at all", "by a mapping"][how]
            ))),
        }
    }
}

fn whole(content: &[u8], mut more: impl FnMut(usize) -> rustix::io::Result<usize>) -> Held {
    let mut done = 0;
    while done < content.len() {
        done += more(done)?;
    }
    Ok(())
}
