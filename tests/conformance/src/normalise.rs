//! What may differ between two runs of a case, and nothing else: ids, times, addresses, and numbers under a few keys become
//! placeholders. Ids are numbered in the order in which the case sees them, so that "the same id again" stays visible.

/// JSON keys whose value is a matter of the moment: clocks, processes, counters of the whole engine.
const VOLATILE: &[&str] = &[
    "time",
    "timeNano",
    "Created",
    "Pid",
    "Index",
    "NGoroutines",
    "NFd",
    "NEventsListener",
    "Containers",
    "ContainersRunning",
    "ContainersPaused",
    "ContainersStopped",
    "Images",
    "LayersSize",
    "SandboxKey",
    "MemTotal",
];

/// Addresses that begin so were chosen by a case and are kept.
const OWN_ADDRESSES: &[&str] = &["10.123.", "127.", "0.0.0.0", "255."];

/// The rules with what one case has seen so far.
#[derive(Default)]
pub struct Normaliser {
    ids: Vec<String>,
    keys: Vec<String>,
    words: Vec<(String, String)>,
}

impl Normaliser {
    /// Shows `word` as `placeholder` from now on: for names that the engine makes up.
    pub fn hide(&mut self, word: &str, placeholder: &str) {
        self.words.push((word.to_owned(), placeholder.to_owned()));
    }

    /// Applies all rules.
    pub fn text(&mut self, raw: &str) -> String {
        let mut raw = raw.to_owned();
        for (word, placeholder) in &self.words {
            raw = raw.replace(word, placeholder);
        }
        let mut out = String::with_capacity(raw.len());
        let mut rest = raw.as_str();
        let mut before = ' ';
        while let Some(first) = rest.chars().next() {
            let step = self.token(rest, before);
            let (length, shown) = step.unwrap_or((first.len_utf8(), None));
            let (token, after) = rest.split_at(length);
            out.push_str(shown.as_deref().unwrap_or(token));
            before = token.chars().next_back().unwrap_or(before);
            rest = after;
        }
        out
    }

    /// The length of the token at the start of `rest` and what is shown for it, when that is more than one character.
    fn token(&mut self, rest: &str, before: char) -> Option<(usize, Option<String>)> {
        if rest.starts_with('"') {
            return keyed(rest);
        }
        if before.is_ascii_alphanumeric() || !rest.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return None;
        }
        if let Some(length) = time(rest) {
            let kept = rest.starts_with("0001-01-01T00:00:00Z");
            return Some((length, (!kept).then(|| "<time>".to_owned())));
        }
        for (length, placeholder) in [(uuid(rest), "<uuid>"), (hardware_address(rest), "<mac>")] {
            if let Some(length) = length {
                return Some((length, Some(placeholder.to_owned())));
            }
        }
        if let Some(length) = address(rest) {
            if OWN_ADDRESSES.iter().any(|start| rest.starts_with(start)) {
                return Some((length, None));
            }
            // dockerd's own pool has networks of two sizes, and which one is next depends on what was made before.
            let size = ["/16", "/20"]
                .into_iter()
                .find(|size| rest[length..].starts_with(size) && ends_there(rest, length + 3));
            return Some(match size {
                Some(size) => (length + size.len(), Some("<address>/<pool>".to_owned())),
                None => (length, Some("<address>".to_owned())),
            });
        }
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        Some((length, self.word(&rest[..length], before)))
    }

    /// A placeholder for a whole word, if it is an id.
    fn word(&mut self, word: &str, before: char) -> Option<String> {
        let all = |test: fn(&u8) -> bool| word.bytes().all(|byte| test(&byte));
        let hex = all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let lower = all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z'));
        // A bare JSON number may have twelve digits, too.
        let number = all(u8::is_ascii_digit) && matches!(before, ':' | ',' | '[' | '=');
        match word.len() {
            // What Go appends to the names of temporary files.
            8..=10 if before == '-' && all(u8::is_ascii_digit) => Some("<number>".to_owned()),
            64 if hex => Some(format!("<id{}>", position(&mut self.ids, word))),
            12 if hex && !number => Some(format!("<short{}>", position(&mut self.ids, word))),
            50 if lower => Some("<token>".to_owned()),
            25 if lower && word.bytes().any(|b| b.is_ascii_digit()) => {
                Some(format!("<key{}>", position(&mut self.keys, word)))
            }
            _ => None,
        }
    }
}

/// The number, from 1, of the first known word that is the same or begins the same; a new one gets the next number.
fn position(known: &mut Vec<String>, word: &str) -> usize {
    let found = known.iter().position(|old| old.starts_with(word) || word.starts_with(old.as_str()));
    found.unwrap_or_else(|| {
        known.push(word.to_owned());
        known.len() - 1
    }) + 1
}

