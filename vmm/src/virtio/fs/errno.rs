//! Error numbers as the guest's kernel knows them. A host's own may differ, so no number of a host's ever reaches a guest
//! untranslated: the backends of [`super::host::HostFs`] do that.

use std::fmt;

/// A Linux error number (include/uapi/asm-generic/errno-base.h and errno.h), whatever system the host runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(i32);

macro_rules! numbers {
    ($($name:ident = $number:literal,)+) => {
        impl Errno {
            $(#[doc = concat!("`E", stringify!($name), "`")] pub const $name: Self = Self($number);)+
        }

        impl fmt::Debug for Errno {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($number => f.write_str(concat!("E", stringify!($name))),)+
                    other => write!(f, "errno {other}"),
                }
            }
        }
    };
}

numbers! {
    PERM = 1, NOENT = 2, INTR = 4, IO = 5, NXIO = 6, TOOBIG = 7, BADF = 9, AGAIN = 11, NOMEM = 12, ACCES = 13, FAULT = 14, BUSY = 16,
    EXIST = 17, XDEV = 18, NODEV = 19, NOTDIR = 20, ISDIR = 21, INVAL = 22, NFILE = 23, MFILE = 24, NOTTY = 25, TXTBSY = 26,
    FBIG = 27, NOSPC = 28, SPIPE = 29, ROFS = 30, MLINK = 31, RANGE = 34, NAMETOOLONG = 36, NOSYS = 38, NOTEMPTY = 39,
    LOOP = 40, NODATA = 61, OVERFLOW = 75, OPNOTSUPP = 95, STALE = 116, DQUOT = 122,
}

impl Errno {
    /// A number that Linux itself gave; what is none becomes `EIO`.
    pub fn linux(number: i32) -> Self {
        if (1..4096).contains(&number) { Self(number) } else { Self::IO }
    }

    /// The positive number.
    pub fn number(self) -> i32 {
        self.0
    }
}
