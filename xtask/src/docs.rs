//! The pages that are made from the code: `cargo xtask docs` writes them; tidy (docs/rfc.md) and a unit test of the relay (docs/configuration.md) hold
//! them current.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context as _, Result};

use crate::steps::{cargo, output, root};
use crate::tidy::{Complaint, File, tree};

/// Where the table of RFCs is.
const RFC_PAGE: &str = "docs/rfc.md";

/// What the RFCs that the code names are about.
const TITLES: &[(u32, &str)] = &[
    (821, "Simple Mail Transfer Protocol (1982)"),
    (1035, "Domain names: implementation"),
    (1047, "Duplicate messages and SMTP"),
    (1123, "Requirements for Internet hosts"),
    (1428, "8-bit mail over SMTP"),
    (1651, "SMTP service extensions (1994)"),
    (1652, "8BITMIME (1994)"),
    (1870, "SIZE"),
    (1894, "DSN: the format (1996)"),
    (1928, "SOCKS 5"),
    (1929, "SOCKS 5 with a password"),
    (1939, "POP3"),
    (2033, "LMTP"),
    (2034, "ENHANCEDSTATUSCODES"),
    (2045, "MIME: format of message bodies"),
    (2046, "MIME: media types"),
    (2047, "MIME: words in headers"),
    (2104, "HMAC"),
    (2142, "Mailbox names for services"),
    (2195, "CRAM-MD5"),
    (2308, "Negative caching of DNS queries"),
    (2369, "List header fields"),
    (2505, "Anti-spam recommendations"),
    (2554, "AUTH (1999)"),
    (2821, "Simple Mail Transfer Protocol (2001)"),
    (2822, "Internet Message Format (2001)"),
    (2852, "DELIVERBY"),
    (2919, "List-Id"),
    (2920, "PIPELINING"),
    (3030, "CHUNKING and BINARYMIME"),
    (3207, "STARTTLS"),
    (3339, "Date and time on the Internet"),
    (3461, "DSN: the SMTP extension"),
    (3462, "multipart/report (2003)"),
    (3463, "Enhanced status codes"),
    (3464, "DSN: the format"),
    (3490, "IDNA, the first"),
    (3501, "IMAP"),
    (3596, "DNS for IPv6"),
    (3834, "Automatic responses"),
    (3848, "ESMTP and LMTP transmission types"),
    (3986, "Uniform Resource Identifiers"),
    (4291, "IPv6 addresses"),
    (4343, "Domain names have no case"),
    (4409, "Message submission (2006)"),
    (4422, "SASL"),
    (4616, "SASL PLAIN"),
    (4648, "Base16, Base32 and Base64"),
    (4865, "FUTURERELEASE"),
    (4871, "DKIM (2007)"),
    (4954, "AUTH"),
    (5155, "DNSSEC hashed denial of existence"),
    (5208, "PKCS #8: private keys"),
    (5233, "Sub-addressing"),
    (5234, "ABNF"),
    (5280, "X.509 certificates"),
    (5321, "Simple Mail Transfer Protocol"),
    (5322, "Internet Message Format"),
    (5451, "Authentication-Results (2009)"),
    (5598, "Internet mail architecture"),
    (5735, "Special-use IPv4 addresses"),
    (5802, "SCRAM"),
    (5890, "Internationalised domain names: words"),
    (5891, "Internationalised domain names: protocol"),
    (5952, "Text form of IPv6 addresses"),
    (5965, "Feedback reports"),
    (6008, "DKIM: which signature is meant"),
    (6066, "TLS extensions"),
    (6125, "Service identity in TLS"),
    (6152, "8BITMIME"),
    (6376, "DKIM"),
    (6409, "Message submission"),
    (6522, "multipart/report"),
    (6531, "SMTPUTF8"),
    (6532, "Internationalised headers"),
    (6533, "Internationalised DSN"),
    (6655, "TLS with AES-CCM"),
    (6710, "MT-PRIORITY"),
    (6761, "Special-use domain names"),
    (6890, "Special-purpose addresses"),
    (7208, "SPF"),
    (7372, "Status codes for authentication"),
    (7435, "Opportunistic security"),
    (7468, "PEM"),
    (7489, "DMARC"),
    (7504, "521 and 556 reply codes"),
    (7505, "Null MX"),
    (7628, "OAUTHBEARER"),
    (7672, "DANE for SMTP"),
    (8017, "RSA (PKCS #1)"),
    (8058, "One-click unsubscribe"),
    (8098, "Message disposition notifications"),
    (8301, "DKIM: key sizes and hashes"),
    (8305, "Happy Eyeballs"),
    (8314, "TLS for submission and access"),
    (8410, "Ed25519 in X.509 and PKCS #8"),
    (8446, "TLS 1.3"),
    (8461, "MTA-STS"),
    (8463, "DKIM with Ed25519"),
    (8601, "Authentication-Results"),
    (8617, "ARC"),
    (8689, "REQUIRETLS"),
    (9422, "LIMITS"),
    (9520, "Negative caching of failures in the DNS"),
    (9562, "UUIDs"),
];

