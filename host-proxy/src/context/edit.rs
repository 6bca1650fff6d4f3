//! Changes one member of a JSON object and not a byte of the rest: the docker CLI's `config.json` holds other people's
//! settings, in their order and their layout. Called by `files`.
//!
//! The docker CLI, a Go program, does not mind the case of a member's name, and of several that differ only in case the
//! last one counts. So it is here.

use std::ops::Range;

/// Where a member of the outermost object stands in the text.
struct Member {
    /// From the key's quote to the end of the value.
    span: Range<usize>,
    value: Range<usize>,
}

/// `text`, which must be valid JSON with an object outside, with its member `key` saying `value`, or without it for
/// `None`; `None` if the text is no such thing.
pub fn set(text: &str, key: &str, value: Option<&str>) -> Option<String> {
    change(text, key, value.map(serde_json::Value::from).as_ref(), str::eq_ignore_ascii_case)
}

/// Like [`set`], in an object whose names are data, as those of a map are in Go: their case counts.
pub fn set_in_map(text: &str, key: &str, value: Option<&serde_json::Value>) -> Option<String> {
    change(text, key, value, |one, other| one == other)
}

fn change(
    text: &str,
    key: &str,
    value: Option<&serde_json::Value>,
    same: impl Fn(&str, &str) -> bool,
) -> Option<String> {
    let object: serde_json::Value = serde_json::from_str(text).ok()?;
    let empty = object.as_object()?.is_empty();
    let members = members(text)?;
    let json = value.map(serde_json::Value::to_string);
    let mut edited = text.to_owned();
    // The same is done to all of that name. From behind, so that spans stay right.
    let named = |member: &&Member| name(text, member).is_some_and(|name| same(&name, key));
    let found: Vec<&Member> = members.iter().filter(named).collect();
    match &json {
        Some(json) if found.is_empty() => {
            let at = text.find('{')? + 1;
            let indent: String = text[at..].chars().take_while(|c| c.is_whitespace()).collect();
            let comma = if empty { "" } else { "," };
            let (before, after) = if empty { ("\n\t", "\n") } else { (indent.as_str(), "") };
            let tail = if empty { text[at..].find('}')? + at } else { at };
            edited.replace_range(at..tail, &format!("{before}{}: {json}{comma}{after}", serde_json::Value::from(key)));
        }
        Some(json) => found.iter().rev().for_each(|member| edited.replace_range(member.value.clone(), json)),
        None => {
            for member in found.iter().rev() {
                edited = without(&edited, &member.span);
            }
        }
    }
    // The editor is not believed either.
    let now: serde_json::Value = serde_json::from_str(&edited).ok()?;
    let mut wanted = object;
    let fields = wanted.as_object_mut()?;
    let mut names: Vec<String> = fields.keys().filter(|name| same(name, key)).cloned().collect();
    if names.is_empty() {
        names.push(key.to_owned());
    }
    for name in names {
        match value {
            Some(value) => fields.insert(name, value.clone()),
            None => fields.remove(&name),
        };
    }
    (now == wanted).then_some(edited)
}

/// The value of the member `key` as the docker CLI reads it; `None` if there is none, or nothing but nulls.
pub fn get(text: &str, key: &str) -> Option<serde_json::Value> {
    let values = members(text)?.into_iter().filter(|member| is_named(text, member, key));
    let mut values = values.filter_map(|member| serde_json::from_str(text.get(member.value)?).ok());
    values.rfind(|value: &serde_json::Value| !value.is_null())
}

/// `text` with its member `key`, an object, changed by `change`, which gets that object's text; `None` if there is no such
/// object, or `change` does not know how.
pub fn inside(text: &str, key: &str, change: impl Fn(&str) -> Option<String>) -> Option<String> {
    serde_json::from_str::<serde_json::Value>(text).ok()?;
    let members = members(text)?;
    let member = members.iter().rfind(|member| is_named(text, member, key))?;
    let edited = change(text.get(member.value.clone())?)?;
    let mut whole = text.to_owned();
    whole.replace_range(member.value.clone(), &edited);
    Some(whole)
}

fn is_named(text: &str, member: &Member, key: &str) -> bool {
    name(text, member).is_some_and(|name| name.eq_ignore_ascii_case(key))
}

fn name(text: &str, member: &Member) -> Option<String> {
    let end = string_end(text.as_bytes(), member.span.start)?;
    serde_json::from_str(text.get(member.span.start..end)?).ok()
}

/// `text` without the member at `span` and one comma beside it.
fn without(text: &str, span: &Range<usize>) -> String {
    let (before, after) = (&text[..span.start], &text[span.end..]);
    if let Some(rest) = after.trim_start().strip_prefix(',') {
        // Its white space goes with it, that of the next member takes its place.
        return format!("{}{rest}", before.trim_end());
    }
    match before.trim_end().strip_suffix(',') {
        Some(before) => format!("{before}{after}"),
        None => format!("{}{}", before.trim_end(), after.trim_start()),
    }
}

/// The members of the outermost object of valid JSON.
fn members(text: &str) -> Option<Vec<Member>> {
    let bytes = text.as_bytes();
    let mut members = Vec::new();
    let mut at = text.find('{')? + 1;
    loop {
        at = skip(bytes, at, |byte| byte.is_ascii_whitespace() || byte == b',');
        if *bytes.get(at)? == b'}' {
            return Some(members);
        }
        let start = at;
        let colon = skip(bytes, string_end(bytes, at)?, |byte| byte.is_ascii_whitespace());
        let value = skip(bytes, colon + 1, |byte| byte.is_ascii_whitespace());
        at = value_end(bytes, value)?;
        members.push(Member { span: start..at, value: value..at });
    }
}

