//! Error numbers of macOS. They agree with Linux's up to 34, but for 11 and 35, which have changed places.

use crate::virtio::fs::errno::Errno;

/// Number on macOS, number on Linux. What is missing has no meaning for a file system.
const NUMBERS: &[(i32, i32)] = &[
    (11, 35),  // EDEADLK
    (35, 11),  // EAGAIN
    (45, 95),  // ENOTSUP
    (60, 110), // ETIMEDOUT
    (62, 40),  // ELOOP
    (63, 36),  // ENAMETOOLONG
    (66, 39),  // ENOTEMPTY
    (68, 87),  // EUSERS
    (69, 122), // EDQUOT
    (70, 116), // ESTALE
    (71, 66),  // EREMOTE
    (77, 37),  // ENOLCK
    (78, 38),  // ENOSYS
    (80, 13),  // EAUTH: the server of a network's file system does not know us.
    (81, 13),  // ENEEDAUTH
    (82, 6),   // EPWROFF
    (83, 5),   // EDEVERR
    (84, 75),  // EOVERFLOW
    (89, 125), // ECANCELED
    (92, 84),  // EILSEQ
    (93, 61),  // ENOATTR
    (94, 74),  // EBADMSG
    (96, 61),  // ENODATA
    (100, 71), // EPROTO
    (102, 95), // EOPNOTSUPP
    (105, 12), // EQFULL
];

/// The Linux number for one of macOS; `EIO` where there is none.
pub fn from_darwin(number: i32) -> Errno {
    match NUMBERS.iter().find(|(darwin, _)| *darwin == number) {
        Some((_, linux)) => Errno::linux(*linux),
        None if (1..=34).contains(&number) => Errno::linux(number),
        None => Errno::IO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_that_differ_are_translated() {
        for (darwin, linux) in [
            (2, Errno::NOENT),
            (11, Errno::linux(35)),
            (17, Errno::EXIST),
            (34, Errno::RANGE),
            (35, Errno::AGAIN),
            (45, Errno::OPNOTSUPP),
            (62, Errno::LOOP),
            (63, Errno::NAMETOOLONG),
            (66, Errno::NOTEMPTY),
            (69, Errno::DQUOT),
            (70, Errno::STALE),
            (78, Errno::NOSYS),
            (84, Errno::OVERFLOW),
            (93, Errno::NODATA),
            (102, Errno::OPNOTSUPP),
        ] {
            assert_eq!(from_darwin(darwin), linux, "{darwin}");
        }
    }

    #[test]
    fn no_number_gets_through_that_is_none() {
        for number in [i32::MIN, -1, 0, 61, 106, 107, 4096, i32::MAX] {
            assert_eq!(from_darwin(number), Errno::IO, "{number}");
        }
    }
}
