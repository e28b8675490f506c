//! The rules about single files.

use super::{Complaint, File};

type Rule = fn(&File) -> Vec<Complaint>;

/// Every rule, in the order of its complaints.
pub const ALL: &[Rule] =
    &[length, module_docs, no_unsafe, unfinished, rfc_references, white_space, private_places, foreign_words, pure_rooms, no_processes];

const LINES_MAX: usize = 600;

/// Files that are ours to word: no fixtures, no lock files.
fn prose(file: &File) -> bool {
    let ours = [".rs", ".md", ".toml", ".py", ".sh", ".ts", ".svelte", "start", "test", "setup", "run"];
    ours.iter().any(|ending| file.is(ending))
}

fn each_line(file: &File, judge: impl Fn(&str) -> Option<String>) -> Vec<Complaint> {
    let lines = file.text.lines().enumerate();
    lines.filter_map(|(index, line)| judge(line).map(|what| Complaint::new(file, index + 1, what))).collect()
}

fn length(file: &File) -> Vec<Complaint> {
    let lines = file.text.lines().count();
    if file.is(".rs") && lines > LINES_MAX {
        return vec![Complaint::new(file, 0, format!("{lines} lines; {LINES_MAX} is the limit, 200 is normal"))];
    }
    Vec::new()
}

fn module_docs(file: &File) -> Vec<Complaint> {
    // A file of tests says what it checks in the names of the tests.
    let tests = file.is("/tests.rs") || file.is("_tests.rs") || file.path.contains("/tests/");
    let source = file.is(".rs") && file.path.contains("/src/") && !tests;
    let first = file.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    if source && !first.is_some_and(|line| line.starts_with("//!")) {
        return vec![Complaint::new(file, 1, "no module docs: begin with `//!`, what it promises and what it never does")];
    }
    Vec::new()
}

fn no_unsafe(file: &File) -> Vec<Complaint> {
    let crate_root = file.is("src/lib.rs") || file.is("src/main.rs");
    if crate_root && !file.text.contains("#![forbid(unsafe_code)]") {
        return vec![Complaint::new(file, 1, "a crate begins with `#![forbid(unsafe_code)]`")];
    }
    Vec::new()
}

fn unfinished(file: &File) -> Vec<Complaint> {
    if !file.is(".rs") && !file.is(".py") && !file.is(".ts") && !file.is(".svelte") {
        return Vec::new();
    }
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("todo", "!("),
        concat!("dbg", "!("),
        concat!("unimplemented", "!("),
    ];
    each_line(file, |line| {
        marks.iter().find(|mark| has_word(line, mark)).map(|mark| format!("`{mark}`: finish it, or say what is missing"))
    })
}

/// `RFC 5321 §4.5.4.1`, and no other way.
fn rfc_references(file: &File) -> Vec<Complaint> {
    if !file.is(".rs") && !file.is(".md") {
        return Vec::new();
    }
    each_line(file, |line| {
        let wrong = line.match_indices("RFC").find(|(at, _)| {
            let glued = line[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            // "rfc822;" is a type of addresses (RFC 3464 §2.1.2), in any case of letters.
            !glued && !line[*at..].starts_with("RFC822;") && !well_written(&line[at + 3..])
        });
        wrong.map(|(at, _)| {
            let seen: String = line[at..].chars().take(20).collect();
            format!("`{seen}`: RFCs are written `RFC 5321 §4.5.4.1`")
        })
    })
}

/// Judges what follows the letters "RFC".
fn well_written(after: &str) -> bool {
    let Some(number) = after.strip_prefix(' ') else {
        // Without a number after it, it is a word of a sentence.
        return !after.trim_start_matches(['-', '_']).starts_with(|c: char| c.is_ascii_digit());
    };
    let rest = number.trim_start_matches(|c: char| c.is_ascii_digit());
    if rest.len() == number.len() {
        return true;
    }
    let section = rest.trim_start_matches([',', ' ', '(']).to_ascii_lowercase();
    let spelled = ["section", "sect.", "sec.", "chapter"].iter().any(|word| section.starts_with(word));
    !rest.starts_with('§') && !spelled
}

fn white_space(file: &File) -> Vec<Complaint> {
    if !prose(file) {
        return Vec::new();
    }
    let mut found = each_line(file, |line| line.ends_with([' ', '\t']).then(|| "white space at the end of the line".into()));
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        found.push(Complaint::new(file, 0, "no newline at the end"));
    }
    found
}