/// `"key":value` for volatile keys, and the ages in `"Status":"Up 3 seconds"`.
fn keyed(rest: &str) -> Option<(usize, Option<String>)> {
    let (key, value) = rest[1..].split_once("\":")?;
    let start = rest.len() - value.len();
    if key == "Status" {
        let text = value.strip_prefix('"')?;
        let text = &text[..text.find('"')?];
        let kept = match text.split_once(") ") {
            Some((code, _)) if text.starts_with("Exited (") => format!("{code})"),
            _ if text.starts_with("Up ") => "Up".to_owned(),
            _ => return None,
        };
        return Some((start + text.len() + 2, Some(format!("\"Status\":\"{kept} <ago>\""))));
    }
    if !VOLATILE.contains(&key) {
        return None;
    }
    let length = match value.strip_prefix('"') {
        Some(text) => text.find('"')? + 2,
        None => value.find(|c: char| !c.is_ascii_digit() && c != '-' && c != '.').unwrap_or(value.len()),
    };
    // A list says something, and so do "no process" and "never"; a count of things is chance even when it is zero.
    let plain = &value[..length];
    let kept = plain.is_empty() || matches!((key, plain), ("Pid" | "Created", "0") | ("SandboxKey", "\"\""));
    Some((start + length, (!kept).then(|| format!("\"{key}\":<volatile>"))))
}

/// `2006-01-02T15:04:05`, with an optional fraction and zone; also with a space for the T.
fn time(text: &str) -> Option<usize> {
    let length = matching(text, "dddd-dd-ddTdd:dd:dd").or_else(|| matching(text, "dddd-dd-dd dd:dd:dd"))?;
    let mut rest = &text[length..];
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    for zone in ["Z", " +0000 UTC", "+dd:dd", "-dd:dd"] {
        if let Some(length) = matching(rest, zone) {
            rest = &rest[length..];
            break;
        }
    }
    Some(text.len() - rest.len())
}

fn uuid(text: &str) -> Option<usize> {
    matching(text, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh").filter(|length| ends_there(text, *length))
}

fn hardware_address(text: &str) -> Option<usize> {
    matching(text, "hh:hh:hh:hh:hh:hh").filter(|length| ends_there(text, *length))
}

/// Four numbers, and no version: the word ends behind them.
fn address(text: &str) -> Option<usize> {
    let length = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let parts: Vec<&str> = text[..length].split('.').collect();
    let fits = |part: &&str| (1..=3).contains(&part.len()) && part.parse::<u16>().is_ok_and(|number| number < 256);
    (parts.len() == 4 && parts.iter().all(fits) && ends_there(text, length)).then_some(length)
}

fn ends_there(text: &str, length: usize) -> bool {
    !text[length..].starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Whether `text` begins like `pattern`, where d is a digit and h a lower-case hexadecimal digit.
fn matching(text: &str, pattern: &str) -> Option<usize> {
    let mut bytes = text.bytes();
    let fits = pattern.bytes().all(|wanted| {
        bytes.next().is_some_and(|byte| match wanted {
            b'd' => byte.is_ascii_digit(),
            b'h' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            _ => byte == wanted,
        })
    });
    fits.then_some(pattern.len())
}

#[cfg(test)]
mod tests {
    use super::Normaliser;

    #[test]
    fn volatile_values_become_placeholders_and_the_rest_stays() {
        let long = "0123456789abcdef".repeat(4);
        for (raw, shown) in [
            (format!("\"Id\":\"{long}\",\"Host\":\"{}\"", &long[..12]), "\"Id\":\"<id1>\",\"Host\":\"<short1>\""),
            (format!("sha256:{long} in 0ab0ab0ab0ab"), "sha256:<id1> in <short2>"),
            ("Running in 851387907758\n".to_owned(), "Running in <short1>\n"),
            ("\"Memory\":123456789012".to_owned(), "\"Memory\":123456789012"),
            ("\"Created\":1700000000,\"Pid\":0".to_owned(), "\"Created\":<volatile>,\"Pid\":0"),
            ("2026-11-24T01:02:03.4567Z 0001-01-01T00:00:00Z".to_owned(), "<time> 0001-01-01T00:00:00Z"),
            (
                "172.17.0.3/16 192.168.16.0/20 10.123.0.1/16 26.1.5".to_owned(),
                "<address>/<pool> <address>/<pool> 10.123.0.1/16 26.1.5",
            ),
            ("172.17.0.3/24 172.17.0.3/160".to_owned(), "<address>/24 <address>/160"),
            ("02:42:ac:11:00:02".to_owned(), "<mac>"),
            ("{\"Status\":\"Exited (3) 2 seconds ago\"}".to_owned(), "{\"Status\":\"Exited (3) <ago>\"}"),
            ("{\"Status\":\"Up Less than a second\"}".to_owned(), "{\"Status\":\"Up <ago>\"}"),
            ("/tmp/docker-import-3536194931/x".to_owned(), "/tmp/docker-import-<number>/x"),
            ("überall".to_owned(), "überall"),
        ] {
            assert_eq!(Normaliser::default().text(&raw), shown);
        }
    }

    #[test]
    fn ids_keep_their_identity() {
        let (one, two) = ("a1".repeat(32), "b2".repeat(32));
        let mut rules = Normaliser::default();
        rules.hide("brave_turing", "<name>");
        assert_eq!(rules.text(&format!("{one} {two} {one} brave_turing")), "<id1> <id2> <id1> <name>");
    }
}
