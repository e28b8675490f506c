//! Who may send, from the configuration file.
//!
//! **Promises.** A secret is 256 random bits, so its SHA-256 is enough to keep; it is compared in constant time. An unknown user takes the same
//! way, with a digest that no secret has, so that the time tells nothing about who exists. A reload replaces all of it at once.
//!
//! **Does badly.** Nothing locks a guesser out: 256 bits are not guessed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use postrider_model::BoxFuture;
use postrider_model::doors::{Principal, Registry, Secret};

use crate::config::Credential;

/// Credentials by the digest of their user, so that the search itself is blind to how near a guessed name comes.
type Table = BTreeMap<[u8; 32], Entry>;

struct Entry {
    secret_sha256: [u8; 32],
    principal: Principal,
}

/// The registry of one configuration, until the next.
pub struct ConfigRegistry {
    table: ArcSwap<Table>,
}

impl ConfigRegistry {
    /// A registry of these credentials.
    pub fn new(credentials: &[Credential]) -> Self {
        Self { table: ArcSwap::from_pointee(table(credentials)) }
    }

    /// Other credentials hold from now on.
    pub fn replace(&self, credentials: &[Credential]) {
        self.table.store(Arc::new(table(credentials)));
    }

    fn look(&self, user: &str, secret: &Secret) -> Option<Principal> {
        let table = self.table.load();
        let entry = table.get(&sha256(user.as_bytes()));
        // No octets have this digest, as far as anybody knows.
        let expected = entry.map_or([0; 32], |entry| entry.secret_sha256);
        let right = verify_slices_are_equal(&sha256(&secret.0), &expected).is_ok();
        entry.filter(|_| right).map(|entry| entry.principal.clone())
    }
}

impl Registry for ConfigRegistry {
    fn authenticate(&self, user: &str, secret: Secret) -> BoxFuture<'_, Option<Principal>> {
        let found = self.look(user, &secret);
        Box::pin(std::future::ready(found))
    }
}

fn table(credentials: &[Credential]) -> Table {
    let entry = |credential: &Credential| Entry {
        secret_sha256: credential.secret_sha256,
        principal: Principal {
            tenant: credential.tenant.clone(),
            stream: credential.stream.clone(),
            credential: Some(credential.user.clone()),
            priority: credential.priority,
        },
    };
    credentials.iter().map(|credential| (sha256(credential.user.as_str().as_bytes()), entry(credential))).collect()
}

/// SHA-256.
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, octets).as_ref());
    out
}

/// Hexadecimal digits, in lower case.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use postrider_model::Priority;

    use super::*;

    fn credential(user: &str, secret: &str) -> Credential {
        Credential {
            user: user.into(),
            secret_sha256: sha256(secret.as_bytes()),
            tenant: "shop".into(),
            stream: "receipts".into(),
            priority: Priority::High,
        }
    }

    #[test]
    fn only_the_right_secret_of_a_known_user_is_recognised() {
        let registry = ConfigRegistry::new(&[credential("app", "one"), credential("other", "two")]);
        let look = |user: &str, secret: &str| registry.look(user, &Secret(secret.as_bytes().to_vec())).map(|p| p.credential.unwrap());
        for (user, secret, known) in [
            ("app", "one", true),
            ("other", "two", true),
            ("app", "two", false),
            ("app", "", false),
            ("nobody", "one", false),
            ("", "", false),
            ("APP", "one", false),
        ] {
            assert_eq!(look(user, secret), known.then(|| user.into()), "{user} {secret}");
        }
        registry.replace(&[credential("app", "three")]);
        assert_eq!((look("app", "one").is_some(), look("app", "three").is_some(), look("other", "two").is_some()), (false, true, false));
    }

    #[test]
    fn digests_are_those_of_the_standard() {
        assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
