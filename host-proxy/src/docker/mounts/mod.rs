//! Paths of the host in requests that make containers, services and volumes: found wherever dockerd would find them,
//! classified, and replaced without touching any other byte. One place for `Binds`, `Mounts` and volume driver options,
//! because a rule that knows only some of the three is none. `hold` calls it for every request that [`route`] names; the
//! `mounts` fuzz target and the tests do too. Pure.
//!
//! What a path means in the machine is for `shares` to say; here is only refused what dockerd would misread
//! ([`HostPath::misread`]). A body is never passed on half understood: it is read as far as dockerd would read it, or refused
//! where dockerd might read something else. What dockerd can make nothing of goes on to it, for a complaint in its own words.

mod find;
mod form;
mod json;
mod route;

use std::{borrow::Cow, ops::Range, str::Utf8Error};

use thiserror::Error;

use crate::shares::spelling::HostKind;

pub use self::{find::find, form::Form, route::route};

/// Largest body that is inspected, in bytes. What people send has kilobytes; swarm, which keeps such bodies as messages of
/// its own, takes no more than this either.
pub const MAX_BODY: usize = 4 << 20;

/// Which body a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `POST /containers/create`
    Container,
    /// `POST /services/create` and `/services/…/update`
    Service,
    /// `POST /volumes/create`
    Volume,
}

/// Where a path stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In front of an entry of `HostConfig.Binds`.
    Bind,
    /// The `Source` of a mount of type `bind`.
    Mount,
    /// The `device` that a volume of the driver `local` binds.
    Device,
}

/// A path that means the host's file system to whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPath {
    /// Where it stands.
    pub place: Place,
    /// What it looks like.
    pub form: Form,
    /// The path alone.
    pub path: String,
    /// What stands behind it in the same text, its colon included; of a [`Place::Bind`] only.
    rest: String,
    /// The JSON text, with its quotes, in the body.
    span: Range<usize>,
}

/// Why a body is refused.
#[derive(Debug, Error)]
pub enum MountError {
    /// Not text at all.
    #[error("the request's body is not UTF-8 text, so its mounts cannot be read")]
    NotText(#[source] Utf8Error),
    /// A field on the way to a path holds another kind of value.
    #[error("{name} in the request's body is not {wanted}")]
    Shape {
        /// As the API calls it.
        name: &'static str,
        /// What the API has there.
        wanted: &'static str,
        /// Where it stands.
        source: serde_json::Error,
    },
    /// Given twice, perhaps in different case.
    #[error("{name} is given twice in the request's body (case does not count): leave one of them out")]
    Twice {
        /// As the API calls it.
        name: &'static str,
    },
    /// A translated path that cannot stand in front of a colon.
    #[error("the folder {path:?} cannot be bound by `-v`, whose parts are divided by colons: use `--mount`")]
    Colon {
        /// The translated one.
        path: String,
    },
}

impl HostPath {
    /// Why nobody can make anything of it on a host of this kind: dockerd would take it for something else, or complain of
    /// something that nobody wrote.
    #[must_use]
    pub fn misread(&self, host: HostKind) -> Option<String> {
        let what = match (self.form, host) {
            (Form::Absolute | Form::Relative, _) | (Form::WindowsFolder, HostKind::Windows) => return None,
            (Form::WindowsFolder, HostKind::Unix) => "a folder of Windows, which this computer does not have",
            (Form::WindowsPipe, _) => "a named pipe of Windows, which no container can open",
        };
        Some(format!(
            "{:?} is {what}. Use a folder that this computer shares with containers, or a named volume (`-v NAME:/path`), \
             which `docker cp` can fill",
            self.path
        ))
    }
}

/// `body` with every path that `translate` has another one for; the same bytes if there is none. `found` is what [`find`]
/// found in it.
///
/// # Errors
/// [`MountError::Colon`], and what `translate` refuses.
pub fn rewrite<'a, E: From<MountError>>(
    body: &'a [u8],
    found: &[HostPath],
    mut translate: impl FnMut(&HostPath) -> Result<Option<String>, E>,
) -> Result<Cow<'a, [u8]>, E> {
    let mut changes = Vec::new();
    for host_path in found {
        let Some(path) = translate(host_path)? else { continue };
        if host_path.place == Place::Bind && path.contains(':') {
            return Err(MountError::Colon { path }.into());
        }
        let literal = serde_json::Value::String(path + &host_path.rest).to_string();
        changes.push((host_path.span.clone(), literal));
    }
    if changes.is_empty() {
        return Ok(Cow::Borrowed(body));
    }
    changes.sort_by_key(|(span, _)| span.start);
    let (mut text, mut copied) = (Vec::with_capacity(body.len() + 256), 0);
    for (span, literal) in changes {
        text.extend_from_slice(&body[copied..span.start]);
        text.extend_from_slice(literal.as_bytes());
        copied = span.end;
    }
    text.extend_from_slice(&body[copied..]);
    Ok(Cow::Owned(text))
}

#[cfg(test)]
mod tests;
