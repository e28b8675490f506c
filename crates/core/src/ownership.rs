//! Whom a tenant may speak for (RFC 6409 §6.1 lets a submission server judge its clients' addresses).
//!
//! **Promises.** A tenant that is bound to its own domains sends nothing that names another one as reverse-path, author, sender, or the like of a message that it
//! resends: each domain that any reading of the header may find (`mail::claims`) is asked about. What cannot be read in one way only is refused, not guessed. A
//! refusal says which field, which domain, and the command that mends it.
//!
//! **Never** asks the registry: the caller asks it about each [`Claimed`] domain, and gives the answer to [`judge`].
//!
//! **Does badly.** Reply-To may name anybody, as it may everywhere; so may the text.

use std::sync::Arc;

use postrider_mail::claims::{self, Disguise};
use postrider_model::TenantName;
use postrider_model::policy::{SendingDomain, Voice};
use postrider_smtp::{Domain, EnhancedStatus, Host, Reply, ReversePath};

/// Different domains of one message that are asked about.
const DOMAINS_MAX: usize = 32;

/// A domain that a message says it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Where it says so: a field's name, or `MAIL FROM`.
    pub place: &'static str,
    /// The domain.
    pub domain: Domain,
}

/// Why a message is not this tenant's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The domain is nobody's, or another tenant's; which of the two is not told.
    #[error("{place}: {domain} is no domain of {tenant}; add it with: postrider domain add {domain} --tenant {tenant}")]
    Foreign {
        /// Where it stands.
        place: &'static str,
        /// The domain.
        domain: Domain,
        /// Whose mail it would be.
        tenant: TenantName,
    },
    /// The proof was not found.
    #[error("{place}: {domain} is not proven to be yours yet; publish its record, which this shows: postrider domain check {own}")]
    Unproven {
        /// Where it stands.
        place: &'static str,
        /// The domain.
        domain: Domain,
        /// The domain that is to be proven: this one, or one above it.
        own: Domain,
    },
    /// No domain, but something else: an address of a machine, or a name that is none.
    #[error("{place}: {found} is no domain, and only mail from a domain of your own is taken")]
    NoDomain {
        /// Where it stands.
        place: &'static str,
        /// What stands there, harmless.
        found: String,
    },
    /// Whom it is from cannot be said.
    #[error("{0}, so nobody can say whose mail this is")]
    Disguised(#[from] Disguise),
    /// The header is too long to be judged.
    #[error("the header is too long to see whose mail this is")]
    TooLong,
    /// More domains than any person has.
    #[error("it names more than {DOMAINS_MAX} domains as its authors")]
    TooMany,
}

impl Denial {
    /// The reply that says it.
    pub fn reply(&self) -> Reply {
        Reply::new(550, Some(EnhancedStatus::new(5, 7, 1)), self.to_string())
    }
}

/// What the reverse-path says. The null one says nothing.
pub fn of_reverse_path(path: &ReversePath) -> Result<Option<Claimed>, Denial> {
    let place = "MAIL FROM";
    match path.mailbox().map(|mailbox| mailbox.host()) {
        None => Ok(None),
        Some(Host::Domain(domain)) => Ok(Some(Claimed { place, domain: domain.clone() })),
        Some(literal @ Host::Literal(_)) => Err(Denial::NoDomain { place, found: literal.to_string() }),
    }
}

/// What the header says, each domain once; `None` is a header that was too long to keep. A message without From is given one, of its reverse-path.
pub fn of_header(header: Option<&[u8]>) -> Result<Vec<Claimed>, Denial> {
    let claims = claims::of(header.ok_or(Denial::TooLong)?)?;
    let mut claimed: Vec<Claimed> = Vec::new();
    for claim in claims {
        for name in claim.domains {
            let place = claim.field;
            let domain = Domain::parse(&name).map_err(|_| Denial::NoDomain { place, found: harmless(&name) })?;
            if claimed.iter().any(|other| other.domain == domain) {
                continue;
            }
            if claimed.len() == DOMAINS_MAX {
                return Err(Denial::TooMany);
            }
            claimed.push(Claimed { place, domain });
        }
    }
    Ok(claimed)
}

