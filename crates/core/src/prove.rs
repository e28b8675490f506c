//! By which mechanism we prove ourselves to a smart host (RFC 4954, RFC 4616 §4: PLAIN is for sessions under TLS).
//!
//! **Promises.** Under TLS what every server judges rightly comes first: PLAIN, then LOGIN, and CRAM-MD5 where it is all that is offered. In the clear no
//! password is shown unless policy says so, and even then a proof without it comes first.
//!
//! **Never** falls back to a mechanism that shows more than policy allows, whatever the server offers, or an attacker strikes out of its offer.

use postrider_model::policy::AuthInClear;
use postrider_smtp::sasl::{Mechanism, Mechanisms};

/// Which of the mechanisms that are offered; else why none, for people. What a server offers may change, so the mail waits.
///
/// # Errors
/// When nothing is offered that we speak, or nothing that may be used without TLS.
pub fn mechanism(offered: Mechanisms, encrypted: bool, in_clear: AuthInClear) -> Result<Mechanism, &'static str> {
    const UNDER_TLS: &[Mechanism] = &[Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5];
    const IN_CLEAR: &[Mechanism] = &[Mechanism::CramMd5, Mechanism::Plain, Mechanism::Login];
    const WITHOUT_PASSWORD: &[Mechanism] = &[Mechanism::CramMd5];
    let allowed = match (encrypted, in_clear) {
        (true, _) => UNDER_TLS,
        (false, AuthInClear::Never) => return Err("the session is in the clear, and auth_in_clear does not allow AUTH there"),
        (false, AuthInClear::WithoutPassword) => WITHOUT_PASSWORD,
        (false, AuthInClear::WithPassword) => IN_CLEAR,
    };
    let found = allowed.iter().copied().find(|mechanism| offered.has(*mechanism));
    found.ok_or(if !offered.is_empty() {
        "the session is in the clear, and the server offers no AUTH mechanism that keeps the password to ourselves; \
         use TLS, or auth_in_clear = \"password\" where nobody can read along"
    } else if encrypted {
        "the server offers neither AUTH PLAIN nor AUTH LOGIN nor AUTH CRAM-MD5"
    } else {
        "the server offers neither AUTH PLAIN nor AUTH LOGIN nor AUTH CRAM-MD5 in the clear"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_shown_only_where_it_may_be() {
        use AuthInClear::{Never, WithPassword, WithoutPassword};
        use Mechanism::{CramMd5, Login, Plain};
        let offer = |words: &str| {
            let mut offered = Mechanisms::default();
            words.split(' ').for_each(|word| offered.add(word));
            offered
        };
        for (words, encrypted, in_clear, expected) in [
            ("PLAIN LOGIN CRAM-MD5", true, Never, Some(Plain)),
            ("CRAM-MD5 LOGIN", true, Never, Some(Login)),
            ("CRAM-MD5", true, Never, Some(CramMd5)),
            ("XOAUTH2", true, WithPassword, None),
            ("PLAIN LOGIN CRAM-MD5", false, Never, None),
            ("PLAIN LOGIN CRAM-MD5", false, WithoutPassword, Some(CramMd5)),
            ("PLAIN LOGIN", false, WithoutPassword, None),
            ("PLAIN LOGIN CRAM-MD5", false, WithPassword, Some(CramMd5)),
            ("PLAIN LOGIN", false, WithPassword, Some(Plain)),
            ("LOGIN", false, WithPassword, Some(Login)),
            ("", false, WithPassword, None),
        ] {
            assert_eq!(mechanism(offer(words), encrypted, in_clear).ok(), expected, "{words} {encrypted} {in_clear:?}");
        }
    }
}
