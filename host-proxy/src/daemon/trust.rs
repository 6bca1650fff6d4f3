//! Whom the guest's dockerd trusts: the root certificates of this computer and those in the user's `ca_certificates`, as PEM
//! text for the agent. Called by `lifecycle` for each start, and by `lighter start` and `doctor` to look at the files.
//!
//! The guest image has Mozilla's roots of its own and keeps them beside these: a Windows knows only roots that it has met.
//! A certificate that cannot be one is left out with a warning; dockerd, too, skips what it cannot read.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Longest file that is read, in bytes.
const LONGEST_FILE: u64 = 1 << 20;
/// Longest certificate in bytes of DER; a usual one has one to two thousand.
const LONGEST_CERTIFICATE: usize = 48 << 10;
/// Most PEM text in bytes that a guest gets, six times what a usual system trusts.
const MOST: usize = 3 << 19;

/// Why there is no trust to give.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Cannot be read.
    #[error("Cannot read {path}, which `ca_certificates` in config.toml names: make it readable, or take it out there")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No certificate in it.
    #[error(
        "{0}, which `ca_certificates` in config.toml names, holds no certificate: it must be in PEM form \
         (`-----BEGIN CERTIFICATE-----`) or one certificate in DER form"
    )]
    Empty(PathBuf),
    /// Too large.
    #[error(
        "The files that `ca_certificates` in config.toml names hold more than {} KiB of certificates: name only roots of your own, \
         because those of this computer are trusted anyway", MOST >> 10
    )]
    TooMuch,
}

/// Certificates for the guest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Each as PEM text.
    pub pem: Vec<String>,
    /// What was left out, for people.
    pub warnings: Vec<String>,
}

/// This computer's trust, and that of `files`. Blocks for some milliseconds.
pub fn gather(files: &[PathBuf]) -> Result<Trust, TrustError> {
    let mut trust = of_files(files)?;
    let native = rustls_native_certs::load_native_certs();
    if let Some(error) = native.errors.first() {
        trust.warnings.push(format!("Some of this computer's root certificates cannot be read: {error}"));
    }
    if native.certs.is_empty() {
        trust.warnings.push("This computer has no root certificates: the guest image's own are used".to_owned());
    }
    add(&mut trust, native.certs.iter().map(AsRef::as_ref));
    Ok(trust)
}

/// The certificates in `files` alone.
pub fn of_files(files: &[PathBuf]) -> Result<Trust, TrustError> {
    let mut trust = Trust::default();
    for path in files {
        let bytes = read(path).map_err(|source| TrustError::Unreadable { path: path.clone(), source })?;
        let before = trust.pem.len();
        let (found, broken) = certificates(&bytes);
        let found: Vec<&[u8]> = found.iter().map(Vec::as_slice).collect();
        let (good, odd): (Vec<&[u8]>, Vec<&[u8]>) = found.into_iter().partition(|der| is_certificate(der));
        if broken + odd.len() > 0 && !good.is_empty() {
            let count = broken + odd.len();
            trust
                .warnings
                .push(format!("{count} of the certificates in {} cannot be read and are left out", path.display()));
        }
        let all = good.len();
        if add(&mut trust, good.into_iter()) > 0 {
            return Err(TrustError::TooMuch);
        }
        if all == 0 {
            return Err(TrustError::Empty(path.clone()));
        }
        tracing::debug!(path = %path.display(), count = trust.pem.len() - before, "root certificates of the user's");
    }
    Ok(trust)
}

