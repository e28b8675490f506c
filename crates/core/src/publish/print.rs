//! Records in the two forms that people publish them in: as lines of a zone file (RFC 1035 §5.1), and field by field for a provider's form.

use postrider_smtp::Domain;

use super::{Data, Wanted};

/// Octets of one string of a TXT record (RFC 1035 §3.3).
const STRING_OCTETS_MAX: usize = 255;

/// How long resolvers may believe what is published, in seconds.
pub const TTL_SECONDS: u32 = 3600;

/// One line of a zone file.
pub fn zone_line(record: &Wanted) -> String {
    let name = record.name.to_ascii();
    match &record.data {
        Data::Text(text) => format!("{name}. {TTL_SECONDS} IN TXT {}", strings(text)),
        Data::Mx(preference, host) => format!("{name}. {TTL_SECONDS} IN MX {preference} {}.", host.to_ascii()),
    }
}

/// All records as a zone file, with their reasons.
pub fn zone(records: &[Wanted]) -> String {
    records.iter().map(|record| format!("; {}\n{}\n", record.what.title(), zone_line(record))).collect()
}

/// All records for people who fill in a form: each field on a line of its own, to be copied.
pub fn table(domain: &Domain, records: &[Wanted]) -> String {
    let one = |(nth, record): (usize, &Wanted)| {
        let (kind, priority, value) = match &record.data {
            Data::Text(text) => ("TXT", String::new(), text.clone()),
            Data::Mx(preference, host) => ("MX", format!("   priority  {preference}\n"), host.to_ascii().into_owned()),
        };
        let (relative, full) = (relative(domain, &record.name), record.name.to_ascii());
        format!(
            "{}. {}\n   type      {kind}\n   name      {relative}\n   in full   {full}\n{priority}   value     {value}\n",
            nth + 1,
            record.what.title()
        )
    };
    records.iter().enumerate().map(one).collect::<Vec<_>>().join("\n")
}

/// A name as a provider's form wants it: without the domain, which the provider adds by itself; `@` is the domain.
pub fn relative(domain: &Domain, name: &Domain) -> String {
    let (domain, name) = (domain.to_ascii(), name.to_ascii());
    match name.strip_suffix(&*domain) {
        Some("") => "@".to_owned(),
        Some(front) if front.ends_with('.') => front.trim_end_matches('.').to_owned(),
        _ => format!("{name}."),
    }
}

/// A text as strings of at most 255 octets, which belong together (RFC 6376 §3.6.2.2, RFC 7208 §3.3).
fn strings(text: &str) -> String {
    let quoted = |part: &[u8]| format!("\"{}\"", String::from_utf8_lossy(part).replace('\\', "\\\\").replace('"', "\\\""));
    let strings: Vec<String> = text.as_bytes().chunks(STRING_OCTETS_MAX).map(quoted).collect();
    match strings.len() {
        0 => "\"\"".to_owned(),
        1 => strings.concat(),
        _ => format!("( {} )", strings.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::What;
    use super::*;

    #[test]
    fn a_long_record_is_several_strings() {
        assert_eq!(strings("v=DKIM1"), "\"v=DKIM1\"");
        let long = "x".repeat(300);
        assert_eq!(strings(&long), format!("( \"{}\" \"{}\" )", "x".repeat(255), "x".repeat(45)));
        assert_eq!(strings("a\"b\\"), "\"a\\\"b\\\\\"");
        assert_eq!(strings(""), "\"\"");
    }

    #[test]
    fn names_are_relative_to_the_domain() {
        let domain = |text: &str| Domain::parse(text).unwrap();
        for (name, expected) in [
            ("brand.example", "@"),
            ("_dmarc.brand.example", "_dmarc"),
            ("s1._domainkey.brand.example", "s1._domainkey"),
            ("other.example", "other.example."),
            ("notbrand.example", "notbrand.example."),
        ] {
            assert_eq!(relative(&domain("brand.example"), &domain(name)), expected);
        }
        let record = Wanted { what: What::ReturnMx, name: domain("b\u{fc}cher.example"), data: Data::Mx(10, domain("mail.example")) };
        assert_eq!(zone_line(&record), "xn--bcher-kva.example. 3600 IN MX 10 mail.example.");
    }
}
