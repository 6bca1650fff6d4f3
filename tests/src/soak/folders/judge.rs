//! Reads strace's log and finds every descriptor that was opened on something outside of the share. Called by `escape`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Result;

/// Names that say, asked for through the mount, where judging begins and ends.
pub const BEGIN: &str = "judging-begins-here";
pub const END: &str = "judging-ends-here";

/// What was judged.
#[derive(Debug, Default)]
pub struct Verdict {
    /// System calls that name a file.
    pub calls: u64,
    /// Those that gave a descriptor.
    pub opened: u64,
    /// Lines that must not be.
    pub wrong: Vec<String>,
}

/// Reads to the end. `share` is what may be opened, with all below it; `outside` may be in no line but in what a link says.
pub fn judge(log: impl Read, share: &Path, outside: &Path) -> Result<Verdict> {
    let (share, outside) = (share.to_string_lossy(), outside.to_string_lossy());
    let (mut verdict, mut judging) = (Verdict::default(), false);
    for line in BufReader::new(log).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        judging = judging && !line.contains(END) || line.contains(BEGIN);
        if judging {
            verdict.take(&line, &share, &outside);
        }
    }
    Ok(verdict)
}

impl Verdict {
    fn take(&mut self, line: &str, share: &str, outside: &str) {
        /// More of them say nothing new.
        const LISTED: usize = 10;
        self.calls += u64::from(!line.contains(" resumed>"));
        let opened = opened(line);
        self.opened += u64::from(opened.is_some());
        let is_within =
            |path: &str| path == share || path.strip_prefix(share).is_some_and(|rest| rest.starts_with('/'));
        let tells_a_link = line.contains("readlinkat") || line.contains("symlinkat");
        let is_wrong = opened.is_some_and(|path| !is_within(path) && !path.starts_with("/proc/"))
            || line.contains(outside) && !tells_a_link;
        if is_wrong && self.wrong.len() < LISTED {
            self.wrong.push(line.to_owned());
        }
    }
}

/// What the descriptor that a call returned is open on: the line ends with `= 7</path>`.
fn opened(line: &str) -> Option<&str> {
    let (head, path) = line.strip_suffix('>')?.rsplit_once('<')?;
    let number = head.rsplit_once("= ")?.1;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(lines: &str) -> Verdict {
        let log = format!("9 openat(AT_FDCWD, \"/etc/hosts\") = 3</etc/hosts>\n9 x(\"{BEGIN}\") = 0\n{lines}\n");
        judge(log.as_bytes(), Path::new("/p/host"), Path::new("/p/outside")).unwrap()
    }

    #[test]
    fn f6_what_is_opened_outside_is_found() {
        for wrong in [
            "9 openat2(5</p/host/in>, \"canary\", {flags=O_PATH}, 24) = 6</p/outside/canary>",
            "9 <... openat2 resumed>) = 6</p/outside/canary>",
            "9 openat2(5</p/outside>, \"canary\", {flags=O_PATH}, 24) = -1 EXDEV (Invalid cross-device link)",
            "9 openat(AT_FDCWD, \"/etc/hosts\", O_RDONLY) = 3</etc/hosts>",
            "9 openat2(5</p/host/in>, \"..\", {flags=O_PATH}, 24) = 6</p/hostile>",
        ] {
            assert_eq!(verdict(wrong).wrong, [wrong]);
        }
    }

    #[test]
    fn what_is_within_and_what_a_link_says_is_not() {
        let right = verdict(
            "9 openat2(5</p/host/in>, \"canary\", {flags=O_PATH}, 24) = 6</p/host/in/canary>\n\
             9 openat2(5</p/host>, \"in\", {flags=O_PATH}, 24 <unfinished ...>\n\
             9 <... openat2 resumed>) = 7</p/host/in>\n\
             9 openat2(5</p/host>, \".\", {flags=O_PATH}, 24) = 8</p/host>\n\
             9 readlinkat(5</p/host/link>, \"\", \"/p/outside\", 4096) = 10\n\
             9 openat(AT_FDCWD, \"/proc/self/fd/5\", O_RDONLY) = 9</p/host/in/canary>",
        );
        assert_eq!(right.wrong, [""; 0]);
        // With the line that begins it.
        assert_eq!((right.calls, right.opened), (6, 4));
    }

    #[test]
    fn after_its_end_nothing_is_judged() {
        let ended = verdict(&format!("9 x(\"{END}\") = 0\n9 openat(\"/etc/hosts\") = 3</etc/hosts>"));
        assert_eq!(ended.wrong, [""; 0]);
        assert_eq!(ended.calls, 1);
    }
}
