//! Names. Durable records keep names, never resolved settings, so that a changed configuration reaches mail already accepted.

use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Wraps a name; whoever takes names from people validates them first (see `valid_name`).
            pub fn new(name: &str) -> Self {
                Self(Arc::from(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl From<&str> for $type {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }
    };
}

name!(
    /// Whose mail it is.
    TenantName
);
name!(
    /// A tenant's class of mail.
    StreamName
);
name!(
    /// What a client authenticated with.
    CredentialName
);
name!(
    /// The MX hosts that act as one next hop: their names, sorted, joined by commas; or an address literal.
    SiteName
);
name!(
    /// A rule set for the Sites of one operator.
    ProviderName
);
name!(
    /// An address of ours and its EHLO name.
    SourceName
);

impl SiteName {
    /// The hosts alone, without what stands in front of some Sites: the name of a rule, the pool of a stream, or both (`bank+pool:vip@mx.example`).
    pub fn hosts(&self) -> &str {
        let is_in_front = |front: &str| front.split('+').all(|word| valid_name(word.strip_prefix("pool:").unwrap_or(word)));
        self.0.split_once('@').filter(|(front, _)| is_in_front(front)).map_or(&self.0, |(_, hosts)| hosts)
    }
}

/// Whether `name` may name a tenant, stream, credential, source or provider: 1 to 64 of `a-z A-Z 0-9 . _ -`.
pub fn valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_from_people_are_plain() {
        for (name, good) in [("shop", true), ("a.b_c-1", true), ("", false), ("a b", false), ("ü", false), ("a\r\nb", false)] {
            assert_eq!(super::valid_name(name), good, "{name:?}");
        }
        assert!(!super::valid_name(&"a".repeat(65)));
    }
}
