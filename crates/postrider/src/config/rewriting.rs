//! Other addresses: `[rewriting]`, and the files of lines that it names, as Postfix's text maps are written.

use std::collections::BTreeMap;
use std::path::Path;

use postrider_model::policy::{AddressMap, Rewriting};
use postrider_smtp::{Domain, Mailbox};

use super::checking::Known;
use super::reader::Section;
use super::values::{self, Read};

/// Octets of one file of lines.
const FILE_OCTETS_MAX: u64 = 64 * 1024 * 1024;

/// All of it.
pub fn rewriting(top: &Section<'_>, known: &Known<'_>) -> Rewriting {
    let section = top.section("rewriting");
    let origin = section.or("origin", known.host_name.to_owned(), |v| values::domain(v).map(|domain| domain.to_ascii().into_owned()));
    let delimiter = section.or("delimiter", None, |v| match values::text(v)?.chars().collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [letter] if "+-_=#.".contains(letter) => Ok(Some(letter)),
        _ => Err("expected one of + - _ = # . (or nothing for no details)".to_owned()),
    });
    let read = Rewriting {
        canonical: map(&section, "canonical", known.directory),
        sender_canonical: map(&section, "sender_canonical", known.directory),
        recipient_canonical: map(&section, "recipient_canonical", known.directory),
        generic: map(&section, "generic", known.directory),
        delimiter,
        origin: origin.to_lowercase().into(),
    };
    section.finish();
    read
}

/// Lines, `address other`, in place; or one text, the path of a file of such lines.
fn map(section: &Section<'_>, key: &'static str, directory: &Path) -> AddressMap {
    let mut map = BTreeMap::new();
    let lines = section.optional(key, |value| match value.as_str() {
        Some(path) => file(&directory.join(path)).map(Some),
        None => Ok(None),
    });
    match lines {
        Some(Some(lines)) => {
            for (line, text) in lines {
                if let Err(sentence) = put(&mut map, &text) {
                    section.fault(key, format!("line {line}: {sentence}"));
                }
            }
        }
        Some(None) => {
            for (nth, text) in section.list(key, values::text).unwrap_or_default().into_iter().enumerate() {
                if let Err(sentence) = put(&mut map, &text) {
                    section.fault(key, format!("entry {}: {sentence}", nth + 1));
                }
            }
        }
        None => {}
    }
    AddressMap(map)
}

/// The logical lines of a file, each with the number of its first: a line that begins with a blank goes on with the one before (postmap(1)).
fn file(path: &Path) -> Read<Vec<(usize, String)>> {
    let unreadable = |why: String| format!("cannot read {}: {why}", path.display());
    let octets = std::fs::metadata(path).map_err(|trouble| unreadable(trouble.to_string()))?.len();
    if octets > FILE_OCTETS_MAX {
        return Err(unreadable(format!("{octets} octets are too many for a map")));
    }
    let text = std::fs::read_to_string(path).map_err(|trouble| unreadable(trouble.to_string()))?;
    Ok(logical(&text))
}

fn logical(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        match lines.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some((_, before)) => {
                before.push(' ');
                before.push_str(content);
            }
            None => lines.push((nth + 1, content.to_owned())),
        }
    }
    lines
}

/// One entry.
fn put(map: &mut BTreeMap<Box<str>, Box<str>>, text: &str) -> Read<()> {
    let (key, value) = text.split_once([' ', '\t']).ok_or_else(|| format!("{text:?} is not \"address other\""))?;
    let value = value.trim();
    let key = checked(key)?.to_lowercase();
    let value = checked(value)?;
    match map.insert(key.clone().into(), value.into()) {
        Some(_) => Err(format!("{key} is there twice")),
        None => Ok(()),
    }
}

/// `user@domain`, `user` or `@domain`.
fn checked(text: &str) -> Read<&str> {
    let right = match text.split_once('@') {
        Some(("", domain)) => Domain::parse(domain).is_ok(),
        Some(_) => Mailbox::parse(text).is_ok(),
        None => Mailbox::parse(&format!("{text}@localhost")).is_ok(),
    };
    if right { Ok(text) } else { Err(format!("{text:?} is neither user@domain, user nor @domain")) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{faults, parse};
    use super::*;

    #[test]
    fn lines_are_read_as_postmap_reads_them() {
        let text =
            "# canonical\nann@here.example\tAnn.Smith@here.example\n\n@old.example\n   @new.example\n  # no comment ends it\nbob robert\n";
        let expected = ["ann@here.example\tAnn.Smith@here.example", "@old.example @new.example", "bob robert"];
        let lines = logical(text);
        assert_eq!(lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), expected);
        assert_eq!(lines.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4, 7]);
    }

    #[test]
    fn maps_are_read_from_the_file_and_from_files_of_their_own() {
        let folder = std::env::temp_dir().join(format!("postrider-maps-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("canonical");
        std::fs::write(&path, "ann@here.example Ann.Smith@here.example\n@old.example @new.example\n").unwrap();
        let text = format!("[rewriting]\norigin = \"Here.Example\"\ncanonical = {path:?}\ngeneric = [\"@here.example box@isp.example\"]\n");
        let read = parse(&text).unwrap().snapshot.checking.rewriting;
        assert_eq!((read.canonical.0.len(), read.generic.0.len(), &*read.origin), (2, 1, "here.example"));
        std::fs::write(&path, "ann@here.example x@y.example\n\nbroken\nANN@here.example z@y.example\na@b c@\n").unwrap();
        let said = faults(&text);
        for part in ["line 3: \"broken\" is not", "line 4: ann@here.example is there twice", "line 5: \"c@\" is neither user@domain"] {
            assert!(said.contains(part), "{said}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(faults(&text).contains("cannot read"), "{}", faults(&text));
        assert!(faults("[rewriting]\ncanonical = [\"x\"]\n").contains("entry 1: \"x\" is not \"address other\""));
        assert!(faults("[rewriting]\ncanonical = 7\n").contains("expected a list, found a number"));
    }
}
