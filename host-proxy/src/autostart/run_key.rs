//! What Windows runs at logon: a value of the user's own `Run` key, which takes no administrator (a logon task of the task
//! scheduler does). Read by `sys::login` there.

use super::{AutostartError, Entry};

/// The key.
pub const KEY: &str = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Run";
/// Longest command line that Windows takes from there, in UTF-16 units.
const LONGEST: usize = 260;

/// The value's name.
pub fn name(entry: &Entry) -> String {
    entry.profile.name().context()
}

/// The command line. It has no place for `LIGHTER_HOME`: another home than the default is found through the user's own
/// environment variables.
pub fn command_line(entry: &Entry) -> Result<String, AutostartError> {
    let unspeakable =
        |why| AutostartError::Unspeakable { what: entry.program.display().to_string(), place: "the Run key", why };
    let program = Entry::text(&entry.program, "the Run key")?;
    if program.contains('"') {
        return Err(unspeakable("it has a quotation mark"));
    }
    let line = format!("\"{program}\" {}", entry.arguments().join(" "));
    if line.encode_utf16().count() > LONGEST { Err(unspeakable("it is too long: move the program")) } else { Ok(line) }
}

/// The command line in what `reg query` prints for the value.
pub fn found(printed: &str) -> Option<&str> {
    let line = printed.lines().find(|line| line.contains("REG_SZ"))?;
    Some(line.split_once("REG_SZ")?.1.trim())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::autostart::example;

    #[test]
    fn the_value_starts_the_endpoint_and_what_windows_could_not_read_is_refused() {
        let mut entry = example("/home/me", "work", false);
        assert!(command_line(&entry).unwrap_err().to_string().contains("quotation mark"));
        entry.program = PathBuf::from(r"C:\Program Files\lighter\lighter.exe");
        let line = command_line(&entry).unwrap();
        assert_eq!(line, r#""C:\Program Files\lighter\lighter.exe" start --asleep --activate=false --profile work"#);
        let printed = format!("\r\n{KEY}\r\n    {}    REG_SZ    {line}\r\n\r\n", name(&entry));
        assert_eq!(found(&printed), Some(line.as_str()));
        assert_eq!(found("ERROR: The system was unable to find the specified registry key or value."), None);
        entry.program = PathBuf::from(format!(r"C:\{}.exe", "long".repeat(60)));
        assert!(command_line(&entry).unwrap_err().to_string().contains("too long"));
    }
}
