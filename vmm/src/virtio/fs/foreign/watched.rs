//! Systems that report changes of a whole tree by path, where the server watches single folders: which of the folders that it
//! asked for a path lies in, and which two reports are the halves of one renaming. A folder that is renamed takes what is
//! watched below it along.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::virtio::fs::watching::Sight;

/// What a system says that happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// It is new.
    Made,
    /// It is gone.
    Removed,
    /// It has another name now.
    MovedFrom,
    /// It had another name before.
    MovedTo,
    /// Its content changed.
    Content,
    /// Something else of it changed.
    Attributes,
}

/// Folders that somebody asked for, by path and by the number that they were given.
#[derive(Debug, Default)]
pub struct Watched {
    numbers: HashMap<PathBuf, u64>,
    paths: HashMap<u64, PathBuf>,
    last: u64,
    pair: u32,
    /// The first half of a renaming, if that was the last report.
    half: Option<(u32, PathBuf)>,
}

impl Watched {
    /// From now on this folder's entries are of interest: its number, which is the same if it was of interest before.
    pub fn add(&mut self, folder: PathBuf) -> u64 {
        if let Some(&number) = self.numbers.get(&folder) {
            return number;
        }
        self.last += 1;
        self.numbers.insert(folder.clone(), self.last);
        self.paths.insert(self.last, folder);
        self.last
    }

    /// And from now on no more.
    pub fn remove(&mut self, number: u64) {
        if let Some(path) = self.paths.remove(&number)
            && self.numbers.get(&path) == Some(&number)
        {
            self.numbers.remove(&path);
        }
    }

    /// Whether this path is one of the folders.
    pub fn is_folder(&self, path: &Path) -> bool {
        self.numbers.contains_key(path)
    }

    /// What the report says of a folder: its number, the entry's name, and what happened. `None` if nobody asked for it.
    pub fn seen(&mut self, report: Report, path: &Path) -> Option<(u64, OsString, Sight)> {
        // The second half of a renaming comes right behind the first, or not at all.
        let half = self.half.take();
        let sight = match report {
            Report::Made => Sight::Made,
            Report::Removed => Sight::Removed,
            Report::Content => Sight::Content,
            Report::Attributes => Sight::Attributes,
            Report::MovedFrom => {
                self.pair = self.pair.wrapping_add(1);
                self.half = Some((self.pair, path.to_owned()));
                Sight::MovedFrom(self.pair)
            }
            Report::MovedTo => match half {
                Some((pair, from)) => {
                    self.renamed(&from, path);
                    Sight::MovedTo(pair)
                }
                None => {
                    self.pair = self.pair.wrapping_add(1);
                    Sight::MovedTo(self.pair)
                }
            },
        };
        let name: &OsStr = path.file_name()?;
        let folder = *self.numbers.get(path.parent()?)?;
        Some((folder, name.to_owned(), sight))
    }

    fn renamed(&mut self, from: &Path, to: &Path) {
        let moved: Vec<(u64, PathBuf)> = self
            .paths
            .iter()
            .filter_map(|(&number, path)| Some((number, path.strip_prefix(from).ok()?.to_owned())))
            .collect();
        // First away, then back: one may come to lie where another one was.
        for (number, _) in &moved {
            if let Some(before) = self.paths.get(number) {
                self.numbers.remove(before);
            }
        }
        for (number, below) in moved {
            // Joined with nothing, a path would end with a divider.
            let path = if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) };
            self.numbers.insert(path.clone(), number);
            self.paths.insert(number, path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(seen: Option<(u64, OsString, Sight)>) -> Option<(u64, String, Sight)> {
        seen.map(|(number, name, sight)| (number, name.into_string().unwrap(), sight))
    }

    #[test]
    fn a_path_is_told_as_an_entry_of_the_folder_that_was_asked_for() {
        let mut watched = Watched::default();
        let (home, deep) = (watched.add("/home/me".into()), watched.add("/home/me/a/deep".into()));
        assert_eq!(watched.add("/home/me".into()), home);
        let seen = watched.seen(Report::Made, Path::new("/home/me/a/deep/file"));
        assert_eq!(name(seen), Some((deep, "file".into(), Sight::Made)));
        assert_eq!(watched.seen(Report::Content, Path::new("/home/me/a/file")), None, "nobody asked for this one");
        assert_eq!(watched.seen(Report::Content, Path::new("/")), None);
        watched.remove(deep);
        assert_eq!(watched.seen(Report::Removed, Path::new("/home/me/a/deep/file")), None);
        assert!(watched.is_folder(Path::new("/home/me")) && !watched.is_folder(Path::new("/home/me/a/deep")));
    }

    #[test]
    fn halves_of_one_renaming_have_one_number_and_take_what_is_below_along() {
        let mut watched = Watched::default();
        let (home, old, below) =
            (watched.add("/h".into()), watched.add("/h/old".into()), watched.add("/h/old/in".into()));
        assert_eq!(
            name(watched.seen(Report::MovedFrom, Path::new("/h/old"))),
            Some((home, "old".into(), Sight::MovedFrom(1)))
        );
        assert_eq!(
            name(watched.seen(Report::MovedTo, Path::new("/h/new"))),
            Some((home, "new".into(), Sight::MovedTo(1)))
        );
        assert_eq!(name(watched.seen(Report::Made, Path::new("/h/new/x"))), Some((old, "x".into(), Sight::Made)));
        assert_eq!(name(watched.seen(Report::Made, Path::new("/h/new/in/x"))), Some((below, "x".into(), Sight::Made)));
        assert_eq!(watched.seen(Report::Made, Path::new("/h/old/x")), None);
        // What went away before something else happened has no second half.
        watched.seen(Report::MovedFrom, Path::new("/h/new"));
        watched.seen(Report::Made, Path::new("/h/other"));
        watched.seen(Report::MovedTo, Path::new("/h/third"));
        // From where nobody watches it is a second half without a first.
        assert_eq!(
            name(watched.seen(Report::MovedTo, Path::new("/h/new/y"))),
            Some((old, "y".into(), Sight::MovedTo(4)))
        );
    }

    #[test]
    fn a_folder_that_takes_the_place_of_another_one_is_the_one_that_is_there() {
        let mut watched = Watched::default();
        let (home, one, two) = (watched.add("/h".into()), watched.add("/h/one".into()), watched.add("/h/two".into()));
        watched.seen(Report::MovedFrom, Path::new("/h/one"));
        watched.seen(Report::MovedTo, Path::new("/h/two"));
        assert_eq!(name(watched.seen(Report::Made, Path::new("/h/two/x"))), Some((one, "x".into(), Sight::Made)));
        // The one that was replaced is forgotten without harm.
        watched.remove(two);
        assert_eq!(name(watched.seen(Report::Made, Path::new("/h/two/y"))), Some((one, "y".into(), Sight::Made)));
        assert_eq!(name(watched.seen(Report::Made, Path::new("/h/z"))), Some((home, "z".into(), Sight::Made)));
    }
}
