//! What a reparse point of Windows says: it is how NTFS stores symbolic links, its own and those of Windows' subsystem for Linux.

use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::host::Kind;

/// A link as Linux has it (`IO_REPARSE_TAG_LX_SYMLINK`): anybody may make it, and Windows itself does not follow it.
pub const LX_LINK: u32 = 0xa000_001d;
/// A link as Windows has it (`IO_REPARSE_TAG_SYMLINK`).
const LINK: u32 = 0xa000_000c;
/// Another folder in this one's place (`IO_REPARSE_TAG_MOUNT_POINT`).
const JUNCTION: u32 = 0xa000_0003;
/// `IO_REPARSE_TAG_AF_UNIX`, `…_LX_FIFO`, `…_LX_CHR`, `…_LX_BLK`
const SPECIAL: [(u32, Kind); 4] = [
    (0x8000_0023, Kind::Socket),
    (0x8000_0024, Kind::Fifo),
    (0x8000_0025, Kind::Character),
    (0x8000_0026, Kind::Block),
];
/// Whoever opens what has such a tag gets something that lies elsewhere.
const SURROGATE: u32 = 0x2000_0000;
/// Of the text of an [`LX_LINK`], before it.
const VERSION: [u8; 4] = 2u32.to_le_bytes();
/// Tag, length and two bytes that mean nothing.
const HEAD: usize = 8;

/// What a reparse point is to the guest; `None` if it is the file or folder that it would be without, as with files that are kept
/// compressed or in the cloud. What leads elsewhere is a link, whether its text can be read or not.
pub fn tag_kind(tag: u32) -> Option<Kind> {
    match SPECIAL.iter().find(|(special, _)| *special == tag) {
        Some((_, kind)) => Some(*kind),
        None => (tag & SURROGATE != 0).then_some(Kind::Link),
    }
}

/// The bytes to store for an [`LX_LINK`] that says `target`.
pub fn link_data(target: &[u8]) -> Vec<u8> {
    let len = (VERSION.len() + target.len()) as u16;
    [&LX_LINK.to_le_bytes()[..], &len.to_le_bytes(), &[0; 2], &VERSION, target].concat()
}

/// What a link says, from the stored bytes. Windows' own way of writing a path becomes Linux's as far as it can.
///
/// # Errors
/// `EINVAL` for what is no link, or not one that can be read.
pub fn link_text(data: &[u8]) -> Result<Vec<u8>, Errno> {
    let tag = data.first_chunk().map(|tag| u32::from_le_bytes(*tag)).ok_or(Errno::INVAL)?;
    let len = usize::from(short(data, 4).ok_or(Errno::INVAL)?);
    let body = data.get(HEAD..HEAD + len).ok_or(Errno::INVAL)?;
    match tag {
        LX_LINK => body.strip_prefix(&VERSION).map(<[u8]>::to_vec).ok_or(Errno::INVAL),
        // Four lengths, then flags of a link's, then the text.
        LINK => windows_text(body, 12).ok_or(Errno::INVAL),
        JUNCTION => windows_text(body, 8).ok_or(Errno::INVAL),
        _ => Err(Errno::INVAL),
    }
}

fn windows_text(body: &[u8], text_at: usize) -> Option<Vec<u8>> {
    let part = |place: usize| {
        let (offset, len) = (usize::from(short(body, place)?), usize::from(short(body, place + 2)?));
        body.get(text_at + offset..text_at + offset + len)
    };
    // What is meant for people; without one, what is meant for the kernel, which has a prefix of its own.
    let text = part(4).filter(|text| !text.is_empty()).or_else(|| part(0))?;
    let wide: Vec<u16> = text.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let text = String::from_utf16(&wide).ok()?;
    Some(text.strip_prefix(r"\??\").unwrap_or(&text).replace('\\', "/").into_bytes())
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn native(tag: u32, flags: bool, kernel: &str, people: &str) -> Vec<u8> {
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let (kernel, people) = (wide(kernel), wide(people));
        let lens = [0, kernel.len() as u16, kernel.len() as u16, people.len() as u16];
        let mut body: Vec<u8> = lens.into_iter().flat_map(u16::to_le_bytes).collect();
        body.extend([0; 4].iter().filter(|_| flags));
        body.extend(kernel);
        body.extend(people);
        [&tag.to_le_bytes()[..], &(body.len() as u16).to_le_bytes(), &[0; 2], &body].concat()
    }

    #[test]
    fn f6_links_of_both_worlds_are_read() {
        let link = native(LINK, true, r"\??\C:\dir\file", r"..\dir\file");
        assert_eq!(link_text(&link).as_deref(), Ok(&b"../dir/file"[..]));
        let nameless = native(LINK, true, r"\??\C:\dir", "");
        assert_eq!(link_text(&nameless).as_deref(), Ok(&b"C:/dir"[..]));
        let junction = native(JUNCTION, false, r"\??\C:\other", r"C:\other");
        assert_eq!(link_text(&junction).as_deref(), Ok(&b"C:/other"[..]));
        assert_eq!(link_text(&native(0x8000_0023, true, "a", "a")), Err(Errno::INVAL));
    }

    #[test]
    fn what_leads_elsewhere_is_a_link_and_what_does_not_is_none() {
        for tag in [LX_LINK, LINK, JUNCTION, 0xa000_0019, 0xa000_0027] {
            assert_eq!(tag_kind(tag), Some(Kind::Link), "{tag:#x}");
        }
        assert_eq!(tag_kind(0x8000_0024), Some(Kind::Fifo));
        for tag in [0, 0x8000_0013, 0x9000_001a, 0x8000_0017] {
            assert_eq!(tag_kind(tag), None, "{tag:#x}");
        }
    }

    proptest! {
        #[test]
        fn what_a_link_says_is_read_back(target in prop::collection::vec(any::<u8>(), 1..4095)) {
            prop_assert_eq!(link_text(&link_data(&target)), Ok(target));
        }

        #[test]
        fn no_bytes_make_it_panic(tag in prop::sample::select(vec![LX_LINK, LINK, JUNCTION]), rest: Vec<u8>) {
            let _ = link_text(&rest);
            let _ = link_text(&[&tag.to_le_bytes()[..], &rest].concat());
        }
    }
}
