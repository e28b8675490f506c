//! A header that is to be changed: fields taken out, put in, replaced (RFC 5322 §2.2).
//!
//! **Promises.** What is not changed comes out octet for octet. Where a field is put in, the one before it has its line end; where anything was changed, an
//! empty line stands between header and body. A field that is put in is one field, whatever its value: line ends in it become folds.
//!
//! **Never** looks at the body. Memory is the header's, which the caller bounds.

use crate::header::{Field, Fields, is_name_octet};

/// What becomes of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn<'a> {
    /// It stays as it is.
    Keep,
    /// It goes.
    Remove,
    /// It has another value, with its leading blank.
    Value(Vec<u8>),
    /// Another field, name and value, stands there instead.
    Other(&'a str, &'a str),
    /// Another field stands before it.
    Before(&'a str, &'a str),
}

/// The fields of a header, each as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    fields: Vec<Vec<u8>>,
    octets: usize,
    changed: bool,
}

impl Header {
    /// Reads the header that `content` begins with.
    pub fn of(content: &[u8]) -> Self {
        let fields: Vec<Vec<u8>> = Fields::of(content).map(|field| field.whole.to_vec()).collect();
        Self { octets: fields.iter().map(Vec::len).sum(), fields, changed: false }
    }

    /// The fields, from the first on.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().filter_map(|whole| Fields::of(whole).next())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Octets in all.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Whether anything was changed.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// The place of the field of this name with this number, counted from 1.
    pub fn find(&self, name: &str, number: usize) -> Option<usize> {
        let mut places = self.fields().enumerate().filter(|(_, field)| field.is(name)).map(|(at, _)| at);
        places.nth(number.saturating_sub(1))
    }

    /// Puts a field before the one at `at`, or behind the last. `value` is what stands behind the colon, its leading blank included.
    pub fn insert(&mut self, at: usize, name: &str, value: &[u8]) {
        let at = at.min(self.fields.len());
        if let Some(before) = at.checked_sub(1).and_then(|before| self.fields.get_mut(before))
            && !before.ends_with(b"\n")
        {
            before.extend_from_slice(b"\r\n");
            self.octets += 2;
        }
        let whole = written(name, value);
        self.octets += whole.len();
        self.fields.insert(at, whole);
        self.changed = true;
    }

    /// Puts whole fields, as they stand written, before the first.
    pub fn prepend(&mut self, written: &[u8]) {
        let fields: Vec<Vec<u8>> = Fields::of(written).map(|field| field.whole.to_vec()).collect();
        self.octets += fields.iter().map(Vec::len).sum::<usize>();
        self.changed |= !fields.is_empty();
        self.fields.splice(0..0, fields);
    }

