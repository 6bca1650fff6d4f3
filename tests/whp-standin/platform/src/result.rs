//! How calls end: the HRESULTs of the platform, and Linux's errors as the nearest of them. Used everywhere.

use windows_sys::Win32::Foundation::{E_FAIL, E_INVALIDARG, E_OUTOFMEMORY};
use windows_sys::core::HRESULT;

use crate::linux::Errno;

/// A call's result.
pub type Result<T> = std::result::Result<T, Hr>;

/// A failed HRESULT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hr(pub HRESULT);

impl From<Errno> for Hr {
    fn from(error: Errno) -> Self {
        const ENOMEM: i32 = 12;
        const EINVAL: i32 = 22;
        match error.0 {
            ENOMEM => Hr(E_OUTOFMEMORY),
            EINVAL => Hr(E_INVALIDARG),
            _ => Hr(E_FAIL),
        }
    }
}

/// An argument that the contract does not allow.
pub const INVALID: Hr = Hr(E_INVALIDARG);
