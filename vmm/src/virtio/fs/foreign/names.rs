//! Names of files on Windows. What may stand in a name on Linux and not there stands there as a character of the private use
//! area, U+F000 and its byte, as Windows' own subsystem for Linux writes it: so both show the same name to their containers.
//!
//! The mapping goes both ways without loss and without two names meeting: a name in the private use area that this mapping did
//! not make is shown as it is, and a name of the guest's that reads like one that the mapping makes is refused.

use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::name::Name;

/// Longest name on Windows' file systems, in units of UTF-16.
const LONGEST: usize = 255;
/// Where the bytes that may not stand in a name are moved to.
const AWAY: u16 = 0xf000;
/// What no name may hold there, apart from control characters.
const FORBIDDEN: &[u8] = b"<>:\"|?*\\";
/// Names of devices, with whatever ending. Of the ports there are ten each.
const DEVICES: &[&[u8]] = &[b"CON", b"PRN", b"AUX", b"NUL", b"CONIN$", b"CONOUT$"];

/// A name of the guest's as Windows is to store it.
///
/// # Errors
/// `EINVAL` for what is no UTF-8, which no name there can hold, and for the image of another name; `ENAMETOOLONG`.
pub fn to_wide(name: Name) -> Result<Vec<u16>, Errno> {
    let text = std::str::from_utf8(name.bytes()).map_err(|_| Errno::INVAL)?;
    let mut wide: Vec<u16> = text.encode_utf16().collect();
    for unit in &mut wide {
        if is_forbidden(*unit) {
            *unit |= AWAY;
        }
    }
    // Windows drops them from the end of a name, as if they had not been written.
    if let Some(last) = wide.last_mut().filter(|last| [u16::from(b'.'), u16::from(b' ')].contains(last)) {
        *last |= AWAY;
    }
    if is_device(name.bytes()) {
        wide[0] |= AWAY;
    }
    if from_wide(&wide).as_deref() != Some(name.bytes()) {
        return Err(Errno::INVAL);
    }
    if wide.len() > LONGEST { Err(Errno::NAMETOOLONG) } else { Ok(wide) }
}

/// A name of Windows' as the guest is to see it; `None` for what cannot be told: half of a character, or too long.
pub fn from_wide(wide: &[u16]) -> Option<Vec<u8>> {
    let back: Vec<u16> = wide.iter().map(|&unit| if is_image(unit) { unit - AWAY } else { unit }).collect();
    if back != wide
        && let Ok(text) = String::from_utf16(&back)
        && let Ok(name) = Name::new(text.as_bytes())
        && is_canonical(wide, name.bytes())
    {
        return Some(text.into_bytes());
    }
    let text = String::from_utf16(wide).ok()?;
    Name::new(text.as_bytes()).is_ok().then(|| text.into_bytes())
}

/// Whether `wide` is what `name` is stored as, which it was read from: what is away has to be, and nothing else is.
fn is_canonical(wide: &[u16], name: &[u8]) -> bool {
    let last = wide.len() - 1;
    let device = is_device(name);
    wide.iter().enumerate().all(|(place, &unit)| {
        let plain = if is_image(unit) { unit - AWAY } else { unit };
        let at_end = place == last && (plain == u16::from(b'.') || plain == u16::from(b' '));
        let has_to_be_away = is_forbidden(plain) || at_end || (place == 0 && device);
        has_to_be_away == is_image(unit)
    })
}

fn is_forbidden(unit: u16) -> bool {
    u8::try_from(unit).is_ok_and(|byte| byte < 0x20 || FORBIDDEN.contains(&byte))
}

fn is_image(unit: u16) -> bool {
    (AWAY + 1..AWAY + 0x80).contains(&unit)
}

