//! JSON read as dockerd reads it, and no further than asked: objects and lists whose values stay text with a place in the
//! body, so that a change replaces a few bytes and leaves the rest (order, numbers, spaces, unknown fields) as it came.
//! `find` opens what it has to look into.
//!
//! dockerd's reader (Go's `encoding/json`) takes a field's name in any case, lets the last of several win, and merges
//! objects that are given twice. Who reads one of them only is deceived, so [`Object::field`] refuses to.

use std::{fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::MountError;

/// A JSON value that was not looked into, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    body: &'a str,
    raw: &'a RawValue,
}

impl<'a> Value<'a> {
    /// The value that `body` begins with, which is all that dockerd reads of it; `None` if there is none. The grammar is the same
    /// on both sides, letter for letter, so what is no value here is none to dockerd.
    pub(super) fn first(body: &'a str) -> Option<Value<'a>> {
        let raw = serde_json::Deserializer::from_str(body).into_iter().next()?.ok()?;
        Some(Value { body, raw })
    }

    /// Where it stands in the body.
    pub(super) fn span(self) -> Range<usize> {
        // Both are addresses within the same text.
        let start = self.raw.get().as_ptr().addr() - self.body.as_ptr().addr();
        start..start + self.raw.get().len()
    }

    fn read<T: Deserialize<'a>>(self, name: &'static str, wanted: &'static str) -> Result<T, MountError> {
        serde_json::from_str(self.raw.get()).map_err(|source| MountError::Shape { name, wanted, source })
    }

    /// `name` is what the value is called in messages, here and below.
    pub(super) fn object(self, name: &'static str) -> Result<Object<'a>, MountError> {
        let Fields(fields) = self.read(name, "an object")?;
        Ok(Object { body: self.body, fields })
    }

    pub(super) fn list(self, name: &'static str) -> Result<Vec<Value<'a>>, MountError> {
        let items: Vec<&'a RawValue> = self.read(name, "a list")?;
        Ok(items.into_iter().map(|raw| Value { body: self.body, raw }).collect())
    }

    pub(super) fn text(self, name: &'static str) -> Result<String, MountError> {
        self.read(name, "text")
    }

    pub(super) fn is_object(self) -> bool {
        self.raw.get().starts_with('{')
    }

    fn is_null(self) -> bool {
        self.raw.get() == "null"
    }

    /// `null` says nothing to dockerd, wherever it stands.
    pub(super) fn given(self) -> Option<Value<'a>> {
        (!self.is_null()).then_some(self)
    }
}

/// An object's fields in their order, whatever they are called.
pub(super) struct Object<'a> {
    body: &'a str,
    fields: Vec<(String, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// The field that dockerd would read under this name.
    pub(super) fn field(&self, name: &'static str) -> Result<Option<Value<'a>>, MountError> {
        self.only(name, |key| folded(key).eq(folded(name)))
    }

    /// The entry of a map, whose keys dockerd tells apart by case.
    pub(super) fn entry(&self, name: &'static str) -> Result<Option<Value<'a>>, MountError> {
        self.only(name, |key| key == name)
    }

    fn only(&self, name: &'static str, is: impl Fn(&str) -> bool) -> Result<Option<Value<'a>>, MountError> {
        let mut found = self.fields.iter().filter(|(key, _)| is(key));
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(MountError::Twice { name }),
            (None, None) => Ok(None),
            (Some((_, raw)), None) => Ok(Value { body: self.body, raw }.given()),
        }
    }
}

/// The letters of a name without their case. Two letters outside ASCII count as ones inside: the Kelvin sign and the long s.
fn folded(name: &str) -> impl Iterator<Item = char> + '_ {
    name.chars().map(|letter| match letter {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        other => other.to_ascii_lowercase(),
    })
}

struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Every;
        impl<'de> Visitor<'de> for Every {
            type Value = Fields<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Every)
    }
}
