//! The reference of every key, in Markdown, from the code that reads them: `docs/configuration.md`.
//!
//! **Promises.** Meaning and default come from the commented file, which a test holds against the reader; type and bounds come from the reader itself, by
//! giving it what it must refuse and listening to what it would have liked. So the page cannot say what the program does not do.

use std::fmt::Write;
use std::path::Path;

use super::fault::Collector;
use super::{FirstCredential, HostName, commented_file, read};

/// One key.
struct Entry {
    key: String,
    default: Option<String>,
    meaning: String,
}

/// One section of the file.
struct Part {
    /// With its brackets.
    header: String,
    text: String,
    entries: Vec<Entry>,
}

/// The whole page.
pub fn page() -> String {
    let host_name = HostName { name: "mail.example.com".to_owned(), guessed: false };
    let credential = FirstCredential { user: "app".to_owned(), secret_sha256: String::new() };
    let file = commented_file(&host_name, 4, Some(&credential));
    let mut page = String::from(
        "# Configuration\n\nMade by `cargo xtask docs` from the code; a test holds it current. One TOML file, `postrider.toml` in the data directory or the one that \
         `serve --config` names. An\nunknown key is refused, with its line. `postrider check` tells all that is wrong; `postrider reload` or SIGHUP takes a changed file into \
         use.\n\nDurations are written \"250ms\", \"90s\", \"5m\", \"2h\", \"5d\" or \"1h 30m\"; sizes \"64 KiB\", \"50 MB\" or a number of octets. Relative paths start in the \
         data directory.\n",
    );
    for part in parts(&file) {
        let _ = write!(page, "\n## `{}`\n", part.header);
        if !part.text.is_empty() {
            let _ = write!(page, "\n{}\n", part.text);
        }
        page.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
        for entry in &part.entries {
            let unset = || if is_needed(&part.header, &entry.key) { "needed".to_owned() } else { "not set".to_owned() };
            let default = entry.default.as_ref().map_or_else(unset, |default| format!("`{default}`"));
            let kind = kind(&part.header, &entry.key);
            let meaning = if entry.meaning.is_empty() { "see above" } else { &entry.meaning };
            let meaning = meaning.replace('|', "\\|").replace('<', "&lt;");
            let _ = writeln!(page, "| `{}` | {kind} | {default} | {meaning} |", entry.key);
        }
    }
    page
}

/// Reads the commented file as a person does: what stands above a key, or above the keys before it, is about it.
fn parts(file: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut comment: Vec<String> = Vec::new();
    let mut told = String::new();
    for line in file.lines() {
        // An example is set in from the comment; its lines are keys without a default.
        let (line, is_example) = match line.strip_prefix("#   ") {
            Some(rest) if rest.starts_with('[') || rest.contains(" = ") => (rest, true),
            _ => (line, false),
        };
        if line.starts_with('[') {
            let header = line.to_owned();
            let text = std::mem::take(&mut comment).join(" ");
            told.clear();
            if !parts.iter().any(|part| part.header == header) {
                parts.push(Part { header, text, entries: Vec::new() });
            }
            continue;
        }
        let bare = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        if let Some((key, value)) = bare.unwrap_or(line).split_once(" = ").filter(|_| bare.is_some() || !line.starts_with('#')) {
            if !comment.is_empty() {
                told = std::mem::take(&mut comment).join(" ");
            }
            let Some(part) = parts.last_mut() else { continue };
            if part.entries.iter().all(|entry| entry.key != key) {
                let default = bare.filter(|_| !is_example).map(|_| value.to_owned());
                part.entries.push(Entry { key: key.to_owned(), default, meaning: told.clone() });
            }
        } else if let Some(command) = line.strip_prefix("#   ") {
            comment.push(format!("`{command}`."));
        } else if let Some(text) = line.strip_prefix("# ") {
            comment.push(text.to_owned());
        } else {
            comment.clear();
        }
    }
    parts
}

/// What the reader of a key wants, and within which bounds.
fn kind(header: &str, key: &str) -> String {
    let wanted = complaints(header, key, "{}").into_iter().find_map(|said| {
        let wanted = said.strip_prefix("expected ")?.split(", found").next()?.to_owned();
        Some(wanted)
    });
    let Some(wanted) = wanted else { return "text".to_owned() };
    let bounds = |value: &str| {
        complaints(header, key, value).into_iter().find_map(|said| Some(said.split(" is not between ").nth(1)?.replace(" and ", " to ")))
    };
    if wanted == "a whole number" {
        return bounds("-1").map_or_else(|| "number".to_owned(), |bounds| format!("number, {bounds}"));
    }
    if wanted.starts_with("a duration") {
        return bounds("\"365000d\"").map_or_else(|| "duration".to_owned(), |bounds| format!("duration, {bounds}"));
    }
    if wanted.starts_with("a size") {
        return bounds("9000000000000000000").map_or_else(|| "size".to_owned(), |bounds| format!("size, {bounds}"));
    }
    if wanted.starts_with("a text") {
        let words = complaints(header, key, "\"\\u0001\"").into_iter().find_map(|said| Some(said.split(" is none of ").nth(1)?.to_owned()));
        return words.map_or_else(|| "text".to_owned(), |words| words.replace(", ", " or "));
    }
    wanted.trim_start_matches("a ").to_owned()
}

/// Whether the section is refused without the key.
fn is_needed(header: &str, key: &str) -> bool {
    complaints_of(header, key, "").iter().any(|said| said == "the key is missing")
}

/// What the reader says of this key when it has this value.
fn complaints(header: &str, key: &str, value: &str) -> Vec<String> {
    complaints_of(header, key, &format!("{key} = {value}\n"))
}

fn complaints_of(header: &str, key: &str, line: &str) -> Vec<String> {
    let name = header.trim_matches(|c| c == '[' || c == ']');
    // A table in a list wants a list around it.
    let parent =
        name.rsplit_once('.').filter(|_| header.starts_with("[[")).map(|(parent, _)| format!("[[{parent}]]\n")).unwrap_or_default();
    let text = format!("{parent}{header}\n{line}");
    let faults = Collector::new(&text);
    let host_name = HostName { name: "mail.example.com".to_owned(), guessed: false };
    read(&text, Path::new("data"), &host_name, &faults);
    let start = format!("{name}.{key}: ");
    let list = faults.verdict("").err().map(|faults| faults.list).unwrap_or_default();
    list.into_iter().filter_map(|fault| Some(fault.sentence.strip_prefix(&start)?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_reader_wants_is_heard() {
        for (header, key, expected) in [
            ("[limits]", "recipients_max", "number, 1 to 100000"),
            ("[relay]", "drain_timeout", "duration, 0s to 1h"),
            ("[spool]", "segment_size", "size, 1048576 to 1073741824"),
            ("[dns]", "ipv6", "true or false"),
            ("[dns]", "servers", "list"),
            ("[[tenant.stream]]", "priority", "\"low\" or \"normal\" or \"high\""),
            ("[relay]", "host_name", "text"),
        ] {
            assert_eq!(kind(header, key), expected, "{header} {key}");
        }
    }

    #[test]
    fn the_page_is_current() {
        let committed = include_str!("../../../../docs/configuration.md");
        assert!(committed == page(), "docs/configuration.md is not what the code says: run `cargo xtask docs`");
    }
}
