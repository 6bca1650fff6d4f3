//! A directory of the cache in one process's hands at a time: two builds, or two test rigs that need the same tool, take
//! turns. And which cache can be used at all. Called by `builder` and `tools`.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use crate::{
    error::BuildError,
    progress::{self, Progress},
};

/// Waits until `dir` is ours, until the answer is dropped or the process ends, however it ends.
pub fn lock(dir: &Path, progress: &mut dyn Progress) -> Result<File, BuildError> {
    let path = dir.join("lock");
    let file = File::options().create(true).append(true).open(&path).map_err(BuildError::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => progress::step(progress, "wait for another build of this cache", |_| {
            file.lock().map_err(BuildError::io("lock", &path))?;
            Ok((file, String::new()))
        }),
        Err(TryLockError::Error(source)) => Err(BuildError::io("lock", &path)(source)),
    }
}

/// Refuses what `make` and apt's configuration would split in two.
pub fn check_path(cache: &Path) -> Result<(), BuildError> {
    let sound = |text: &str| !text.contains(|c: char| c.is_whitespace() || c.is_control() || ":;'\"\\$%#".contains(c));
    if cache.is_absolute() && cache.to_str().is_some_and(sound) {
        Ok(())
    } else {
        Err(BuildError::BadCachePath { path: cache.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::PlainLines;

    #[test]
    fn c7_cache_paths_that_make_cannot_take_are_refused() {
        for bad in ["/a b", "/a:b", "/a'b", "/a\"b", "relative", "/a\nb", "/a$b", "/a#b"] {
            let error = check_path(Path::new(bad)).unwrap_err().to_string();
            assert!(error.contains("LIGHTER_CACHE"), "{error}");
        }
        for good in ["/root/.cache/lighter", "/home/zoë/.cache/lighter", "/a-b_c+d"] {
            check_path(Path::new(good)).unwrap();
        }
    }

    #[test]
    fn the_second_waits_for_the_first_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path(), &mut PlainLines::new(Vec::new())).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let mut said = Vec::new();
                lock(dir.path(), &mut PlainLines::new(&mut said)).map(drop).unwrap();
                String::from_utf8(said).unwrap()
            });
            // Long enough for one that does not wait to be done.
            (0..10_000).for_each(|_| std::thread::yield_now());
            let waited = !second.is_finished();
            drop(first);
            assert!(second.join().unwrap().contains("wait for another") && waited, "it did not wait");
        });
    }
}
