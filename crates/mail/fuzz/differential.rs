//! Our header fields against those of mail-parser, one content at a time.
//!
//! A header that keeps RFC 5322 §2.2 and ends in an empty line must have the same fields with the same values for both, folds included. What
//! bends the grammar is read by each in its own way and is not compared: line ends without CR, lines without a colon, blanks before the colon,
//! names of other characters, folds of nothing but blanks.

use mail_parser::MessageParser;
use postrider_mail::Fields;

/// Compares the two on one content.
pub fn check(content: &[u8]) {
    let Some(head) = strict_head(content) else { return };
    let ours: Vec<(String, &[u8])> = Fields::of(content).map(|field| (name(field.name), trim(field.value))).collect();
    // Fields as they stand: their parsers of dates and addresses run on into the next field when a value is broken.
    let theirs = MessageParser::new().header_raw("Subject").default_header_raw().parse_headers(content).expect("they read what keeps the grammar");
    let theirs = theirs.parts[0].headers.iter();
    let theirs: Vec<(String, &[u8])> = theirs
        .map(|header| {
            let value = &content[header.offset_start as usize..header.offset_end as usize];
            (name(&content[header.offset_field as usize..header.offset_start as usize - 1]), trim(value))
        })
        .collect();
    assert_eq!(ours, theirs, "{}", head.escape_ascii());
}

fn name(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).to_ascii_lowercase()
}

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// The header, when it keeps the grammar and an empty line ends it.
fn strict_head(content: &[u8]) -> Option<&[u8]> {
    let end = content.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = &content[..end + 2];
    let mut is_first = true;
    for line in head.split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r\n")?;
        if line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            return None;
        }
        let is_fold = matches!(line.first()?, b' ' | b'\t');
        let is_sound = if is_fold {
            !is_first && !line.trim_ascii().is_empty()
        } else {
            let colon = line.iter().position(|octet| *octet == b':')?;
            colon > 0 && line[..colon].iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
        };
        if !is_sound {
            return None;
        }
        is_first = false;
    }
    (!is_first).then_some(head)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_agrees() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/differential");
        let (mut replayed, mut compared) = (0, 0);
        for entry in std::fs::read_dir(folder).expect("the corpus is there") {
            let content = std::fs::read(entry.expect("readable").path()).expect("readable");
            super::check(&content);
            replayed += 1;
            compared += usize::from(super::strict_head(&content).is_some());
        }
        assert!(replayed >= 10 && compared >= 4, "{compared} of {replayed} could be compared");
    }
}