fn skip(bytes: &[u8], mut at: usize, which: impl Fn(u8) -> bool) -> usize {
    while bytes.get(at).is_some_and(|&byte| which(byte)) {
        at += 1;
    }
    at
}

/// The end of the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The end of the value that begins at `at`.
fn value_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match *bytes.get(at)? {
            b'"' => at = string_end(bytes, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ => at = skip(bytes, at, |byte| !b"\"{}[],".contains(&byte) && !byte.is_ascii_whitespace()).max(at + 1),
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn c9_the_current_context_changes_and_every_other_byte_stays() {
        let text = "{\n\t\"auths\": {\"x\": {\"currentContext\": \"no\"}},\n\t\"currentContext\": \"desktop-linux\",\n\t\"n\": 1e400\n}\n";
        let text = &text.replace("1e400", "12345678901234567890.5");
        let changed = set(text, "currentContext", Some("lighter")).unwrap();
        assert_eq!(changed, text.replace("desktop-linux", "lighter"));
        let gone = set(text, "currentContext", None).unwrap();
        assert_eq!(gone, text.replace("\n\t\"currentContext\": \"desktop-linux\",", ""));
        assert_eq!(set(&gone, "currentContext", None).unwrap(), gone);
    }

    #[test]
    fn c9_a_context_is_added_to_files_of_every_shape() {
        for (before, after) in [
            ("{}", "{\n\t\"currentContext\": \"lighter\"\n}"),
            ("{\n}\n", "{\n\t\"currentContext\": \"lighter\"\n}\n"),
            ("{\"a\":[1]}", "{\"currentContext\": \"lighter\",\"a\":[1]}"),
            ("{\n  \"a\": 1\n}\n", "{\n  \"currentContext\": \"lighter\",\n  \"a\": 1\n}\n"),
        ] {
            assert_eq!(set(before, "currentContext", Some("lighter")).unwrap(), after);
        }
        assert_eq!(set("{\"currentContext\": \"lighter\"}", "currentContext", None).unwrap(), "{}");
        assert_eq!(set("{\"a\": 1, \"currentContext\": \"x\"}", "currentContext", None).unwrap(), "{\"a\": 1}");
    }

    #[test]
    fn c9_a_member_counts_in_any_case_and_the_last_of_several_as_the_docker_cli_reads_them() {
        let text = "{\"currentContext\": \"a\", \"CURRENTCONTEXT\": \"b\", \"currentcontext\": null}";
        assert_eq!(get(text, "currentContext").unwrap(), "b");
        let changed = set(text, "currentContext", Some("lighter")).unwrap();
        assert_eq!(get(&changed, "currentContext").unwrap(), "lighter");
        assert_eq!(set(&changed, "currentContext", None).unwrap(), "{}");
        assert_eq!(get("{\"x\": {\"currentContext\": \"no\"}}", "currentContext"), None);
        assert_eq!(get("{\"currentContext\": ", "currentContext"), None);
    }

    #[test]
    fn c9_a_member_of_an_inner_object_is_taken_out_and_the_rest_stays() {
        let text = "{\n  \"credHelpers\": {\n    \"a.example\": \"desktop\",\n    \"b.example\": \"pass\"\n  },\n  \"n\": 1\n}";
        let edited = inside(text, "credHelpers", |object| set(object, "a.example", None)).unwrap();
        assert_eq!(edited, text.replace("\n    \"a.example\": \"desktop\",", ""));
        assert_eq!(inside(text, "n", |object| set(object, "a.example", None)), None);
        assert_eq!(inside(text, "missing", |object| Some(object.to_owned())), None);
    }

    #[test]
    fn c9_names_that_are_data_differ_by_case() {
        let text = "{\"unix:///A\": 1, \"unix:///a\": 2}";
        let value = serde_json::json!({"x": "y"});
        assert_eq!(
            set_in_map(text, "unix:///a", Some(&value)).unwrap(),
            "{\"unix:///A\": 1, \"unix:///a\": {\"x\":\"y\"}}"
        );
        assert_eq!(set_in_map(text, "unix:///a", None).unwrap(), "{\"unix:///A\": 1}");
        assert_eq!(set_in_map("{}", "b", Some(&value)).unwrap(), "{\n\t\"b\": {\"x\":\"y\"}\n}");
    }

    #[test]
    fn c9_what_is_not_an_object_is_not_touched() {
        for text in ["", "[]", "null", "{", "{\"a\": 1,}", "{\"a\" 1}", "// no\n{}", "{} {}"] {
            assert_eq!(set(text, "currentContext", Some("lighter")), None, "{text:?}");
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("[a-d\"\\\\{}]{0,3}|k", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn c9_any_object_can_be_edited_in_any_layout(
            fields in prop::collection::btree_map("[a-d\"\\\\{},:]{0,3}|k", json(), 0..5), value in prop::option::of(".{0,6}"), pretty: bool,
        ) {
            let object = serde_json::Value::Object(fields.into_iter().collect());
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
            prop_assert!(set(&text, "k", value.as_deref()).is_some(), "{text}");
        }
    }
}
