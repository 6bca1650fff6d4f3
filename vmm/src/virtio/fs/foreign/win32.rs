//! Error numbers of Windows: those of its own interface, and the statuses of its kernel below, some of which say more.

use crate::virtio::fs::errno::Errno;

/// `ERROR_…` of winerror.h.
const ERRORS: &[(u32, Errno)] = &[
    (1, Errno::OPNOTSUPP),     // INVALID_FUNCTION: the file system does not know it
    (2, Errno::NOENT),         // FILE_NOT_FOUND
    (3, Errno::NOENT),         // PATH_NOT_FOUND
    (4, Errno::MFILE),         // TOO_MANY_OPEN_FILES
    (5, Errno::ACCES),         // ACCESS_DENIED
    (6, Errno::BADF),          // INVALID_HANDLE
    (8, Errno::NOMEM),         // NOT_ENOUGH_MEMORY
    (14, Errno::NOMEM),        // OUTOFMEMORY
    (15, Errno::NOENT),        // INVALID_DRIVE
    (17, Errno::XDEV),         // NOT_SAME_DEVICE
    (19, Errno::ROFS),         // WRITE_PROTECT
    (20, Errno::NODEV),        // BAD_UNIT
    (32, Errno::BUSY),         // SHARING_VIOLATION: a program on the host shares it with nobody
    (33, Errno::BUSY),         // LOCK_VIOLATION
    (36, Errno::NFILE),        // SHARING_BUFFER_EXCEEDED
    (39, Errno::NOSPC),        // HANDLE_DISK_FULL
    (50, Errno::OPNOTSUPP),    // NOT_SUPPORTED
    (53, Errno::NOENT),        // BAD_NETPATH
    (55, Errno::NODEV),        // DEV_NOT_EXIST
    (65, Errno::ACCES),        // NETWORK_ACCESS_DENIED
    (67, Errno::NOENT),        // BAD_NET_NAME
    (80, Errno::EXIST),        // FILE_EXISTS
    (82, Errno::ACCES),        // CANNOT_MAKE
    (87, Errno::INVAL),        // INVALID_PARAMETER
    (111, Errno::NAMETOOLONG), // BUFFER_OVERFLOW
    (112, Errno::NOSPC),       // DISK_FULL
    (122, Errno::RANGE),       // INSUFFICIENT_BUFFER
    (123, Errno::INVAL),       // INVALID_NAME
    (131, Errno::INVAL),       // NEGATIVE_SEEK
    (142, Errno::BUSY),        // BUSY_DRIVE
    (145, Errno::NOTEMPTY),    // DIR_NOT_EMPTY
    (148, Errno::BUSY),        // PATH_BUSY
    (161, Errno::NOENT),       // BAD_PATHNAME
    (170, Errno::BUSY),        // BUSY
    (183, Errno::EXIST),       // ALREADY_EXISTS
    (206, Errno::NAMETOOLONG), // FILENAME_EXCED_RANGE
    (223, Errno::FBIG),        // FILE_TOO_LARGE
    (234, Errno::RANGE),       // MORE_DATA
    (255, Errno::INVAL),       // EA_LIST_INCONSISTENT
    (267, Errno::NOTDIR),      // DIRECTORY
    (303, Errno::NOENT),       // DELETE_PENDING
    (336, Errno::ISDIR),       // DIRECTORY_NOT_SUPPORTED
    (395, Errno::ACCES),       // CLOUD_FILE_ACCESS_DENIED
    (995, Errno::INTR),        // OPERATION_ABORTED
    (1006, Errno::STALE),      // FILE_INVALID
    (1142, Errno::MLINK),      // TOO_MANY_LINKS
    (1168, Errno::NOENT),      // NOT_FOUND
    (1224, Errno::TXTBSY),     // USER_MAPPED_FILE: a program on the host has it mapped
    (1295, Errno::DQUOT),      // DISK_QUOTA_EXCEEDED
    (1314, Errno::PERM),       // PRIVILEGE_NOT_HELD
    (1450, Errno::NOMEM),      // NO_SYSTEM_RESOURCES
    (1455, Errno::NOMEM),      // COMMITMENT_LIMIT
    (1816, Errno::NOMEM),      // NOT_ENOUGH_QUOTA
    (1920, Errno::ACCES),      // CANT_ACCESS_FILE
    (1921, Errno::LOOP),       // CANT_RESOLVE_FILENAME
    (4390, Errno::INVAL),      // NOT_A_REPARSE_POINT
    (4391, Errno::INVAL),      // REPARSE_ATTRIBUTE_CONFLICT
    (4392, Errno::INVAL),      // INVALID_REPARSE_DATA
    (4393, Errno::INVAL),      // REPARSE_TAG_INVALID
    (4394, Errno::INVAL),      // REPARSE_TAG_MISMATCH
    (6002, Errno::ACCES),      // FILE_ENCRYPTED
];

/// `STATUS_…` of ntstatus.h that Windows itself would call by a number that says less, mostly `ERROR_ACCESS_DENIED`.
const STATUSES: &[(u32, Errno)] = &[
    (0x8000_002d, Errno::LOOP),   // STOPPED_ON_SYMLINK
    (0xc000_0056, Errno::NOENT),  // DELETE_PENDING
    (0xc000_00ba, Errno::ISDIR),  // FILE_IS_A_DIRECTORY
    (0xc000_0103, Errno::NOTDIR), // NOT_A_DIRECTORY
    (0xc000_0121, Errno::PERM),   // CANNOT_DELETE
    (0xc000_0123, Errno::STALE),  // FILE_DELETED
    (0xc000_0280, Errno::LOOP),   // REPARSE_POINT_NOT_RESOLVED
    (0xc000_050b, Errno::LOOP),   // REPARSE_POINT_ENCOUNTERED
];

/// The Linux number for an `ERROR_…` of Windows; `EIO` where there is none.
pub fn from_windows(error: u32) -> Errno {
    find(ERRORS, error).unwrap_or(Errno::IO)
}

/// The Linux number for a `STATUS_…` of its kernel, if that is to be read before it is made an `ERROR_…`.
pub fn from_nt(status: i32) -> Option<Errno> {
    find(STATUSES, status.cast_unsigned())
}

fn find(numbers: &[(u32, Errno)], number: u32) -> Option<Errno> {
    numbers.iter().find(|(known, _)| *known == number).map(|(_, errno)| *errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_translated_once() {
        for numbers in [ERRORS, STATUSES] {
            assert!(numbers.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, none twice");
        }
    }

    #[test]
    fn what_programs_look_at_is_told() {
        assert_eq!(from_windows(2), Errno::NOENT);
        assert_eq!(from_windows(112), Errno::NOSPC);
        assert_eq!(from_windows(145), Errno::NOTEMPTY);
        assert_eq!(from_windows(183), Errno::EXIST);
        assert_eq!(from_windows(0xffff_ffff), Errno::IO);
        assert_eq!(from_nt(0xc000_00ba_u32.cast_signed()), Some(Errno::ISDIR));
        assert_eq!(from_nt(0xc000_0034_u32.cast_signed()), None);
    }
}
