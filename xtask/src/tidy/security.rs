//! The page of attacks, `docs/security.md`: every test it names exists.
//!
//! In its tables the last column names what shows the row, each in back-ticks:
//! - `room::name`: a test function of that room (`crates/ROOM`, or `xtask`);
//! - `test_file.py::name`: a test of `tests-interop/`;
//! - anything with a slash: the end of the path of one file, such as `server/10-smuggling-refused.txt`.

use super::{Complaint, File};

/// Where the page is.
const PAGE: &str = "docs/security.md";
/// The heading of the column that names tests.
const COLUMN: &str = "shown by";

/// Judges the page, if there is one in the tree.
pub fn judge(tree: &[File]) -> Vec<Complaint> {
    let Some(page) = tree.iter().find(|file| file.path == PAGE) else { return Vec::new() };
    let mut found = Vec::new();
    let mut in_table = false;
    for (index, line) in page.text.lines().enumerate() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let row = line.trim().starts_with('|');
        let heading = row && cells.last() == Some(&COLUMN);
        let rule = cells.iter().all(|cell| cell.starts_with("--"));
        if heading || !row {
            in_table = heading;
        } else if in_table && !rule {
            found.extend(judge_row(cells.last().copied().unwrap_or_default(), tree).map(|what| Complaint::new(page, index + 1, what)));
        }
    }
    found
}

fn judge_row<'a>(shown_by: &'a str, tree: &'a [File]) -> impl Iterator<Item = String> + 'a {
    let names: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
    let none = names.is_empty().then(|| "this row names no test".to_owned());
    none.into_iter().chain(names.into_iter().filter(|name| !exists(name, tree)).map(|name| format!("there is no `{name}`")))
}

fn exists(name: &str, tree: &[File]) -> bool {
    match name.split_once("::") {
        Some((file, test)) if file.ends_with(".py") => {
            let path = format!("tests-interop/{file}");
            tree.iter().any(|file| file.path == path && file.text.contains(&format!("def {test}(")))
        }
        Some((room, test)) => {
            let folder = if room == "xtask" { "xtask/".to_owned() } else { format!("crates/{room}/") };
            tree.iter().any(|file| file.is(".rs") && file.path.starts_with(&folder) && has_test(&file.text, test))
        }
        None => {
            let ends = |file: &&File| file.path == name || file.path.ends_with(&format!("/{name}"));
            name.contains('/') && tree.iter().filter(ends).count() == 1
        }
    }
}

/// Whether the text has a function of this name with a test's attribute in the lines before it.
fn has_test(text: &str, name: &str) -> bool {
    let marks = ["#[test]", "#[tokio::test"];
    let head = format!("fn {name}(");
    let mut marked = false;
    for line in text.lines().map(str::trim_start) {
        if marked && line.contains(&head) {
            return true;
        }
        let attribute = line.starts_with("#[") || line.starts_with("//");
        marked = marks.iter().any(|mark| line.starts_with(mark)) || (marked && attribute);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(row: &str) -> String {
        format!(
            "# x\n\n| class | what holds | {COLUMN} |\n|---|---|---|\n{row}\n\n| later | with |\n|---|---|\n| DKIM | `mail::nothing` |\n"
        )
    }

    fn complaints(row: &str) -> Vec<String> {
        let tree = [
            File::of("docs/security.md", &page(row)),
            File::of("crates/smtp/src/a.rs", "#[test]\n#[should_panic]\nfn it_holds() {}\nfn helper() {}\n"),
            File::of("crates/edge/tests/b.rs", "    #[tokio::test(start_paused = true)]\n    async fn it_waits() {}\n"),
            File::of("tests-interop/test_a.py", "    def test_it(self):\n"),
            File::of("crates/smtp/dialogues/server/01-plain.txt", ""),
            File::of("crates/smtp/dialogues/client/01-plain.txt", ""),
        ];
        judge(&tree).into_iter().map(|complaint| complaint.what).collect()
    }

    #[test]
    fn tests_that_are_named_must_exist() {
        for name in ["smtp::it_holds", "edge::it_waits", "test_a.py::test_it", "server/01-plain.txt"] {
            assert_eq!(complaints(&format!("| a | b | `{name}` |")), [""; 0], "{name}");
        }
        for name in [
            "smtp::it_hold",
            "smtp::helper",
            "edge::it_holds",
            "test_a.py::test_other",
            "test_b.py::test_it",
            "server/02-none.txt",
            "01-plain.txt",
        ] {
            assert_eq!(complaints(&format!("| a | b | `smtp::it_holds`, `{name}` |")), [format!("there is no `{name}`")]);
        }
        assert_eq!(complaints("| a | b | by nothing |"), ["this row names no test"]);
        for path in ["dialogues/server/01-plain.txt", "tests-interop/test_a.py"] {
            assert_eq!(complaints(&format!("| a | b | `{path}` |")), [""; 0], "{path}");
        }
    }

    #[test]
    fn the_page_is_there() {
        let tree = super::super::tree(&crate::steps::root()).unwrap();
        assert!(tree.iter().any(|file| file.path == PAGE));
        assert_eq!(judge(&tree), []);
    }
}