/// `docs`
pub fn run() -> Result<()> {
    std::fs::write(root().join(RFC_PAGE), rfc_page(&tree(&root())?))?;
    let page = output(cargo().args(["run", "--quiet", "--package", "postrider", "--", "check", "--reference"]))?;
    std::fs::write(root().join("docs/configuration.md"), page).context("cannot write docs/configuration.md")?;
    Ok(())
}

/// Judges the table.
pub fn judge(tree: &[File]) -> Vec<Complaint> {
    let Some(page) = tree.iter().find(|file| file.path() == RFC_PAGE) else { return Vec::new() };
    let stale = page.text() != rfc_page(tree);
    stale.then(|| Complaint::new(page, 0, "is not what the code says: run `cargo xtask docs`")).into_iter().collect()
}

/// Sections, and the rooms that name them.
#[derive(Default)]
struct Named {
    sections: BTreeSet<String>,
    rooms: BTreeSet<String>,
}

fn rfc_page(tree: &[File]) -> String {
    let mut all: BTreeMap<u32, Named> = BTreeMap::new();
    for file in tree {
        let Some((room, rest)) = file.path().strip_prefix("crates/").and_then(|path| path.split_once('/')) else { continue };
        if !rest.starts_with("src/") || !file.path().ends_with(".rs") {
            continue;
        }
        for (number, sections) in file.text().lines().flat_map(references) {
            let named = all.entry(number).or_default();
            named.sections.extend(sections);
            named.rooms.insert(room.to_owned());
        }
    }
    let mut page = String::from(
        "# RFC coverage\n\nMade by `cargo xtask docs` from the references in the code; tidy holds it current. A section stands here when a line of the code names it as what \
         it\nfulfils or bends. The last column says in which rooms (`crates/`); `grep -rn \"RFC 5321 §4.5.3\" crates` finds the lines.\n\n\
         | RFC | about | sections | rooms |\n|---|---|---|---|\n",
    );
    for (number, named) in &all {
        let title = TITLES.iter().find(|(known, _)| known == number).map_or("", |(_, title)| *title);
        let sections: Vec<&str> = named.sections.iter().map(String::as_str).collect();
        let rooms: Vec<&str> = named.rooms.iter().map(String::as_str).collect();
        let _ = writeln!(page, "| {number} | {title} | {} | {} |", sections.join(" "), rooms.join(", "));
    }
    page
}

/// The RFCs of a line, each with the sections behind it: `RFC 5321 §4.5.3.1, §4.5.4`.
fn references(line: &str) -> impl Iterator<Item = (u32, Vec<String>)> {
    line.match_indices("RFC ").filter_map(move |(at, mark)| {
        let rest = &line[at + mark.len()..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = rest[..digits].parse().ok()?;
        let mut sections = Vec::new();
        let mut rest = &rest[digits..];
        while let Some(behind) = rest.trim_start_matches([',', ' ']).strip_prefix('§') {
            let length = behind.bytes().take_while(|octet| octet.is_ascii_alphanumeric() || *octet == b'.').count();
            let section = behind[..length].trim_end_matches('.');
            if section.is_empty() {
                break;
            }
            sections.push(format!("§{section}"));
            rest = &behind[length..];
        }
        Some((number, sections))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found() {
        let found: Vec<_> = references("// (RFC 5321 §4.5.3.1, §4.5.4; RFC 6409 §8. RFC 3463) and RFC of old").collect();
        let sections = |list: &[&str]| list.iter().map(|section| (*section).to_owned()).collect::<Vec<_>>();
        assert_eq!(found, [(5321, sections(&["§4.5.3.1", "§4.5.4"])), (6409, sections(&["§8"])), (3463, Vec::new())]);
    }

    #[test]
    fn the_page_is_current() {
        let tree = tree(&root()).unwrap();
        assert!(judge(&tree).is_empty(), "run `cargo xtask docs`");
        assert!(tree.iter().any(|file| file.path() == RFC_PAGE));
    }
}
