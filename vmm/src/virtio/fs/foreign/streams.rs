//! Extended attributes on NTFS: each is a stream of its file beside the content. NTFS has extended attributes, too, but their
//! names are upper case and all values of a file together 64 KiB; a stream is as long as it likes and is copied with the file.

use crate::virtio::fs::errno::Errno;

/// Before each name, so that streams of other programs are never taken for attributes.
const PREFIX: &str = ":lighter.xattr.";
/// Behind each name in a list of streams.
const TYPE: &str = ":$DATA";
/// Longest name of a stream in units of UTF-16, the colon aside.
const LONGEST: usize = 255;

/// The stream of an attribute. Streams whose names differ in case only are one, and some characters may not be in a name: so all
/// but lower case, digits and three marks are written as `%` and two digits.
///
/// # Errors
/// `ERANGE` if that is too long, as Linux says of long names of attributes.
pub fn stream_name(attribute: &[u8]) -> Result<Vec<u16>, Errno> {
    let mut name = PREFIX.to_owned();
    for &byte in attribute {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > LONGEST + 1 { Err(Errno::RANGE) } else { Ok(name.encode_utf16().collect()) }
}

/// The attribute that a stream in a list is; `None` for one that is none.
pub fn attribute_name(stream: &[u16]) -> Option<Vec<u8>> {
    let name = String::from_utf16(stream).ok()?;
    let name = name.strip_prefix(PREFIX)?.strip_suffix(TYPE)?;
    let mut parts = name.split('%');
    let mut attribute = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, plain) = part.split_at_checked(2)?;
        attribute.push(u8::from_str_radix(digits, 16).ok()?);
        attribute.extend(plain.as_bytes());
    }
    // Nothing but what this file wrote is read.
    let stored = stream_name(&attribute).ok()?;
    (stored == stream[..stream.len() - TYPE.len()]).then_some(attribute)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn names_that_differ_in_case_are_two_streams() {
        assert_eq!(stream_name(b"user.a"), Ok(wide(":lighter.xattr.user.a")));
        assert_eq!(stream_name(b"user.A:/"), Ok(wide(":lighter.xattr.user.%41%3a%2f")));
        assert_eq!(stream_name(&[b'A'; 100]), Err(Errno::RANGE));
    }

    #[test]
    fn streams_of_others_are_no_attributes() {
        for other in ["::$DATA", ":Zone.Identifier:$DATA", ":lighter.xattr.user.a", ":lighter.xattr.%4:$DATA"] {
            assert_eq!(attribute_name(&wide(other)), None, "{other}");
        }
        assert_eq!(attribute_name(&wide(":lighter.xattr.%61:$DATA")), None, "not as it is written");
    }

    proptest! {
        #[test]
        fn what_is_stored_is_read_back(attribute in prop::collection::vec(any::<u8>(), 1..80)) {
            let mut stream = stream_name(&attribute).expect("short");
            stream.extend(wide(TYPE));
            prop_assert_eq!(attribute_name(&stream), Some(attribute));
        }

        #[test]
        fn no_stream_makes_it_panic(name in "(:lighter.xattr.)?[a-z%0-9é]{0,9}(:.DATA)?") {
            let _ = attribute_name(&wide(&name));
        }
    }
}
