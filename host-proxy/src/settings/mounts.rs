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
