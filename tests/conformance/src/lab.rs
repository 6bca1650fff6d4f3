//! What a case works with: questions, a transcript, and a list of what to take away at its end. `main` makes one for each case.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::ask::{Ask, Show, escaped};
use crate::normalise::Normaliser;
use crate::reply::{Head, Reply};
use crate::wire::Wire;
use crate::world::World;

/// What a head in the transcript says of its body's length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// What it says.
    Exact,
    /// Only how it is delimited: parts of the body are volatile.
    Volatile,
    /// Nothing: Go's server takes chunks for bodies beyond 2 KiB, and which side of that a measurement is on is chance.
    Hidden,
}

/// One case at work.
pub struct Lab<'w> {
    /// The socket, the image and what cases share.
    pub world: &'w World,
    rules: Normaliser,
    lines: Vec<String>,
    later: Vec<(&'static str, String)>,
}

impl<'w> Lab<'w> {
    /// An empty transcript.
    pub fn new(world: &'w World) -> Self {
        Self { world, rules: Normaliser::default(), lines: Vec::new(), later: Vec::new() }
    }

    /// Takes away what the case left, and tells whether all went well.
    pub fn finish(&mut self, outcome: Result<()>) -> Result<()> {
        let mut result = outcome;
        while let Some((method, path)) = self.later.pop() {
            let reply = self.world.request(method, &path, None);
            let cleaned = reply.and_then(|reply| {
                ensure!(reply.head.status < 500, "{method} {path}: {} {}", reply.head.line, reply.text().trim());
                Ok(())
            });
            result = result.and(cleaned.context("taking away what the case made"));
        }
        result
    }

    /// The transcript.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// A new connection.
    pub fn connect(&self) -> Result<Wire> {
        self.world.connect()
    }

    /// A question.
    pub fn ask(&mut self, method: &str, path: &str) -> Ask<'_, 'w> {
        Ask::new(self, method, path)
    }

    /// GET.
    pub fn get(&mut self, path: &str) -> Ask<'_, 'w> {
        self.ask("GET", path)
    }

    /// POST.
    pub fn post(&mut self, path: &str) -> Ask<'_, 'w> {
        self.ask("POST", path)
    }

    /// DELETE.
    pub fn delete(&mut self, path: &str) -> Ask<'_, 'w> {
        self.ask("DELETE", path)
    }

    /// Asks for this when the case is over, whatever became of it; "not found" is as good as done.
    pub fn later(&mut self, method: &'static str, path: impl Into<String>) {
        self.later.push((method, path.into()));
    }

    /// Shows a word that the engine made up as a placeholder.
    pub fn hide(&mut self, word: &str, placeholder: &str) {
        self.rules.hide(word, placeholder);
    }

    /// Writes a line into the transcript; control characters are shown, a line feed also ends the line.
    pub fn note(&mut self, text: &str) {
        let text = self.rules.text(text);
        for line in text.split_inclusive('\n') {
            let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
            self.lines.push(line.chars().map(shown).collect());
        }
    }

    /// Writes bytes with a name into the transcript.
    pub fn note_bytes(&mut self, name: &str, bytes: &[u8]) {
        self.note(&format!("< {name}: {}", String::from_utf8_lossy(bytes)));
    }

    /// Writes a head into the transcript.
    pub fn note_head(&mut self, head: &Head, length: Length) {
        self.note(&format!("< {}", head.line));
        for field in &head.fields {
            let name = field.split(':').next().unwrap_or_default().to_ascii_lowercase();
            match (name.as_str(), length) {
                ("date", _) | ("content-length" | "transfer-encoding", Length::Hidden) => {}
                ("content-length", Length::Volatile) => self.note("< Content-Length: <length>"),
                _ => self.note(&format!("< {field}")),
            }
        }
    }

    /// Writes an answer into the transcript.
    pub fn note_reply(&mut self, reply: &Reply, show: Show) {
        let text = reply.text();
        let shown = match show {
            Show::Exact => text.clone(),
            Show::Sorted => reply.json().map_or_else(|error| error.to_string(), |value| sorted(value).to_string()),
            Show::Shape => reply.json_lines().map_or_else(|error| error.to_string(), |all| shape(&Value::Array(all))),
            Show::Head => String::new(),
        };
        let length = match show {
            Show::Exact if Normaliser::default().text(&text) == text => Length::Exact,
            Show::Exact => Length::Volatile,
            _ => Length::Hidden,
        };
        self.note_head(&reply.head, length);
        if !shown.is_empty() {
            self.note(&format!("< {shown}"));
        }
    }

    /// Makes a container that goes away with the case; not recorded. Cases with something to say about creation ask themselves.
    pub fn create(&mut self, name: &str, config: &Value) -> Result<String> {
        let id = self.world.create(name, config)?;
        self.later("DELETE", format!("/containers/{id}?force=1&v=1"));
        Ok(id)
    }

    /// Makes and starts a container that runs `script` in a shell and goes away with the case; not recorded.
    pub fn run(&mut self, name: &str, script: &str) -> Result<String> {
        let image = self.image();
        self.run_with(
            name,
            &json!({ "Image": image, "Cmd": ["sh", "-c", script], "HostConfig": { "NetworkMode": "none" } }),
        )
    }

    /// Makes and starts a container.
    pub fn run_with(&mut self, name: &str, config: &Value) -> Result<String> {
        let id = self.create(name, config)?;
        self.quiet("POST", &format!("/containers/{id}/start"), None, 204)?;
        Ok(id)
    }

    /// Asks without recording, and insists on a status.
    pub fn quiet(&mut self, method: &str, path: &str, body: Option<&Value>, status: u16) -> Result<Reply> {
        let reply = self.world.request(method, path, body)?;
        ensure!(reply.head.status == status, "{method} {path}: {} {}", reply.head.line, reply.text().trim());
        Ok(reply)
    }

    /// Waits for a container's end; its exit code. Not recorded.
    pub fn wait(&mut self, name: &str) -> Result<i64> {
        let reply = self.quiet("POST", &format!("/containers/{name}/wait"), None, 200)?;
        reply.json()?["StatusCode"].as_i64().context("wait gave no StatusCode")
    }

    /// The busybox image that the rig imported.
    pub fn image(&self) -> String {
        self.world.image.clone()
    }

    /// A container that runs for as long as the suite does and that cases share; they change nothing in it but their own files.
    pub fn idler(&mut self) -> Result<&'static str> {
        self.world.idler()
    }
}

/// A `filters` parameter.
pub fn filters(filters: &Value) -> String {
    format!("filters={}", escaped(&filters.to_string()))
}

/// Sorts every list in a value, by what it says but for ids and the like.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(sorted).collect();
            items.sort_by_cached_key(|item| Normaliser::default().text(&item.to_string()));
            Value::Array(items)
        }
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect()),
        plain => plain,
    }
}

/// Keys and types; a list shows each shape that occurs in it once.
pub fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(items) => {
            let mut shapes: Vec<String> = items.iter().map(shape).collect();
            shapes.sort();
            shapes.dedup();
            format!("[{}]", shapes.join(" | "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}: {}", shape(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}