/// A path of somebody's machine helps nobody else.
fn private_places(file: &File) -> Vec<Complaint> {
    let places =
        [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/work/", "main"), concat!("/work/", "shared"), concat!("/Us", "ers/")];
    each_line(file, |line| places.iter().find(|place| line.contains(*place)).map(|place| format!("`{place}` is a path of one machine")))
}

fn foreign_words(file: &File) -> Vec<Complaint> {
    if !prose(file) {
        return Vec::new();
    }
    let words = [concat!("A", "I"), concat!("L", "LM"), concat!("Chat", "GPT"), concat!("Clau", "de")];
    let hosts = [concat!("crates", ".io"), concat!("pypi", ".org"), concat!("npm", "js.org"), concat!("proxy.golang", ".org")];
    each_line(file, |line| {
        let word = words.iter().find(|word| has_word(line, word)).map(|word| format!("`{word}` has no place here"));
        word.or_else(|| hosts.iter().find(|host| line.contains(*host)).map(|host| format!("`{host}`: a registry's host has no place here")))
    })
}

/// What a room must not touch, even where another crate's features would let it compile.
fn pure_rooms(file: &File) -> Vec<Complaint> {
    let world = ["tokio::net", "tokio::fs", "tokio::process", "std::fs", "std::process", "TcpStream", "TcpListener", "UdpSocket"];
    let rooms = ["smtp", "mail", "model", "core", "flow"];
    if !file.is(".rs") || !rooms.iter().any(|room| file.path.starts_with(&format!("crates/{room}/src/"))) {
        return Vec::new();
    }
    each_line(file, |line| {
        let code = line.split("//").next().unwrap_or_default();
        world.iter().find(|name| has_word(code, name)).map(|name| format!("`{name}`: this room reaches the world only through doors"))
    })
}

/// The server starts no process: what an address or a header says can then never reach a shell. Only `bench` starts the relay itself.
fn no_processes(file: &File) -> Vec<Complaint> {
    let bench = file.path.contains("/src/bench/") || file.is("/src/own_relay.rs");
    if !file.is(".rs") || !file.path.starts_with("crates/") || !file.path.contains("/src/") || bench {
        return Vec::new();
    }
    let starts = ["process::Command", "Command::new", "Command::spawn", "exec("];
    each_line(file, |line| {
        let code = line.split("//").next().unwrap_or_default();
        starts.iter().find(|name| has_word(code, name)).map(|name| format!("`{name}`: the server starts no process"))
    })
}

/// Whether `word` stands in `line` and is not part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        let closed = !word.ends_with(part) || !after.starts_with(part);
        !line[..at].ends_with(part) && closed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The control of a rule: it trips on `bad`, and only there.
    fn check(rule: Rule, path: &str, bad: &[&str], good: &[&str]) {
        for text in bad {
            assert!(!rule(&File::of(path, text)).is_empty(), "should trip: {text}");
        }
        for text in good {
            assert_eq!(rule(&File::of(path, text)), Vec::new(), "should pass: {text}");
        }
    }

    #[test]
    fn long_files_trip() {
        let long = "line\n".repeat(LINES_MAX + 1);
        let full = "line\n".repeat(LINES_MAX);
        check(length, "crates/a/src/b.rs", &[&long], &[&full]);
        check(length, "docs/a.md", &[], &[&long]);
    }

    #[test]
    fn missing_module_docs_trip() {
        check(module_docs, "crates/a/src/b.rs", &["use std::io;\n", ""], &["//! It does.\n", "#![forbid(unsafe_code)]\n\n//! It does.\n"]);
        check(module_docs, "crates/a/tests/b.rs", &[], &["use std::io;\n"]);
        check(module_docs, "crates/a/src/b/tests.rs", &[], &["use std::io;\n"]);
    }

    #[test]
    fn a_crate_that_allows_unsafe_trips() {
        check(no_unsafe, "crates/a/src/lib.rs", &["//! A.\n"], &["//! A.\n#![forbid(unsafe_code)]\n"]);
        check(no_unsafe, "crates/a/src/main.rs", &["//! A.\n"], &[]);
        check(no_unsafe, "crates/a/src/other.rs", &[], &["//! A.\n"]);
    }

    #[test]
    fn unfinished_work_trips() {
        let bad =
            [concat!("// TO", "DO later\n"), concat!("// FIX", "ME\n"), concat!("    todo", "!()\n"), concat!("let a = dbg", "!(b);\n")];
        check(unfinished, "crates/a/src/b.rs", &bad, &["// mastodons are todomy\n"]);
    }

    #[test]
    fn references_written_otherwise_trip() {
        let bad = [
            concat!("RF", "C5321\n"),
            concat!("RF", "C-5321\n"),
            concat!("(RF", "C 5321, section 4.5)\n"),
            concat!("RF", "C 5321 Section 4\n"),
            concat!("RF", "C 5321§4\n"),
        ];
        check(
            rfc_references,
            "a.rs",
            &bad,
            &["RFC 5321 §4.5.4.1, RFCs, the RFC's words, RFC 2034 and 3463\n", "const NORFC5321: u8 = 0;\n"],
        );
    }

    #[test]
    fn white_space_trips() {
        check(white_space, "a.md", &["a \n", "a\t\n", "a"], &["a\n", "", "a\n\nb\n"]);
        check(white_space, "fixtures/a.eml", &[], &["a \r\n"]);
    }

    #[test]
    fn private_paths_trip() {
        check(
            private_places,
            "a.md",
            &[concat!("see /ro", "ot/.cargo\n"), concat!("/ho", "me/me/x\n"), concat!("/work/", "main/x\n")],
            &["/var/spool\n"],
        );
    }

    #[test]
    fn foreign_words_trip() {
        check(foreign_words, "a.md", &[concat!("by A", "I\n"), concat!("https://static.crates", ".io/x\n")], &["RAIN FAIL AIR\n"]);
    }

    #[test]
    fn a_pure_room_that_opens_a_socket_trips() {
        let bad = ["use tokio::net::TcpStream;\n", "    std::fs::read(path)\n", "use std::process::Command;\n"];
        check(pure_rooms, "crates/flow/src/a.rs", &bad, &["use std::net::IpAddr;\n", "// never std::fs\n"]);
        check(pure_rooms, "crates/edge/src/a.rs", &[], &bad);
    }

    #[test]
    fn a_server_that_starts_a_process_trips() {
        let bad = ["use std::process::Command;\n", "    tokio::process::Command::new(\"sh\")\n"];
        let good = ["use crate::command::Command;\n", "fn run(command: Command) {}\n", "std::process::exit(1)\n"];
        check(no_processes, "crates/postrider/src/serve/a.rs", &bad, &good);
        check(no_processes, "crates/postrider/src/own_relay.rs", &[], &bad);
        check(no_processes, "crates/postrider/tests/relay/a.rs", &[], &bad);
    }
}
