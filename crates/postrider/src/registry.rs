//! Who may send, from the configuration file.
//!
//! **Promises.** A secret is 256 random bits, so its SHA-256 is enough to keep; it is compared in constant time. An unknown user takes the same
//! way, with a digest that no secret has, so that the time tells nothing about who exists. A reload replaces all of it at once.
//!
//! **Never** counts failures: who guesses is made to wait by `core::lockout`, over whatever registry there is.

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
        let right = same(&sha256(&secret.0), &expected);
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

/// Compares in constant time.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    #[cfg(test)]
    tests::WORK.with_borrow_mut(|work| work.push("compare".to_owned()));
    verify_slices_are_equal(one, other).is_ok()
}

/// SHA-256.
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    #[cfg(test)]
    tests::WORK.with_borrow_mut(|work| work.push(format!("digest of {}", octets.len())));
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
    use std::cell::RefCell;

    use postrider_model::Priority;

    use super::*;

    thread_local! {
        /// What was computed on this thread.
        pub(super) static WORK: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

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
    fn an_unknown_user_and_a_wrong_secret_cost_the_same_work() {
        let registry = ConfigRegistry::new(&[credential("app", "one"), credential("other", "two")]);
        let work = |user: &str, secret: &str| {
            WORK.take();
            assert!(registry.look(user, &Secret(secret.as_bytes().to_vec())).is_none());
            WORK.take()
        };
        let wrong = work("app", "xxx");
        assert_eq!(wrong, ["digest of 3", "digest of 3", "compare"]);
        assert_eq!(work("abc", "xxx"), wrong);
    }

    #[test]
    fn digests_are_those_of_the_standard() {
        assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
