//! Where one organisation ends in the DNS and the next begins, by the Public Suffix List (RFC 7489 §3.2): below `co.uk` or `github.io` everybody registers his own.
//!
//! **Promises.** Names are in A-labels and in lower case; any text is taken, and gets an answer. The list is compiled in: nothing is asked or read.
//!
//! **Does badly.** The list is as old as this program. A domain that it does not know ends at its last dot but one.

/// The domain that an organisation registered: one label below a public suffix. What is a suffix itself, or has one label, stands for itself.
pub fn organisation(domain: &str) -> &str {
    psl::domain_str(domain).unwrap_or(domain)
}

/// Whether two domains are of one organisation, which is what relaxed alignment asks (RFC 7489 §3.1).
pub fn are_of_one(one: &str, other: &str) -> bool {
    organisation(one) == organisation(other)
}

/// Whether a domain is a suffix that the list names, so that nobody speaks for all that is below it. One label that it does not name, as a network of one's own has,
/// is none.
pub fn is_public(domain: &str) -> bool {
    psl::suffix(domain.as_bytes()).is_some_and(|suffix| suffix.is_known() && suffix.as_bytes() == domain.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organisations() {
        for (domain, expected) in [
            ("b.example", "b.example"),
            ("x.y.b.example", "b.example"),
            ("a.b.co.uk", "b.co.uk"),
            ("co.uk", "co.uk"),
            ("user.github.io", "user.github.io"),
            ("x.user.github.io", "user.github.io"),
            ("www.xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("a.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
            ("localhost", "localhost"),
            ("", ""),
            ("..", ".."),
        ] {
            assert_eq!(organisation(domain), expected);
        }
    }

    #[test]
    fn relaxed_alignment_is_of_one_organisation() {
        for (one, other, aligned) in [
            ("b.example", "b.example", true),
            ("b.example", "bounce.b.example", true),
            ("news.b.example", "bounce.b.example", true),
            ("b.example", "evilb.example", false),
            ("b.example", "example", false),
            ("a.co.uk", "b.co.uk", false),
            ("a.co.uk", "co.uk", false),
            ("x.a.co.uk", "y.a.co.uk", true),
            ("a.github.io", "b.github.io", false),
            ("a.github.io", "github.io", false),
            ("co.uk", "co.uk", true),
            ("city.kawasaki.jp", "x.city.kawasaki.jp", true),
            ("a.b.kawasaki.jp", "a.c.kawasaki.jp", false),
        ] {
            assert_eq!((are_of_one(one, other), are_of_one(other, one)), (aligned, aligned), "{one} {other}");
        }
    }

    #[test]
    fn public_suffixes() {
        for (domain, is) in [
            ("com", true),
            ("co.uk", true),
            ("github.io", true),
            ("xn--55qx5d.cn", true),
            ("b.kawasaki.jp", true),
            ("city.kawasaki.jp", false),
            ("a.co.uk", false),
            ("user.github.io", false),
            ("brand.example", false),
            // Of a network of one's own.
            ("localhost", false),
            ("corp", false),
            ("", false),
        ] {
            assert_eq!(is_public(domain), is, "{domain}");
        }
    }
}
