//! A message that QEMU sends too early: it enables the vrings of a network device when the device is made, long before it
//! sets the features without which the protocol knows no such message (and the message decoder refuses it). Called by
//! `mod` until features are set.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use rustix::net::{RecvFlags, recv};
use vhost::vhost_user::VhostUserBackendReqHandlerMut;

use super::backend::Backend;

/// `VHOST_USER_SET_VRING_ENABLE`, with a body of index and choice.
const SET_VRING_ENABLE: u32 = 18;
/// Request, flags, size of the body.
const HEADER: usize = 12;
/// Index and choice.
const BODY: usize = 8;
/// Protocol version 1, a reply.
const REPLY: u32 = 1 | 4;
/// The frontend waits for an answer.
const NEED_REPLY: u32 = 8;

/// Takes the next message off `socket` if it is this one; `false` leaves it to the decoder. Waits for a message.
pub fn take(socket: &UnixStream, backend: &mut impl FnMut(u32, bool) -> bool) -> io::Result<bool> {
    let mut header = [0; HEADER];
    let (length, _) = recv(socket, &mut header, RecvFlags::PEEK | RecvFlags::WAITALL)?;
    let word = |bytes: &[u8], at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if length < HEADER || word(&header, 0) != SET_VRING_ENABLE || word(&header, 8) != BODY as u32 {
        return Ok(false);
    }
    let mut message = [0; HEADER + BODY];
    (&*socket).read_exact(&mut message)?;
    let done = backend(word(&message, 12), word(&message, 16) != 0);
    if word(&message, 4) & NEED_REPLY != 0 {
        let mut reply = message;
        reply[4..8].copy_from_slice(&REPLY.to_ne_bytes());
        reply[HEADER..].copy_from_slice(&u64::from(!done).to_ne_bytes());
        (&*socket).write_all(&reply)?;
    }
    Ok(true)
}

/// Enables a vring of `backend`, or not.
pub fn enable(backend: &mut Backend, index: u32, choice: bool) -> bool {
    backend.set_vring_enable(index, choice).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(request: u32, flags: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = [request.to_ne_bytes(), flags.to_ne_bytes(), (body.len() as u32).to_ne_bytes()].concat();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn it_is_taken_and_answered_and_every_other_message_is_left() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&message(SET_VRING_ENABLE, 1 | NEED_REPLY, &[1, 0, 0, 0, 1, 0, 0, 0])).unwrap();
        theirs.write_all(&message(1, 1, &[])).unwrap();
        let mut seen = Vec::new();
        let mut backend = |index, choice| {
            seen.push((index, choice));
            true
        };
        assert!(take(&ours, &mut backend).unwrap());
        assert!(!take(&ours, &mut backend).unwrap());
        assert!(!take(&ours, &mut backend).unwrap());
        assert_eq!(seen, [(1, true)]);
        let mut reply = [0; HEADER + BODY];
        theirs.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..], message(SET_VRING_ENABLE, REPLY, &[0; 8]));
        // The other one is whole.
        let mut left = [0; HEADER];
        (&ours).read_exact(&mut left).unwrap();
        assert_eq!(left[..], message(1, 1, &[]));
        drop(theirs);
        assert!(!take(&ours, &mut |_, _| true).unwrap());
    }
}
