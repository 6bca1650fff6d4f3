//! Which folders of this computer containers may see: `mounts` in `config.toml`, and `--mount`. Words and form are Colima's:
//! `PATH` is read-only, `PATH:w` is not. Checked here as text; `shares` looks at the folders themselves.

use crate::shares::spelling::{HostKind, NoPath, Spelled};

/// What `--mount` says in place of an empty list.
const NOTHING: &str = "none";
/// Longest list.
const MOST: usize = 64;
/// Longest entry, in bytes.
const LONGEST: usize = 4096;
const WHOLE: &str =
    "write the folder's whole path, as in \"/srv/data\", \"~/src\" or, to let containers write, \"~/src:w\"";

/// A folder that containers may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub path: Spelled,
    /// Whether they may write there, too.
    pub writable: bool,
}

/// What `--mount` says, with a path that means the same from every folder. `~` stays: it does.
///
/// # Errors
/// Why it cannot, as a sentence's end.
pub fn flag(text: &str) -> Result<String, String> {
    let (path, writable) = divide(text);
    if path.is_empty() {
        return Err(WHOLE.to_owned());
    }
    let means_itself = text == NOTHING || path.starts_with('~');
    if means_itself || HostKind::here().read(path) != Err(NoPath::Relative) {
        return Ok(text.to_owned());
    }
    let whole =
        std::path::absolute(path).map_err(|error| format!("nothing says which folder this is from: {error}"))?;
    let whole = whole.to_str().ok_or("the current folder's path is not plain UTF-8 text")?;
    Ok(format!("{whole}{}", if writable { ":w" } else { "" }))
}

/// The flags as the list that they stand for.
pub fn of_flags(flags: &[String]) -> Option<Vec<String>> {
    match flags {
        [] => None,
        [one] if one == NOTHING => Some(Vec::new()),
        several => Some(several.to_vec()),
    }
}

/// The list as flags.
pub fn to_flags(list: &[String]) -> Vec<String> {
    let nothing = [NOTHING.to_owned()];
    let entries = if list.is_empty() { &nothing[..] } else { list };
    entries.iter().map(|entry| format!("--mount={entry}")).collect()
}

/// Checks every entry. `home` is what `~` means.
///
/// # Errors
/// The bad one, and why.
pub fn checked(list: &[String], kind: HostKind, home: Option<&str>) -> Result<Vec<Mount>, (String, String)> {
    if list.len() > MOST {
        return Err((format!("a list of {}", list.len()), format!("it may have {MOST} entries")));
    }
    let mut mounts: Vec<Mount> = Vec::new();
    for text in list {
        let refuse = |reason: String| (format!("{:?}", text.chars().take(120).collect::<String>()), reason);
        let mount = one(text, kind, home).map_err(refuse)?;
        if mounts.iter().any(|known| known.path.is(&mount.path)) {
            return Err(refuse("this folder is in the list already; leave one of them out".to_owned()));
        }
        mounts.push(mount);
    }
    Ok(mounts)
}

fn one(text: &str, kind: HostKind, home: Option<&str>) -> Result<Mount, String> {
    if text.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("a control character is in it; share the folder that it is in".to_owned());
    }
    if text == NOTHING {
        return Err("that stands alone, for no folder at all; leave it out, or the others".to_owned());
    }
    let (path, writable) = divide(text);
    if let Some((_, ending)) = path.rsplit_once(':')
        && ["ro", "rw", "r", "w"].contains(&ending)
    {
        return Err("only `:w` may stand behind a path, once; without it containers read and do not write".to_owned());
    }
    let whole = match path.strip_prefix('~') {
        None => path.to_owned(),
        Some(rest)
            if rest.is_empty() || rest.starts_with('/') || kind == HostKind::Windows && rest.starts_with('\\') =>
        {
            format!("{}{rest}", home.ok_or("nothing says which folder is your home; write the whole path")?)
        }
        Some(_) => return Err("`~` means your own home only; write the whole path".to_owned()),
    };
    let path = kind.read(&whole).map_err(|what| match what {
        NoPath::Relative | NoPath::NoDrive => WHOLE.to_owned(),
        NoPath::Network => "a folder of another computer cannot be shared; copy what containers need".to_owned(),
        NoPath::Device => "that is a device and no folder".to_owned(),
    })?;
    match (path.drive(), path.names()) {
        (None, _) if kind == HostKind::Windows => Err("it names no drive; write it as in \"C:\\\\src\"".to_owned()),
        (None, []) => Err("that is all of this computer; name the folders that containers need".to_owned()),
        (None, [top, ..]) if ["proc", "sys", "dev"].contains(&top.as_str()) => {
            Err(format!("what is in /{top} are no files; in containers it is the machine's own anyway"))
        }
        _ => Ok(Mount { path, writable }),
    }
}

