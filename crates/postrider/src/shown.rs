//! Text of strangers, shown so that it stays text; and the one way in which commands print.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};

/// Letters that end a line, steer a terminal, turn text around, or cannot be seen.
pub fn deceives(letter: char) -> bool {
    let invisible = '\u{200b}'..='\u{200f}';
    let separators_and_embeddings = '\u{2028}'..='\u{202e}';
    let joiners_and_isolates = '\u{2060}'..='\u{206f}';
    letter.is_control()
        || invisible.contains(&letter)
        || separators_and_embeddings.contains(&letter)
        || joiners_and_isolates.contains(&letter)
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Shows a text on one line: what deceives is written as `\u{1b}`.
pub struct Clean<'a>(pub &'a str);

impl Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            if deceives(letter) { write!(f, "\\u{{{:x}}}", u32::from(letter))? } else { f.write_char(letter)? }
        }
        Ok(())
    }
}

/// A value as one line of JSON in which nothing deceives: what does is escaped, so that a program reads the same and a terminal obeys nothing.
pub fn json(value: &impl serde::Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
    if !text.chars().any(deceives) {
        return Ok(text);
    }
    let mut escaped = String::with_capacity(text.len() + 64);
    for letter in text.chars() {
        if deceives(letter) {
            // JSON knows only four digits; what lies above the basic plane goes as a pair of surrogates.
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(letter);
        }
    }
    Ok(escaped)
}

/// Prints one line to standard output.
pub fn say(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// Octets for people: `512 B`, `10.2 KB`, `1.5 GB`.
pub fn octets(octets: u64) -> String {
    let mut unit = 0;
    let mut value = octets as f64;
    while value >= 999.95 && unit < 4 {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{octets} B"),
        _ => format!("{value:.1} {}", ["B", "KB", "MB", "GB", "TB"][unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(Clean("a\u{1b}[2J\r\nb\u{202e}ü").to_string(), "a\\u{1b}[2J\\u{d}\\u{a}b\\u{202e}ü");
        let value = ["a\u{1b}[2J\r\n", "\u{9b}2J\u{7f}", "b\u{202e}ü", "\u{e0041}\u{2028}\u{85}"];
        let shown = json(&value).unwrap();
        assert_eq!(shown, r#"["a\u001b[2J\r\n","\u009b2J\u007f","b\u202eü","\udb40\udc41\u2028\u0085"]"#);
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), value);
        for (count, said) in
            [(0, "0 B"), (999, "999 B"), (1_000, "1.0 KB"), (999_949, "999.9 KB"), (999_950, "1.0 MB"), (u64::MAX, "18446744.1 TB")]
        {
            assert_eq!(octets(count), said);
        }
    }
}
