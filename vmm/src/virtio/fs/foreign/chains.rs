//! Lists that Windows' kernel answers with: entries of different length, each of which says how far the next one is.

use super::reparse::tag_kind;
use crate::virtio::fs::host::Kind;

/// `FILE_ATTRIBUTE_DIRECTORY`, `FILE_ATTRIBUTE_REPARSE_POINT`
const DIRECTORY: u32 = 0x10;
const REPARSE_POINT: u32 = 0x400;

/// How the entries of a folder's list are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// With numbers of 128 bits (`FILE_ID_EXTD_DIR_INFORMATION`).
    Long,
    /// With numbers of 64 bits (`FILE_ID_BOTH_DIR_INFORMATION`), which more file systems know.
    Short,
}

/// An entry of a folder.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name, as Windows has it.
    pub name: Vec<u16>,
    /// Its number.
    pub id: u128,
    /// What it is.
    pub kind: Kind,
}

/// The entries of a folder in `bytes`. Damaged ones, and what comes behind, are left out.
pub fn listed(bytes: &[u8], layout: Layout) -> impl Iterator<Item = Listed> {
    entries(bytes).filter_map(move |entry| {
        let attributes = word(entry, 56)?;
        let (id, tag_at, text_at) = match layout {
            Layout::Long => (u128::from_le_bytes(*entry.get(72..)?.first_chunk()?), 68, 88),
            // In the place of the length of extended attributes, which no reparse point has.
            Layout::Short => (u64::from_le_bytes(*entry.get(96..)?.first_chunk()?).into(), 64, 104),
        };
        let kind = kind_of(attributes, word(entry, tag_at)?);
        Some(Listed { name: text(entry, 60, text_at)?, id, kind })
    })
}

/// The names of a file's streams in `bytes` (`FILE_STREAM_INFORMATION`).
pub fn streams(bytes: &[u8]) -> impl Iterator<Item = Vec<u16>> {
    entries(bytes).filter_map(|entry| text(entry, 4, 24))
}

/// What an object is, by its attributes and the tag of its reparse point.
pub fn kind_of(attributes: u32, tag: u32) -> Kind {
    let special = if attributes & REPARSE_POINT != 0 { tag_kind(tag) } else { None };
    special.unwrap_or(if attributes & DIRECTORY != 0 { Kind::Folder } else { Kind::File })
}

fn entries(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let entry = rest?;
        let next = word(entry, 0)? as usize;
        // 0 ends the list.
        rest = if next == 0 { None } else { entry.get(next..) };
        Some(entry)
    })
}

fn text(entry: &[u8], len_at: usize, text_at: usize) -> Option<Vec<u16>> {
    let end = text_at.checked_add(word(entry, len_at)? as usize)?;
    Some(entry.get(text_at..end)?.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(next: u32, attributes: u32, tag: u32, id: u128, name: &str) -> Vec<u8> {
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut bytes = vec![0; 88];
        bytes[0..4].copy_from_slice(&next.to_le_bytes());
        bytes[56..60].copy_from_slice(&attributes.to_le_bytes());
        bytes[60..64].copy_from_slice(&(name.len() as u32).to_le_bytes());
        bytes[68..72].copy_from_slice(&tag.to_le_bytes());
        bytes[72..88].copy_from_slice(&id.to_le_bytes());
        bytes.extend(name);
        bytes
    }

    #[test]
    fn a_folder_is_listed_up_to_its_last_entry() {
        let mut bytes = entry(96, 0x10, 0, 7, "dir");
        bytes.resize(96, 0xee);
        bytes.extend(entry(0, 0x400, 0xa000_001d, 1 << 100, "link"));
        bytes.extend([0xee; 32]);
        let all: Vec<Listed> = listed(&bytes, Layout::Long).collect();
        let wide = |name: &str| name.encode_utf16().collect::<Vec<u16>>();
        assert_eq!(
            all,
            [
                Listed { name: wide("dir"), id: 7, kind: Kind::Folder },
                Listed { name: wide("link"), id: 1 << 100, kind: Kind::Link },
            ]
        );
    }

    #[test]
    fn a_shorter_entry_says_the_same() {
        let mut bytes = vec![0; 104];
        bytes[56..60].copy_from_slice(&0x410_u32.to_le_bytes());
        bytes[60..64].copy_from_slice(&4_u32.to_le_bytes());
        bytes[64..68].copy_from_slice(&0xa000_0003_u32.to_le_bytes());
        // Its short name is not taken for anything else.
        bytes[68..94].fill(0xee);
        bytes[96..104].copy_from_slice(&(7_u64 << 40).to_le_bytes());
        bytes.extend("ab".encode_utf16().flat_map(u16::to_le_bytes));
        let all: Vec<Listed> = listed(&bytes, Layout::Short).collect();
        assert_eq!(all, [Listed { name: "ab".encode_utf16().collect(), id: 7 << 40, kind: Kind::Link }]);
        assert_eq!(listed(&bytes[..107], Layout::Short).count(), 0, "cut short");
    }

    #[test]
    fn a_tag_counts_only_of_a_reparse_point() {
        assert_eq!(kind_of(0x20, 0xa000_000c), Kind::File);
        assert_eq!(kind_of(0x410, 0xa000_0003), Kind::Link, "a junction");
        assert_eq!(kind_of(0x400, 0x9000_001a), Kind::File, "in the cloud");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_go_on_for_ever(bytes: Vec<u8>, next in 0..64u32) {
            let bytes = [&next.to_le_bytes()[..], &bytes].concat();
            prop_assert!(listed(&bytes, Layout::Long).count() <= bytes.len());
            prop_assert!(listed(&bytes, Layout::Short).count() <= bytes.len());
            prop_assert!(streams(&bytes).count() <= bytes.len());
        }
    }
}