/// Adds what is a certificate, is not there yet, and has room; how many had none.
fn add<'a>(trust: &mut Trust, certificates: impl Iterator<Item = &'a [u8]>) -> usize {
    let mut room = MOST - trust.pem.iter().map(String::len).sum::<usize>().min(MOST);
    let mut known: BTreeSet<String> = trust.pem.iter().cloned().collect();
    let (mut odd, mut late) = (0, 0);
    for der in certificates {
        if !is_certificate(der) {
            odd += 1;
            continue;
        }
        let pem = pem(der);
        if known.contains(&pem) {
            continue;
        }
        match room.checked_sub(pem.len()) {
            Some(left) => {
                room = left;
                known.insert(pem.clone());
                trust.pem.push(pem);
            }
            None => late += 1,
        }
    }
    if odd > 0 {
        trust.warnings.push(format!("{odd} of this computer's root certificates are none and are left out"));
    }
    if late > 0 {
        let limit = MOST >> 10;
        trust
            .warnings
            .push(format!("{late} root certificates are left out, because the guest takes {limit} KiB of them"));
    }
    late
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Asked before it is opened: opening a named pipe would wait for a writer.
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if about.len() > LONGEST_FILE {
        return Err(io::Error::other(format!("it is longer than {} KiB", LONGEST_FILE >> 10)));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The certificates in a file of either form, and how many sections of PEM could not be read.
fn certificates(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
    if is_certificate(bytes) {
        return (vec![bytes.to_vec()], 0);
    }
    let (mut found, mut broken) = (Vec::new(), 0);
    // Each section by itself: one that is broken must not take the next with it.
    let text = String::from_utf8_lossy(bytes);
    for section in
        text.split_inclusive("-----END CERTIFICATE-----").filter(|part| part.contains("BEGIN CERTIFICATE-----"))
    {
        let start = section.rfind("-----BEGIN CERTIFICATE-----").unwrap_or_default();
        broken += section.matches("-----BEGIN CERTIFICATE-----").count().saturating_sub(1);
        match CertificateDer::from_pem_slice(&section.as_bytes()[start..]) {
            Ok(der) => found.push(der.to_vec()),
            Err(_) => broken += 1,
        }
    }
    (found, broken)
}

/// Whether this may be a certificate (X.509, RFC 5280 §4.1): one DER sequence, exactly as long as it says, that begins with
/// another one. Signatures and names are dockerd's affair.
fn is_certificate(der: &[u8]) -> bool {
    let Some(([0x30, first], rest)) = der.split_first_chunk::<2>() else { return false };
    let count = usize::from(first.wrapping_sub(0x80));
    // A certificate is longer than the 127 bytes that need no count of length bytes.
    if !(1..=3).contains(&count) || rest.len() < count || der.len() > LONGEST_CERTIFICATE {
        return false;
    }
    let (length, body) = rest.split_at(count);
    let length = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
    body.len() == length && body.first() == Some(&0x30)
}

/// RFC 7468: base64 in lines of 64 letters between two marks.
fn pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    // 48 bytes are 64 letters.
    for line in der.chunks(48) {
        line.chunks(3).for_each(|three| text.push_str(&base64(three)));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// One to three bytes as four letters (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let word = (0..3).fold(0_usize, |word, at| word << 8 | usize::from(bytes.get(at).copied().unwrap_or_default()));
    let letter = |at: usize| char::from(LETTERS[word >> (18 - 6 * at) & 63]);
    (0..4).map(|at| if at <= bytes.len() { letter(at) } else { '=' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has the shape of a certificate, filled with `byte`.
    fn der(byte: u8, length: usize) -> Vec<u8> {
        let mut der = vec![0x30, 0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8, 0x30];
        der.resize(length + 5, byte);
        der
    }

    fn file(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn c9_pem_text_is_what_everybody_reads() {
        for length in 200..210 {
            let der = der(0xa5, length);
            let text = pem(&der);
            assert_eq!(CertificateDer::from_pem_slice(text.as_bytes()).unwrap().as_ref(), der);
            assert!(text.lines().all(|line| line.len() <= 64));
        }
    }

    #[test]
    fn c3_certificates_are_taken_from_both_forms_and_malformed_ones_left_out_with_a_word() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (pem(&der(1, 300)), pem(&der(2, 300)));
        let broken = "-----BEGIN CERTIFICATE-----\n!!!not base64!!!\n-----END CERTIFICATE-----\n";
        let cut = "-----BEGIN CERTIFICATE-----\nMIIB\n";
        let short = pem(&[0x30, 0x82, 0x01, 0x00, 0x30]);
        let text = format!("Corp root\n{one}{broken}{cut}{short}\r\n{}", two.replace('\n', "\r\n"));
        let bundle = file(dir.path(), "bundle.pem", text.as_bytes());
        let binary = file(dir.path(), "root.cer", &der(3, 300));
        let trust = of_files(&[bundle.clone(), binary, bundle]).unwrap();
        assert_eq!(trust.pem, [one, two, pem(&der(3, 300))]);
        assert!(trust.warnings[0].starts_with("3 of the certificates in"), "{:?}", trust.warnings);
    }

    #[test]
    fn c3_files_that_are_of_no_use_are_named_with_a_cure() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(100 << 20).unwrap();
        let key = file(dir.path(), "key.pem", b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n");
        for (path, words) in [
            (dir.path().join("missing.pem"), "make it readable, or take it out there"),
            (dir.path().to_owned(), "not a regular file"),
            (large, "longer than 1024 KiB"),
            (file(dir.path(), "empty.pem", b""), "must be in PEM form"),
            (key, "must be in PEM form"),
            (file(dir.path(), "binary", &[0x30; 500]), "must be in PEM form"),
        ] {
            let message = crate::daemon::fault::chain(&of_files(std::slice::from_ref(&path)).unwrap_err());
            assert!(message.contains(words) && message.contains(&*path.to_string_lossy()), "{message}");
        }
    }

    #[test]
    fn c3_more_than_a_guest_takes_is_refused_of_the_user_and_cut_of_the_system() {
        let dir = tempfile::tempdir().unwrap();
        let many: Vec<Vec<u8>> = (0..40_u8).map(|byte| der(byte, 40_000)).collect();
        let text: String = many[..15].iter().map(|der| pem(der)).collect();
        let files: Vec<PathBuf> = [(0, 15), (15, 30), (30, 40)]
            .map(|(from, to)| {
                file(
                    dir.path(),
                    &format!("{from}"),
                    many[from..to].iter().map(|der| pem(der)).collect::<String>().as_bytes(),
                )
            })
            .into();
        assert!(text.len() < LONGEST_FILE as usize);
        assert!(matches!(of_files(&files), Err(TrustError::TooMuch)));
        let mut trust = of_files(&files[..1]).unwrap();
        let late = add(&mut trust, many.iter().map(Vec::as_slice));
        assert!(late > 0 && trust.pem.iter().map(String::len).sum::<usize>() <= MOST);
        assert!(trust.warnings[0].contains("are left out"), "{:?}", trust.warnings);
        let frames = lighter_protocol::engine::frames_of(&trust.pem);
        assert!(frames.len() <= lighter_protocol::engine::MOST_CERTIFICATE_FRAMES as usize);
        assert!(frames.iter().all(|frame| lighter_protocol::wire::encode(frame).is_ok()));
    }

    #[test]
    fn c3_what_is_no_certificate_is_known_by_its_first_bytes() {
        assert!(is_certificate(&der(0, 300)));
        for odd in [
            vec![],
            vec![0x30],
            vec![0x30, 0x82],
            vec![0x30, 0x80, 0x30],
            vec![0x30, 0x03, 0x30, 0x01, 0x00],
            der(0, 60_000),
        ] {
            assert!(!is_certificate(&odd), "{odd:x?}");
        }
        let mut longer = der(0, 300);
        longer.push(0);
        assert!(!is_certificate(&longer));
    }
}