/// Whether the tenant may say it. Gives the domain that lets it.
pub fn judge(claimed: &Claimed, tenant: &TenantName, voice: Voice) -> Result<Option<Arc<SendingDomain>>, Denial> {
    let Claimed { place, domain } = claimed;
    match voice {
        Voice::Proven(own) => Ok(Some(own)),
        Voice::Free(own) => Ok(own),
        Voice::Unproven(own) => Err(Denial::Unproven { place, domain: domain.clone(), own }),
        Voice::Foreign => Err(Denial::Foreign { place, domain: domain.clone(), tenant: tenant.clone() }),
    }
}

/// What a reply may repeat: printable ASCII, and not too much of it.
fn harmless(text: &str) -> String {
    text.chars().take(80).map(|letter| if letter.is_ascii_graphic() { letter } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(domain: &Domain) -> Voice {
        let own = |name: &str| Arc::new(SendingDomain { name: Domain::parse(name).unwrap(), return_path: None });
        match domain.as_str() {
            "shop.example" | "news.shop.example" => Voice::Proven(own("shop.example")),
            "new.example" => Voice::Unproven(Domain::parse("new.example").unwrap()),
            "free.example" => Voice::Free(None),
            _ => Voice::Foreign,
        }
    }

    /// What a bound tenant hears of a message.
    fn check(header: &str) -> String {
        let judged = of_header(Some(header.as_bytes()))
            .and_then(|claimed| claimed.iter().try_for_each(|claimed| judge(claimed, &"shop".into(), voice(&claimed.domain)).map(drop)));
        match judged {
            Ok(()) => "taken".to_owned(),
            Err(denial) => {
                let mut octets = Vec::new();
                denial.reply().write_to(&mut octets);
                String::from_utf8(octets).unwrap().trim_end().to_owned()
            }
        }
    }

    #[test]
    fn a_tenant_speaks_for_its_own_domains() {
        for (header, said) in [
            ("From: a@shop.example\r\nSender: b@news.shop.example\r\n", "taken"),
            ("From: a@shop.example\r\nReply-To: x@gmail.example\r\n", "taken"),
            ("Subject: no author\r\n", "taken"),
            (
                "From: a@bank.example\r\n",
                "550 5.7.1 From: bank.example is no domain of shop; add it with: postrider domain add bank.example --tenant shop",
            ),
            (
                "From: a@shop.example\r\nSender: b@bank.example\r\n",
                "550 5.7.1 Sender: bank.example is no domain of shop; add it with: postrider domain add bank.example --tenant shop",
            ),
            (
                "From: a@shop.example\r\nResent-From: b@bank.example\r\n",
                "550 5.7.1 Resent-From: bank.example is no domain of shop; add it with: postrider domain add bank.example --tenant shop",
            ),
            (
                "From: \"pay@bank.example\" <a@shop.example>\r\n",
                "550 5.7.1 From: bank.example is no domain of shop; add it with: postrider domain add bank.example --tenant shop",
            ),
            (
                "From: a@new.example\r\n",
                "550 5.7.1 From: new.example is not proven to be yours yet; publish its record, which this shows: postrider domain check new.example",
            ),
            ("From: a@[192.0.2.1]\r\n", "550 5.7.1 From: [192.0.2.1] is no domain, and only mail from a domain of your own is taken"),
            ("From: a@b..d\r\n", "550 5.7.1 From: b..d is no domain, and only mail from a domain of your own is taken"),
            (
                "From: a@shop.example\r\nFrom: a@shop.example\r\n",
                "550 5.7.1 there are several From fields, so nobody can say whose mail this is",
            ),
        ] {
            assert_eq!(check(header), said, "{header:?}");
        }
        assert_eq!(of_header(None), Err(Denial::TooLong));
        let many: Vec<String> = (0..40).map(|nth| format!("a@d{nth}.example")).collect();
        assert_eq!(of_header(Some(format!("From: {}\r\n", many.join(", ")).as_bytes())), Err(Denial::TooMany));
    }

    #[test]
    fn a_reverse_path_has_a_domain_or_is_null() {
        for (path, expected) in [
            ("<>", Ok(None)),
            ("<a@Shop.example>", Ok(Some("shop.example"))),
            ("<a@[192.0.2.1]>", Err("MAIL FROM: [192.0.2.1] is no domain, and only mail from a domain of your own is taken")),
        ] {
            let said = of_reverse_path(&ReversePath::parse(path).unwrap());
            let said = said.as_ref().map(|claimed| claimed.as_ref().map(|claimed| claimed.domain.as_str()));
            assert_eq!(said.map_err(ToString::to_string), expected.map_err(str::to_owned), "{path}");
        }
    }
}
