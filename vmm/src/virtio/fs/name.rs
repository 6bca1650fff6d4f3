//! The name of an entry in a folder. Whoever holds one knows that it is one step down and nowhere else: the only check
//! against `..` and `/`, made once, where a request is read.

use super::errno::Errno;

/// Longest name in bytes (`NAME_MAX`).
pub const LONGEST: usize = 255;

/// One component of a path: 1 to 255 bytes, no `/`, no NUL, neither `.` nor `..`. Not necessarily UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// `ENAMETOOLONG`, or `EINVAL` for what names no entry.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Errno> {
        match bytes {
            b"" | b"." | b".." => Err(Errno::INVAL),
            _ if bytes.contains(&b'/') || bytes.contains(&0) => Err(Errno::INVAL),
            _ if bytes.len() > LONGEST => Err(Errno::NAMETOOLONG),
            _ => Ok(Self(bytes)),
        }
    }

    /// As the guest wrote it.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f2_only_one_step_down_is_a_name() {
        let long = [b'x'; 256];
        for wrong in [&b""[..], b".", b"..", b"a/b", b"/", b"/etc", b"a\0b", b"\0", b"../..", b"a/"] {
            assert_eq!(Name::new(wrong), Err(Errno::INVAL), "{wrong:?}");
        }
        assert_eq!(Name::new(&long), Err(Errno::NAMETOOLONG));
        for right in
            [&b"a"[..], b"...", b"..a", b" ", b"\n", b"CON", b"a:b", b"a\\b", b"trailing.", b"\xff\xfe", &long[1..]]
        {
            assert_eq!(Name::new(right).map(Name::bytes), Ok(right));
        }
    }
}