fn divide(text: &str) -> (&str, bool) {
    text.strip_suffix(":w").map_or((text, false), |path| (path, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kind: HostKind, entries: &[&str]) -> Result<Vec<(String, bool)>, String> {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        let home = match kind {
            HostKind::Unix => "/home/me",
            HostKind::Windows => "C:\\Users\\me",
        };
        let mounts = checked(&entries, kind, Some(home)).map_err(|(value, reason)| format!("{value}: {reason}"))?;
        Ok(mounts.into_iter().map(|mount| (mount.path.to_string(), mount.writable)).collect())
    }

    #[test]
    fn c1_folders_are_read_only_unless_they_say_otherwise() {
        let unix = [
            ("/srv/data", "/srv/data"),
            ("/srv/x/../data2/:w", "/srv/data2"),
            ("~", "/home/me"),
            ("~/a b:w", "/home/me/a b"),
        ];
        for (entry, path) in unix {
            assert_eq!(list(HostKind::Unix, &[entry]), Ok(vec![(path.to_owned(), entry.ends_with(":w"))]));
        }
        let windows = [
            ("C:\\", "C:\\"),
            ("c:/src:w", "C:\\src"),
            ("/d/x", "D:\\x"),
            ("~\\src:w", "C:\\Users\\me\\src"),
            ("~/src", "C:\\Users\\me\\src"),
        ];
        for (entry, path) in windows {
            assert_eq!(list(HostKind::Windows, &[entry]), Ok(vec![(path.to_owned(), entry.ends_with(":w"))]));
        }
        assert_eq!(list(HostKind::Unix, &[]), Ok(vec![]));
        // One in the other, with another right.
        assert_eq!(list(HostKind::Unix, &["~", "~/src:w"]).unwrap().len(), 2);
    }

    #[test]
    fn c1_bad_folders_name_entry_cause_and_cure() {
        for (entry, words) in [
            ("src", "\"src\": write the folder's whole path"),
            ("./src:w", "write the folder's whole path"),
            ("", "write the folder's whole path"),
            (":w", "write the folder's whole path"),
            ("C:\\src", "write the folder's whole path"),
            ("~you/src", "`~` means your own home only"),
            ("/", "that is all of this computer"),
            ("/x/..:w", "that is all of this computer"),
            ("/proc/1", "what is in /proc are no files"),
            ("/src:ro", "only `:w` may stand behind a path"),
            ("/src:rw", "only `:w` may stand behind a path"),
            ("/src:w:w", "only `:w` may stand behind a path"),
            ("/a\nb", "a control character"),
            ("/a\0b", "a control character"),
        ] {
            let message = list(HostKind::Unix, &[entry]).unwrap_err();
            assert!(message.contains(words), "{entry:?}: {message}");
        }
        for (entry, words) in [
            ("\\\\server\\share", "of another computer"),
            ("\\\\.\\pipe\\x", "a device"),
            ("\\src", "write the folder's whole path"),
            ("/home/me", "it names no drive"),
        ] {
            let message = list(HostKind::Windows, &[entry]).unwrap_err();
            assert!(message.contains(words), "{entry:?}: {message}");
        }
        let nobody = checked(&["~".to_owned()], HostKind::Unix, None).unwrap_err();
        assert!(nobody.1.contains("which folder is your home"));
    }

    #[test]
    fn c2_lists_and_entries_have_a_bound_and_no_folder_twice() {
        for twice in [["/a", "/a:w"], ["/a", "/b/../a/"], ["~", "/home/me"]] {
            assert!(list(HostKind::Unix, &twice).unwrap_err().contains("in the list already"));
        }
        assert!(list(HostKind::Windows, &["C:\\Src", "/c/src:w"]).unwrap_err().contains("in the list already"));
        let many: Vec<String> = (0..=MOST).map(|number| format!("/{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(list(HostKind::Unix, &many).unwrap_err().contains("64 entries"));
        assert!(
            list(HostKind::Unix, &[&format!("/{}", "x".repeat(LONGEST))]).unwrap_err().contains("longer than 4096")
        );
        assert!(list(HostKind::Unix, &["/a", "none"]).unwrap_err().contains("stands alone"));
    }

    #[test]
    fn c7_flags_mean_the_same_from_every_folder() {
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        let sep = std::path::MAIN_SEPARATOR;
        assert_eq!(flag("src:w"), Ok(format!("{here}{sep}src:w")));
        assert_eq!(flag("none/"), Ok(format!("{here}{sep}none{sep}")));
        for same in ["~", "~/x:w", "none"] {
            assert_eq!(flag(same), Ok(same.to_owned()));
        }
        for empty in ["", ":w"] {
            assert!(flag(empty).unwrap_err().contains("whole path"));
        }
        for list in [vec![], vec!["/a".to_owned(), "~/b c:w".to_owned()]] {
            let again: Vec<String> = to_flags(&list).iter().map(|flag| flag.replace("--mount=", "")).collect();
            assert_eq!(of_flags(&again), Some(list));
        }
        assert_eq!(of_flags(&[]), None);
    }
}
