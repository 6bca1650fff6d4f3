//! Rows of slices of guest memory, as vectored I/O takes them. Used by whoever repeats a call until all of a row went through.

use vm_memory::VolatileSlice;

/// Takes the first `count` bytes off `parts`, which are at least as long.
pub(crate) fn advance(parts: &mut Vec<VolatileSlice>, mut count: usize) {
    let whole = parts.iter().take_while(|part| {
        let all = part.len() <= count;
        count -= if all { part.len() } else { 0 };
        all
    });
    let whole = whole.count();
    parts.drain(..whole);
    if count > 0 {
        parts[0] = parts[0].offset(count).expect("the part is longer than what is left");
    }
}
