//! Reads a table key by key. It does not stop at the first fault, and a key nobody asked for is one, so that a slip of the pen never
//! passes for a default. (serde's `deny_unknown_fields` says the first fault only.)

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Collector;

/// A value, and where it stands.
pub type Value<'a> = Spanned<DeValue<'a>>;

/// One table of the file, or the absence of one (then every key has its default).
pub struct Section<'a> {
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
    /// `limits`, `listener`, or empty for the top.
    path: String,
    known: RefCell<Vec<&'static str>>,
    faults: &'a Collector,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub fn top(table: &'a Spanned<DeTable<'a>>, faults: &'a Collector) -> Self {
        Self { table: Some(table.get_ref()), span: 0..0, path: String::new(), known: RefCell::default(), faults }
    }

    /// Where it begins.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Where the key's value stands, or the section when it is absent.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.raw(key).map_or(self.span(), Spanned::span)
    }

    /// Adds a fault about this key.
    pub fn fault(&self, key: &str, sentence: impl Into<String>) {
        self.faults.add(self.span_of(key), format!("{}: {}", self.full(key), sentence.into()));
    }

    /// The key's value, when it is there and right.
    pub fn optional<T>(&self, key: &'static str, read: impl FnOnce(&DeValue<'a>) -> Result<T, String>) -> Option<T> {
        self.note(key);
        let value = self.raw(key)?;
        match read(value.get_ref()) {
            Ok(value) => Some(value),
            Err(sentence) => {
                self.fault(key, sentence);
                None
            }
        }
    }

    /// The key's value, or the default.
    pub fn or<T>(&self, key: &'static str, default: T, read: impl FnOnce(&DeValue<'a>) -> Result<T, String>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// The key's value; its absence is a fault.
    pub fn required<T>(&self, key: &'static str, read: impl FnOnce(&DeValue<'a>) -> Result<T, String>) -> Option<T> {
        if self.raw(key).is_none() {
            self.faults.add(self.span(), format!("{}: the key is missing", self.full(key)));
        }
        self.optional(key, read)
    }

    /// A list of values, all of them right; each wrong one is a fault of its own.
    pub fn list<T>(&self, key: &'static str, read: impl Fn(&DeValue<'a>) -> Result<T, String>) -> Option<Vec<T>> {
        self.note(key);
        let value = self.raw(key)?;
        let Some(items) = value.get_ref().as_array() else {
            self.fault(key, format!("expected a list, found {}", kind(value.get_ref())));
            return None;
        };
        let mut list = Vec::with_capacity(items.len());
        for item in items.iter() {
            match read(item.get_ref()) {
                Ok(item) => list.push(item),
                Err(sentence) => self.faults.add(item.span(), format!("{}: {sentence}", self.full(key))),
            }
        }
        (list.len() == items.len()).then_some(list)
    }

    /// Whether the key is written, and an empty list.
    pub fn list_is_empty(&self, key: &str) -> bool {
        self.raw(key).and_then(|value| value.get_ref().as_array()).is_some_and(|items| items.is_empty())
    }

    /// `[key]`
    pub fn section(&self, key: &'static str) -> Section<'a> {
        self.note(key);
        let value = self.raw(key);
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            self.fault(key, format!("expected a section `[{}]`, found {}", self.full(key), kind(value.get_ref())));
        }
        Section { table, span: self.span_of(key), path: self.full(key), known: RefCell::default(), faults: self.faults }
    }

    /// `[[key]]`, each.
    pub fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        self.note(key);
        let Some(value) = self.raw(key) else { return Vec::new() };
        let path = self.full(key);
        let found = value.get_ref().as_array().map(|items| {
            let tables = items.iter().map(|item| item.get_ref().as_table().map(|table| (table, item.span())));
            tables.collect::<Option<Vec<_>>>()
        });
        let Some(Some(tables)) = found else {
            self.fault(key, format!("expected sections `[[{path}]]`, found {}", kind(value.get_ref())));
            return Vec::new();
        };
        let section =
            |(table, span)| Section { table: Some(table), span, path: path.clone(), known: RefCell::default(), faults: self.faults };
        tables.into_iter().map(section).collect()
    }

    /// Notes that the key exists although it was not read.
    pub fn exists(&self, key: &'static str) {
        self.note(key);
    }

    /// Whether the key is written.
    pub fn has(&self, key: &str) -> bool {
        self.raw(key).is_some()
    }

    /// Ends the reading: a key nobody asked for is a fault.
    pub fn finish(self) {
        let known = self.known.borrow();
        for key in self.table.iter().flat_map(|table| table.keys()) {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let guess = known.iter().map(|other| (distance(name, other), other)).filter(|(far, _)| *far <= 2).min();
            let hint = match guess {
                Some((_, other)) => format!("did you mean `{other}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.faults.add(key.span(), format!("unknown key `{}`; {hint}", self.full(name)));
        }
    }

    fn raw(&self, key: &str) -> Option<&'a Value<'a>> {
        self.table?.get(key)
    }

    fn note(&self, key: &'static str) {
        self.known.borrow_mut().push(key);
        self.faults.asked(self.full(key));
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// What a value is, for people.
pub fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// Letters to insert, delete or change between two short words (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = before + usize::from(a != b);
            before = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(before + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn near_words_are_near() {
        for (one, other, far) in [("recipients", "recipient", 1), ("tls", "lts", 2), ("", "abc", 3), ("a", "a", 0)] {
            assert_eq!(distance(one, other), far, "{one} {other}");
        }
    }
}