/// Whether Windows takes the name for a device's, which it does whatever stands behind the first dot.
fn is_device(name: &[u8]) -> bool {
    let stem = name.split(|&byte| byte == b'.').next().unwrap_or_default().trim_ascii_end();
    if DEVICES.iter().any(|device| stem.eq_ignore_ascii_case(device)) {
        return true;
    }
    let Some((port, number)) = stem.split_at_checked(3) else { return false };
    let ports = port.eq_ignore_ascii_case(b"COM") || port.eq_ignore_ascii_case(b"LPT");
    // The raised digits of Latin-1 count, too.
    ports && (matches!(number, [b'0'..=b'9']) || ["¹", "²", "³"].iter().any(|digit| digit.as_bytes() == number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(name: &[u8]) -> Result<String, Errno> {
        let wide = to_wide(Name::new(name).expect("a name"))?;
        Ok(String::from_utf16(&wide).expect("no half characters"))
    }

    #[test]
    fn f2_names_that_windows_refuses_are_stored_all_the_same() {
        for (name, there) in [
            ("plain", "plain"),
            ("Grüße 😀", "Grüße 😀"),
            ("a:b", "a\u{f03a}b"),
            ("a\\b", "a\u{f05c}b"),
            ("what?*", "what\u{f03f}\u{f02a}"),
            ("line\nbreak", "line\u{f00a}break"),
            ("trailing.", "trailing\u{f02e}"),
            ("trailing ", "trailing\u{f020}"),
            ("...", "..\u{f02e}"),
            (" ", "\u{f020}"),
            ("CON", "\u{f043}ON"),
            ("nul.txt", "\u{f06e}ul.txt"),
            ("com1", "\u{f063}om1"),
            ("COM10", "COM10"),
            ("console", "console"),
            (".con", ".con"),
        ] {
            assert_eq!(stored(name.as_bytes()).as_deref(), Ok(there), "{name:?}");
        }
    }

    #[test]
    fn f2_what_no_name_there_can_hold_is_refused() {
        assert_eq!(stored(b"\xff\xfe"), Err(Errno::INVAL));
        // It would meet `a:b`.
        assert_eq!(stored("a\u{f03a}b".as_bytes()), Err(Errno::INVAL));
    }

    #[test]
    fn a_foreign_name_of_the_private_use_area_is_shown_as_it_is() {
        for name in ["\u{f061}", "\u{f02f}", "\u{f02e}x", "x\u{f061}:", "\u{f02e}", "\u{f02e}\u{f02e}"] {
            let wide: Vec<u16> = name.encode_utf16().collect();
            assert_eq!(from_wide(&wide).as_deref(), Some(name.as_bytes()), "{name:?}");
        }
        assert_eq!(from_wide(&[0xd800]), None, "half a character");
    }

    proptest! {
        #[test]
        fn f2_what_is_stored_is_read_back_and_nothing_forbidden_is_stored(
            name in r#"[a-cA-CoOnN1. :<>"|?*\\\x01-\x1f\u{f001}-\u{f07f}é😀]{1,12}"#
        ) {
            let Ok(name) = Name::new(name.as_bytes()) else { return Ok(()) };
            let Ok(wide) = to_wide(name) else { return Ok(()) };
            prop_assert_eq!(from_wide(&wide), Some(name.bytes().to_vec()));
            prop_assert!(!wide.iter().any(|&unit| is_forbidden(unit) || unit == u16::from(b'/')));
            let last = *wide.last().expect("not empty");
            prop_assert!(last != u16::from(b'.') && last != u16::from(b' '));
            prop_assert!(!is_device(&String::from_utf16(&wide).expect("whole").into_bytes()));
        }

        #[test]
        fn f2_plain_names_are_all_taken(name in "[a-zA-Z0-9_.:? éß😀-]{1,40}") {
            if let Ok(name) = Name::new(name.as_bytes()) {
                prop_assert!(to_wide(name).is_ok());
            }
        }

        #[test]
        fn f2_a_host_name_leads_back_to_itself(wide in prop::collection::vec(
            prop_oneof![Just(0x2e), Just(0x20), Just(0x43), Just(0x4f), Just(0x4e), 0xf001..0xf080u16, 0x21..0x3000u16, any::<u16>()],
            1..12,
        )) {
            let legal = !wide.iter().any(|&unit| is_forbidden(unit) || unit == u16::from(b'/'));
            if let Some(name) = from_wide(&wide).filter(|_| legal) {
                let name = Name::new(&name).expect("a name");
                // Names that Windows' own interface cannot make either lead elsewhere or are refused, but never to another's.
                let ordinary = wide.last().is_some_and(|&last| last != 0x2e && last != 0x20) && !is_device(name.bytes());
                let back = to_wide(name);
                prop_assert!(back.as_ref() == Ok(&wide) || !ordinary || back.is_err() && wide.iter().any(|&u| is_image(u)));
            }
        }
    }
}