    /// Turns every field, once, in one pass: for changes of many.
    pub fn turn<'a>(&mut self, mut turn: impl FnMut(usize, Field<'_>) -> Turn<'a>) {
        let mut fields: Vec<Vec<u8>> = Vec::with_capacity(self.fields.len());
        let mut push = |whole: Vec<u8>| {
            if let Some(before) = fields.last_mut().filter(|before| !before.ends_with(b"\n")) {
                before.extend_from_slice(b"\r\n");
            }
            fields.push(whole);
        };
        for (number, whole) in std::mem::take(&mut self.fields).into_iter().enumerate() {
            let Some(field) = Fields::of(&whole).next() else { continue };
            let turned = turn(number, field);
            self.changed |= !matches!(turned, Turn::Keep);
            match turned {
                Turn::Keep => push(whole),
                Turn::Remove => {}
                Turn::Value(value) => push(written(&String::from_utf8_lossy(field.name), &value)),
                Turn::Other(name, value) => push(written(name, format!(" {value}").as_bytes())),
                Turn::Before(name, value) => {
                    push(written(name, format!(" {value}").as_bytes()));
                    push(whole);
                }
            }
        }
        self.octets = fields.iter().map(Vec::len).sum();
        self.fields = fields;
    }

    /// Gives the field at `at` another value; its name stays as it was written.
    pub fn replace(&mut self, at: usize, value: &[u8]) {
        let Some(name) = self.fields().nth(at).map(|field| String::from_utf8_lossy(field.name).into_owned()) else { return };
        self.remove(at);
        self.insert(at, &name, value);
    }

    /// Takes the field at `at` out.
    pub fn remove(&mut self, at: usize) {
        if at < self.fields.len() {
            self.octets -= self.fields.remove(at).len();
            self.changed = true;
        }
    }

    /// Appends the header as it now is; with an empty line when it was changed, or when `empty_line` says that there was one.
    pub fn write(&self, empty_line: bool, out: &mut Vec<u8>) {
        self.fields.iter().for_each(|whole| out.extend_from_slice(whole));
        if !self.changed && !empty_line {
            return;
        }
        if self.fields.last().is_some_and(|last| !last.ends_with(b"\n")) {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A whole field. A name that is none, and a line end that would end the field, are mended: who gives them was checked before, or is wrong.
fn written(name: &str, value: &[u8]) -> Vec<u8> {
    let mut whole: Vec<u8> = name.bytes().filter(|octet| is_name_octet(*octet)).collect();
    if whole.is_empty() {
        whole.push(b'X');
    }
    whole.push(b':');
    let lines = value.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    for (nth, line) in lines.filter(|line| !line.trim_ascii().is_empty()).enumerate() {
        if nth > 0 {
            whole.extend_from_slice(b"\r\n");
            if !line.starts_with(b" ") && !line.starts_with(b"\t") {
                whole.push(b' ');
            }
        }
        whole.extend(line.iter().map(|octet| if matches!(octet, b'\r' | 0) { b'?' } else { *octet }));
    }
    whole.extend_from_slice(b"\r\n");
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(header: &Header) -> String {
        let mut out = Vec::new();
        header.write(false, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_not_changed_comes_out_as_it_was() {
        for content in ["From: a\r\n b\r\nTo : c\nX:", "", "\r\nFrom: a\r\n", "no header"] {
            let header = Header::of(content.as_bytes());
            let octets: usize = Fields::of(content.as_bytes()).map(|field| field.whole.len()).sum();
            assert_eq!((text(&header), header.octets()), (content[..octets].to_owned(), octets));
            assert!(!header.is_changed());
        }
    }

    #[test]
    fn fields_are_put_in_replaced_and_taken_out() {
        let mut header = Header::of(b"A: 1\r\nB: 2\r\n 3\r\na: 4");
        assert_eq!((header.find("a", 1), header.find("A", 2), header.find("a", 3), header.find("C", 1)), (Some(0), Some(2), None, None));
        header.insert(9, "Last", b" x");
        header.insert(0, "First", b" y\n z");
        header.replace(2, b" two");
        header.remove(1);
        header.remove(99);
        header.prepend(b"");
        header.prepend(b"Date: 1\r\nFrom: 2\r\n 3\r\n\r\nno field");
        assert_eq!(text(&header), "Date: 1\r\nFrom: 2\r\n 3\r\nFirst: y\r\n z\r\nB: two\r\na: 4\r\nLast: x\r\n\r\n");
        assert_eq!(header.octets() + 2, text(&header).len());
    }

    #[test]
    fn many_fields_are_turned_in_one_pass() {
        let mut header = Header::of(b"A: 1\r\nB : 2\r\nC: 3\r\nD: 4\r\nE: 5");
        header.turn(|number, field| match field.name {
            b"A" => Turn::Remove,
            b"B" => Turn::Value(b" two".to_vec()),
            b"C" => Turn::Other("X", "3"),
            b"D" if number == 3 => Turn::Before("Y", "z"),
            _ => Turn::Keep,
        });
        assert_eq!(text(&header), "B: two\r\nX: 3\r\nY: z\r\nD: 4\r\nE: 5\r\n\r\n");
        let mut same = Header::of(b"A: 1\r\n");
        same.turn(|_, _| Turn::Keep);
        assert!(!same.is_changed() && text(&same) == "A: 1\r\n");
        // A pass over many is no square of them: this would not end in time.
        let mut many = Header::of("X: y\r\n".repeat(150_000).as_bytes());
        many.turn(|number, _| if number % 2 == 0 { Turn::Remove } else { Turn::Before("Z", "w") });
        assert_eq!((many.len(), many.octets()), (150_000, 75_000 * 12));
    }

    #[test]
    fn no_value_ends_its_field() {
        for value in ["x\r\nBcc: y", "x\n\nbody", "x\r\n\r\nbody", "\r\n\r\n", "x\rY: z\0", "", "x\n \r\nz"] {
            let mut header = Header::default();
            header.insert(0, "X-A: b\r\nEvil", value.as_bytes());
            let written = text(&header);
            let mut fields = Fields::of(written.as_bytes());
            assert!(fields.next().is_some_and(|field| field.is("X-AbEvil")), "{written:?}");
            assert_eq!((fields.next(), written.ends_with("\r\n\r\n")), (None, true), "{written:?}");
            assert!(!written.trim_end().contains("\r\n\r\n"), "{written:?}");
        }
    }
}
