//! The keys of tokens, in a small file of the data directory (`mail::token`).
//!
//! **Promises.** The file is made at the first start, from 256 random bits, for its owner alone, and is on stable storage under its name before a token is made: a
//! token that went out is known after any crash. A file that cannot be read, or that others may read, is refused with a sentence: a relay that made new keys
//! instead would not know its own links any more. Two keys may stand there; the first makes tokens, the second is still known.
//!
//! **Never** prints a key.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use postrider_mail::token::Keys;
use postrider_model::doors::Entropy;

use crate::data::write_new;
use crate::registry::hex;

const FIRST_LINE: &str = "postrider tokens 1";

/// The keys of this file, made when there is none.
pub fn open(path: &Path, entropy: &dyn Entropy) -> anyhow::Result<Keys> {
    let shown = path.display();
    let facts = match fs::metadata(path) {
        Ok(facts) => facts,
        Err(trouble) if trouble.kind() == io::ErrorKind::NotFound => return make(path, entropy),
        Err(trouble) => return Err(trouble).with_context(|| format!("cannot look at the keys of tokens in {shown}")),
    };
    if facts.mode() & 0o077 != 0 {
        bail!("others than its owner may read {shown}, which holds the keys of tokens: chmod 600 it; if somebody has read it, remove it");
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the keys of tokens in {shown}"))?;
    read(&text).map_err(|why| {
        anyhow!("{shown} does not hold keys of tokens: {why}. Put it back from a backup; without it (remove the file) links and return paths that went out are known no more")
    })
}

fn make(path: &Path, entropy: &dyn Entropy) -> anyhow::Result<Keys> {
    let mut key = [0; 32];
    entropy.fill(&mut key);
    write_new(path, format!("{FIRST_LINE}\n1 {}\n", hex(&key)).as_bytes())?;
    // The name is on the disk when its directory is.
    path.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
        .with_context(|| format!("cannot sync {}", path.display()))?;
    Keys::new(&[(1, key)]).map_err(|trouble| anyhow!(trouble))
}

/// A new key makes tokens from the next start on; the one that made them so far is still known, and what was before it goes.
pub fn rotate(path: &Path, entropy: &dyn Entropy) -> anyhow::Result<()> {
    let shown = path.display();
    open(path, entropy)?;
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the keys of tokens in {shown}"))?;
    let (number, before) = lines(&text).map_err(|why| anyhow!("{shown} does not hold keys of tokens: {why}"))?[0];
    let mut fresh = [0; 32];
    entropy.fill(&mut fresh);
    let text = format!("{FIRST_LINE}\n{} {}\n{number} {}\n", number.wrapping_add(1), hex(&fresh), hex(&before));
    let aside = path.with_extension("new");
    let _ = fs::remove_file(&aside);
    write_new(&aside, text.as_bytes())?;
    fs::rename(&aside, path).with_context(|| format!("cannot replace {shown}"))?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all()).with_context(|| format!("cannot sync {shown}"))
}

fn read(text: &str) -> Result<Keys, String> {
    Keys::new(&lines(text)?).map_err(|trouble| trouble.to_string())
}

/// The keys as they stand; at least one.
fn lines(text: &str) -> Result<Vec<(u8, [u8; 32])>, String> {
    let mut lines = text.lines();
    match lines.next() {
        Some(FIRST_LINE) => {}
        Some(other) if other.starts_with("postrider tokens ") => return Err("another release wrote it".to_owned()),
        _ => return Err("its first line is another one".to_owned()),
    }
    let keys: Option<Vec<(u8, [u8; 32])>> = lines.map(key).collect();
    let keys = keys.ok_or("a line is no number with 64 hexadecimal digits")?;
    if keys.is_empty() { Err("a ring has one key or two".to_owned()) } else { Ok(keys) }
}

fn key(line: &str) -> Option<(u8, [u8; 32])> {
    let (number, digits) = line.split_once(' ')?;
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut key = [0; 32];
    for (octet, at) in key.iter_mut().zip((0..64).step_by(2)) {
        *octet = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some((number.parse().ok()?, key))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use postrider_edge::SystemEntropy;
    use postrider_mail::token::Delivery;

    use super::*;

    #[test]
    fn keys_are_made_once_and_a_damaged_file_is_refused() {
        let root = std::env::temp_dir().join(format!("postrider-tokens-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let path = root.join("tokens");
        let token = |keys: &Keys| keys.return_token(Delivery { message: 7, index: 1 }, "b.example");
        let first = token(&open(&path, &SystemEntropy::new()).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(token(&open(&path, &SystemEntropy::new()).unwrap()), first, "the next start knows them");
        let made = fs::read_to_string(&path).unwrap();
        fs::write(&path, made.replace("1 ", "2 ").replace("tokens 2", "tokens 1") + made.lines().last().unwrap()).unwrap();
        assert!(open(&path, &SystemEntropy::new()).unwrap().returned(&first, "b.example").is_some(), "the second is still known");
        for (text, said) in [
            ("", "first line"),
            ("postrider tokens 2\n", "another release"),
            ("postrider tokens 1\n", "one key"),
            ("postrider tokens 1\n1 abcd\n", "64 hexadecimal"),
            (&made.replace("\n1 ", "\n300 "), "64 hexadecimal"),
            (&format!("{made}{}", made.lines().last().unwrap()), "same number"),
        ] {
            fs::write(&path, text).unwrap();
            let refused = format!("{:#}", open(&path, &SystemEntropy::new()).unwrap_err());
            assert!(refused.contains(said) && refused.contains("backup"), "{refused}");
        }
        fs::write(&path, &made).unwrap();
        let known = |token: &str| open(&path, &SystemEntropy::new()).unwrap().returned(token, "b.example").is_some();
        rotate(&path, &SystemEntropy::new()).unwrap();
        let second = token(&open(&path, &SystemEntropy::new()).unwrap());
        assert!(second != first && known(&first) && known(&second), "the key before is still known");
        rotate(&path, &SystemEntropy::new()).unwrap();
        assert!(!known(&first) && known(&second) && fs::metadata(&path).unwrap().mode() & 0o777 == 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(open(&path, &SystemEntropy::new()).unwrap_err().to_string().contains("chmod 600"));
        fs::remove_dir_all(&root).unwrap();
    }
}
