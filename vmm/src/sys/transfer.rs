//! Reads and writes of a whole row of parts, where one call of the system may do less.

use std::io;

use vm_memory::VolatileSlice;

use crate::slices::advance;
use crate::virtio::fs::Errno;

/// Repeats `operation` until all of `parts` went through, or nothing more does. An error after some bytes is told next time.
pub(super) fn transfer(
    parts: &[VolatileSlice],
    errno: fn(&io::Error) -> Errno,
    mut operation: impl FnMut(&[VolatileSlice], u64) -> io::Result<usize>,
) -> Result<usize, Errno> {
    let (mut done, mut rest) = (0, parts.to_vec());
    while !rest.is_empty() {
        match operation(&rest, done as u64) {
            Ok(0) => break,
            Ok(count) => {
                done += count;
                advance(&mut rest, count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if done > 0 => break,
            Err(error) => return Err(errno(&error)),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(
        lens: &[usize],
        memory: &mut [u8],
        operation: impl FnMut(u64) -> io::Result<usize>,
    ) -> Result<usize, Errno> {
        let (whole, mut at) = (VolatileSlice::from(memory), 0);
        let cut = |len: &usize| {
            at += len;
            whole.subslice(at - len, *len).expect("within")
        };
        let cut: Vec<VolatileSlice> = lens.iter().map(cut).collect();
        let mut operation = operation;
        transfer(&cut, |_| Errno::IO, |_, done| operation(done))
    }

    #[test]
    fn short_and_interrupted_calls_go_on_where_they_stopped() {
        let mut places = Vec::new();
        let mut answers = [Ok(3), Err(io::ErrorKind::Interrupted.into()), Ok(5), Ok(0)].into_iter();
        let done = parts(&[4, 6], &mut [0; 10], |at| {
            places.push(at);
            answers.next().expect("asked no more after nothing went")
        });
        assert_eq!((done, places), (Ok(8), vec![0, 3, 3, 8]));
    }

    #[test]
    fn an_error_counts_only_if_nothing_went_before() {
        let mut answers = [Ok(2), Err(io::ErrorKind::StorageFull.into())].into_iter();
        assert_eq!(parts(&[4], &mut [0; 4], |_| answers.next().expect("two")), Ok(2));
        assert_eq!(parts(&[4], &mut [0; 4], |_| Err(io::ErrorKind::StorageFull.into())), Err(Errno::IO));
    }
}
