//! Folding of fields whose lines are too long (RFC 5322 §2.1.1, §2.2.3).
//!
//! **Promises.** [`folded`] adds line ends before blanks that are there, and nothing else: unfolded, a value is what it was. Work is linear.
//!
//! **Does badly.** A word of more than 998 octets stays as it is: only its author knows where it could be broken.

use memchr::memrchr2;

use crate::encode::SHORT_LINE_OCTETS;

/// A value of a field, without its line end, in lines of no more than 998 octets as far as its blanks allow; `None` where that changes nothing.
pub fn folded(name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let before = name.len() + 1;
    if before + value.len() <= SHORT_LINE_OCTETS {
        return None;
    }
    let mut out = Vec::with_capacity(value.len() + 2 * (value.len() / SHORT_LINE_OCTETS + 1));
    for (nth, line) in value.split_inclusive(|octet| *octet == b'\n').enumerate() {
        // Behind the last word nothing is broken: a line of blanks alone would end a header for some readers.
        let end = line.iter().rposition(|octet| !octet.is_ascii_whitespace()).map_or(0, |at| at + 1);
        let (mut rest, mut text) = (line, &line[..end]);
        let mut room = SHORT_LINE_OCTETS.saturating_sub(if nth == 0 { before } else { 0 });
        while text.len() > room
            && let Some(at) = break_before(text, room)
        {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(b"\r\n");
            (rest, text, room) = (&rest[at..], &text[at..], SHORT_LINE_OCTETS);
        }
        out.extend_from_slice(rest);
    }
    (out.len() > value.len()).then_some(out)
}

/// Whether each line of a field has no more than 998 octets.
pub fn fits(name: &[u8], value: &[u8]) -> bool {
    let lines = value.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line).len());
    let mut before = name.len() + 1;
    lines.into_iter().all(|octets| std::mem::take(&mut before) + octets <= SHORT_LINE_OCTETS)
}

/// The last blank that leaves no more than `room` octets before it, a word among them; or the first one behind a word that is longer.
fn break_before(text: &[u8], room: usize) -> Option<usize> {
    let begins = text.iter().position(|octet| !is_blank(octet))?;
    let last = memrchr2(b' ', b'\t', &text[..text.len().min(room + 1)]).filter(|at| *at > begins);
    last.or_else(|| text[begins..].iter().position(is_blank).map(|at| begins + at))
}

fn is_blank(octet: &u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(value: &[u8]) -> Vec<usize> {
        value.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line).len()).collect()
    }

    #[test]
    fn long_lines_are_broken_at_their_blanks_and_nothing_is_lost() {
        let words = " a.very.usual@address.example,".repeat(100);
        let folds = format!(" short\r\n{words}\r\n and short");
        let mixed = format!(" {} x {}", "y".repeat(1_200), "z ".repeat(700));
        for value in [words.as_str(), &folds, &mixed, &words.replace(' ', "\t"), &format!("{words}{}", " ".repeat(2_000))] {
            let folded = folded(b"To", value.as_bytes()).unwrap();
            assert!(folded != value.as_bytes());
            let plain = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap().replace("\r\n", "");
            assert_eq!(plain(&folded), plain(value.as_bytes()), "unfolded, it is what it was");
            let long: Vec<usize> = lines(&folded).into_iter().filter(|octets| *octets > 998).collect();
            assert_eq!(fits(b"To", &folded), long.is_empty());
            assert!(long.len() <= 1 && (long.is_empty() || value == mixed || value.ends_with("  ")), "{long:?}");
            assert!(folded.split(|octet| *octet == b'\n').all(|line| !line.trim_ascii().is_empty()), "no line is of blanks alone");
            assert_eq!(super::folded(b"To", &folded), None, "once is enough");
        }
    }

    #[test]
    fn what_needs_no_fold_or_can_have_none_stays() {
        let short = format!(" {}", "x ".repeat(490));
        for value in ["", " short", &short, &format!(" {}", "x".repeat(2_000)), &format!("{}\r\n", " ".repeat(2_000)), &" ".repeat(1_500)] {
            assert_eq!(folded(b"Subject", value.as_bytes()), None, "{value:?}");
        }
        // The name counts.
        let value = format!(" {} end", "x".repeat(990));
        assert!(folded(b"A", value.as_bytes()).is_none() && fits(b"A", value.as_bytes()));
        assert!(folded(b"Subject", value.as_bytes()).is_some() && !fits(b"Subject", value.as_bytes()));
    }

    #[test]
    fn ten_times_the_input_is_at_most_twenty_times_the_work() {
        let long = " word".repeat(200_000);
        assert_eq!(folded(b"X", long.as_bytes()).map(|folded| folded.len() > long.len()), Some(true));
        let blanks = " ".repeat(1_000_000);
        assert_eq!(folded(b"X", blanks.as_bytes()), None);
    }
}
