//! What a path looks like, to people and to dockerd, which knows only Linux's. `find` asks it.

/// The look of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Begins with `/`: the only one that dockerd takes for a path.
    Absolute,
    /// `./src`, `~`, `src/lib`: clients make them absolute; dockerd refuses them, and says so.
    Relative,
    /// `C:\src`, `C:/src`, `\\server\share`, `\\?\C:\src`.
    WindowsFolder,
    /// `\\.\pipe\docker_engine`, also with slashes, which dockerd would take for a folder of its own.
    WindowsPipe,
}

impl Form {
    /// Of a text that can only be a path.
    pub(super) fn of(path: &str) -> Form {
        if path.replace('\\', "/").to_ascii_lowercase().starts_with("//./pipe/") {
            Form::WindowsPipe
        } else if path.starts_with('\\') || begins_with_drive(path) {
            Form::WindowsFolder
        } else if path.starts_with('/') {
            Form::Absolute
        } else {
            Form::Relative
        }
    }
}

/// Cuts an entry of `Binds` where its writer meant the path to end, and says what it looks like; `None` if there is no path
/// in front, as in `volume:/data`, `/data` and `:/data`.
///
/// dockerd cuts at the first colon, so `C:\src:/data` is to it a volume `C` at `\src` with the mode `/data`. But `c:/data:ro`
/// may also be what it says, a volume (with a name that dockerd finds too short) at `/data`: a drive is one when its path
/// is followed by another path, or is written with a backslash.
pub(super) fn cut(bind: &str) -> Option<(&str, &str, Form)> {
    let prefix = if bind.starts_with(r"\\?\") || bind.starts_with(r"\\.\") { 4 } else { 0 };
    let skip = if begins_with_drive(&bind[prefix..]) { prefix + 2 } else { prefix };
    let colon = skip + bind[skip..].find(':')?;
    let (path, rest) = bind.split_at(colon);
    match Form::of(path) {
        Form::WindowsFolder if !path.contains('\\') && !rest.starts_with(":/") => None,
        Form::Relative if is_name(path) => None,
        form => Some((path, rest, form)),
    }
}

fn begins_with_drive(path: &str) -> bool {
    matches!(path.as_bytes(), [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic())
}

/// A volume's name, or at least no path: dockerd has the last word on which names are good.
fn is_name(text: &str) -> bool {
    !text.contains(['/', '\\']) && !text.starts_with('~') && !matches!(text, "." | "..")
}
