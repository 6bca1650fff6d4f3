//! Where images and build results live, and how one becomes visible: everything is made beside its place and renamed into
//! it, so that a reader sees the old or the new, never a half. The builder writes, the daemon reads.

use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::manifest::NAME_DIGITS;

/// The cache directory: `$LIGHTER_CACHE`, or `lighter` in `$XDG_CACHE_HOME`, or `.cache/lighter` in the home directory.
/// Empty and relative values of `XDG_CACHE_HOME` do not count (XDG Base Directory specification). `None` without a home.
pub fn default_dir() -> Option<PathBuf> {
    from_environment(|name| env::var_os(name).map(PathBuf::from), env::home_dir())
}

fn from_environment(var: impl Fn(&str) -> Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    if let Some(dir) = var("LIGHTER_CACHE").filter(|dir| !dir.as_os_str().is_empty()) {
        return std::path::absolute(dir).ok();
    }
    if let Some(dir) = var("XDG_CACHE_HOME").filter(|dir| dir.is_absolute()) {
        return Some(dir.join("lighter"));
    }
    Some(home.filter(|dir| dir.is_absolute())?.join(".cache").join("lighter"))
}

/// The directory of finished images, one subdirectory each.
pub fn images_dir(cache: &Path) -> PathBuf {
    cache.join("images")
}

/// The small file that holds the name of the image to boot.
pub fn current_file(cache: &Path) -> PathBuf {
    pointer_in(&images_dir(cache))
}

/// The same in a folder of images, which need not be the cache's.
pub fn pointer_in(images: &Path) -> PathBuf {
    images.join("current")
}

/// Whether `name` can be an image's name: 32 lower-case hex digits.
pub fn is_image_name(name: &str) -> bool {
    name.len() == NAME_DIGITS && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Makes `name` the image to boot. A reader sees the old name or the new one, also after a crash.
pub fn set_current(cache: &Path, name: &str) -> io::Result<()> {
    replace_file(&current_file(cache), format!("{name}\n").as_bytes())
}

/// Replaces the file at `path` in one step, its content on disk before its name.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().map(|n| n.to_owned()).unwrap_or_default();
    name.push(format!(".tmp{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        // The first error is the one to report; the leftover is also swept by the next build.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

/// Removes all but the `keep` newest of `dir`'s subdirectories whose names begin with `prefix`, and never `spare`.
pub fn prune(dir: &Path, prefix: &str, keep: usize, spare: &Path) -> io::Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() && entry.file_name().to_string_lossy().starts_with(prefix) && entry.path() != spare {
            found.push((about.modified()?, entry.path()));
        }
    }
    found.sort();
    let surplus = found.len().saturating_sub(keep);
    found.into_iter().take(surplus).try_for_each(|(_, path)| fs::remove_dir_all(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(vars: &[(&str, &str)], home: Option<&str>) -> Option<PathBuf> {
        let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| PathBuf::from(v));
        from_environment(var, home.map(PathBuf::from))
    }

    #[test]
    fn c9_cache_place_follows_the_environment_in_order() {
        let all = [("LIGHTER_CACHE", "/a"), ("XDG_CACHE_HOME", "/b")];
        assert_eq!(place(&all, Some("/h")), Some("/a".into()));
        assert_eq!(place(&all[1..], Some("/h")), Some("/b/lighter".into()));
        assert_eq!(place(&[], Some("/h")), Some("/h/.cache/lighter".into()));
    }

    #[test]
    fn c9_odd_values_do_not_count() {
        assert_eq!(
            place(&[("LIGHTER_CACHE", ""), ("XDG_CACHE_HOME", "")], Some("/h")),
            Some("/h/.cache/lighter".into())
        );
        assert_eq!(place(&[("XDG_CACHE_HOME", "relative")], Some("/h")), Some("/h/.cache/lighter".into()));
        assert_eq!(place(&[], None), None);
    }

    #[test]
    fn pointer_is_replaced_whole_and_leaves_nothing_behind() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir(images_dir(cache.path())).unwrap();
        let (one, two) = ("1".repeat(32), "2".repeat(32));
        set_current(cache.path(), &one).unwrap();
        // A reader that opened the old pointer goes on seeing all of it: the file is replaced, not rewritten.
        let old = File::open(current_file(cache.path())).unwrap();
        set_current(cache.path(), &two).unwrap();
        assert_eq!(io::read_to_string(old).unwrap().trim(), one);
        assert_eq!(fs::read_to_string(current_file(cache.path())).unwrap().trim(), two);
        assert_eq!(fs::read_dir(images_dir(cache.path())).unwrap().count(), 1);
    }

    #[test]
    fn failed_replacement_keeps_the_old_and_removes_the_new() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("current");
        fs::create_dir(&target).unwrap();
        replace_file(&target, b"x").unwrap_err();
        assert!(target.is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn pruning_keeps_the_newest_and_the_one_in_use() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a-1", "a-2", "a-3", "b-1"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        prune(dir.path(), "a-", 0, &dir.path().join("a-2")).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a-2", "b-1"]);
    }
}
