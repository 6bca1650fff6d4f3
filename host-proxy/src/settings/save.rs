//! Writes flags into `config.toml`: only the lines that change, so that the user's comments and order stay.

use std::path::Path;

use super::parse::{parse, read};
use super::{SettingsError, Wishes};
use crate::replace::replace;

const FRESH: &str = "\
# Settings of this machine, read at each start; flags of `lighter start` are written here.
# cpus = 2          # virtual CPUs
# memory = 2        # GiB, for example 2.5
# disk = 60         # GiB; can grow, never shrink
# engine = \"auto\"   # auto, kvm, whp, hvf, software
# answer_while_stopped = true   # answer `GET /_ping` and `GET /version` without starting a stopped machine
# network = true    # false: containers reach nothing outside the machine
# host_access = true   # this host's ports from 1024 on, as host.docker.internal; false: none; \"all\": those below too
# publish = \"localhost\"   # who reaches `docker run -p 8080:80`: this host alone, or as-asked: every computer that reaches it
# mounts = [\"~:w\"]   # folders of this computer that containers may see, read-only without `:w`; this is the default
# map_files = false   # true: containers see large files in them by this computer's own pages, where the engine can
# registry_mirrors = [\"https://mirror.corp.example\"]   # asked first for images of Docker Hub
# insecure_registries = [\"registry.corp.example:5000\"]   # spoken to without TLS, or without a known certificate
# ca_certificates = [\"/etc/ssl/corp.pem\"]   # trusted beside what this computer trusts
# container_proxies = true   # let docker give containers the proxies, too
# proxy = \"off\"   # or, as the last thing in this file, a table [proxy] with http, https, all, no_proxy
";

/// Makes the file at `path` say what `wishes` says, and leaves the rest of it alone. Creates it if there is none.
pub fn save(path: &Path, wishes: &Wishes) -> Result<(), SettingsError> {
    let before = read(path)?;
    if before.is_some() && wishes.is_empty() {
        return Ok(());
    }
    let mut text = before.clone().unwrap_or_else(|| FRESH.to_owned());
    let values = [
        ("cpus", wishes.cpus.map(|count| count.to_string())),
        ("memory", wishes.memory.map(|size| size.to_string())),
        ("disk", wishes.disk.map(|size| size.to_string())),
        ("engine", wishes.engine.map(|engine| format!("\"{}\"", engine.name()))),
        ("answer_while_stopped", wishes.answer_while_stopped.map(|choice| choice.to_string())),
        ("network", wishes.network.map(|choice| choice.to_string())),
        ("host_access", wishes.host_access.map(|access| access.in_toml().to_owned())),
        ("map_files", wishes.map_files.map(|choice| choice.to_string())),
        ("mounts", wishes.mounts.as_deref().map(list)),
        ("publish", wishes.publish.map(|publish| format!("\"{}\"", publish.name()))),
    ];
    for (key, value) in values {
        if let Some(value) = value {
            text = set(&text, key, &value);
        }
    }
    // What was written must be what is read: a value in several lines, for example, cannot be changed like this.
    match parse(&text, path) {
        Ok(now) if wishes.over(&now) == now => (),
        _ => return Err(SettingsError::Uneditable(path.to_owned())),
    }
    if before.as_ref() == Some(&text) {
        return Ok(());
    }
    replace(path, text.as_bytes()).map_err(|source| SettingsError::Unwritable { path: path.to_owned(), source })
}

/// `text` with the line of `key` saying `value`, a comment behind it kept; a new line if none has that key, the last one
/// before the first table.
fn set(text: &str, key: &str, value: &str) -> String {
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut found = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let is_key = line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        if is_key && !found {
            found = true;
            let comment = comment(line).map(|comment| format!(" {comment}")).unwrap_or_default();
            lines.push(format!("{key} = {value}{comment}"));
        } else {
            lines.push(line.to_owned());
        }
    }
    if !found {
        let table = lines.iter().position(|line| line.trim_start().starts_with('['));
        lines.insert(table.unwrap_or(lines.len()), format!("{key} = {value}"));
    }
    lines.iter().flat_map(|line| [line.as_str(), newline]).collect()
}

/// What stands behind the value, from its `#` on.
fn comment(line: &str) -> Option<&str> {
    let (mut quote, mut escaped) = (None, false);
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '#') => return Some(&line[at..]),
            (None, '"' | '\'') => quote = Some(letter),
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), letter) if open == letter && !escaped => quote = None,
            _ => (),
        }
        escaped = false;
    }
    None
}

/// On one line.
fn list(texts: &[String]) -> String {
    // No control character is in one, so that nothing else has to be escaped.
    let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    format!("[{}]", texts.iter().map(quoted).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Engine, load};

    fn wishes() -> Wishes {
        Wishes { cpus: Some(3), memory: Some(2.5), disk: None, engine: Some(Engine::Software), ..Wishes::default() }
    }

    #[test]
    fn c1_flags_change_their_lines_and_keep_comments_order_and_line_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "# mine\r\nmemory=1 # little\r\n\r\n cpus = 1\r\n").unwrap();
        save(&path, &wishes()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "# mine\r\nmemory = 2.5 # little\r\n\r\ncpus = 3\r\nengine = \"software\"\r\n");
        assert_eq!(load(&path).unwrap(), wishes());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn c1_flags_stay_out_of_the_table_of_proxies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "cpus = 1\n\n[proxy]\nhttp = \"http://p:1\"\n").unwrap();
        save(&path, &wishes()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "cpus = 3\n\nmemory = 2.5\nengine = \"software\"\n[proxy]\nhttp = \"http://p:1\"\n");
        assert!(load(&path).unwrap().world.proxy.is_some());
    }

    #[test]
    fn c1_a_fresh_file_explains_itself_and_says_only_what_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        save(&path, &Wishes::default()).unwrap();
        assert_eq!(load(&path).unwrap(), Wishes::default());
        save(&path, &wishes()).unwrap();
        assert_eq!(load(&path).unwrap(), wishes());
    }

    #[test]
    fn c1_folders_are_kept_with_every_letter_in_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let lists = [
            vec!["/a#b:w", "~"],
            vec!["C:\\Users\\me", "/it's", "/with \"quotes\"", "/both ' and \" # \\"],
            vec![],
            vec!["/été, [x]"],
        ];
        for list in lists {
            std::fs::write(&path, "mounts = [\"/old # \\\"\", '#\\'] # mine\ncpus = 1\n").unwrap();
            let mounts = Some(list.iter().map(|text| (*text).to_owned()).collect());
            let wishes = Wishes { mounts, ..Wishes::default() };
            for _ in 0..2 {
                save(&path, &wishes).unwrap();
                assert_eq!(load(&path).unwrap(), Wishes { cpus: Some(1), ..wishes.clone() });
                assert!(std::fs::read_to_string(&path).unwrap().contains("] # mine\ncpus = 1\n"));
            }
        }
    }

    #[test]
    fn c1_what_cannot_be_edited_line_by_line_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let text = "engine = \"\"\"\\\n  kvm\"\"\"\n";
        std::fs::write(&path, text).unwrap();
        assert!(matches!(save(&path, &wishes()), Err(SettingsError::Uneditable(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
