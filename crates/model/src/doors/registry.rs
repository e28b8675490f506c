//! Who may send.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_mail::dkim::SigningKey;
use postrider_smtp::Domain;

use super::ShownCertificate;
use crate::policy::{Allowance, ReturnPath, Stream, Voice};
use crate::{BoxFuture, CredentialName, Priority, StreamName, TenantName};

/// Looks tenants and credentials up by name.
pub trait Registry: Send + Sync {
    /// Who proves itself from this address with this user name and secret; `None` for anybody unknown, a wrong secret, or an address that the credential
    /// is not for, in the same time for all.
    fn authenticate<'a>(&'a self, peer: IpAddr, user: &'a str, secret: Secret)
    -> BoxFuture<'a, Result<Option<Principal>, RegistryTrouble>>;

    /// What holds now for who proved itself before: a session may be older than a change. `None`: it may not send any more.
    fn renew<'a>(&'a self, principal: &'a Principal) -> BoxFuture<'a, Result<Option<Principal>, RegistryTrouble>>;

    /// Who is known by its address alone.
    fn recognise(&self, peer: IpAddr) -> BoxFuture<'_, Option<Principal>>;

    /// Who is known by the certificate it has shown, from this address; and whether that is enough, or it has to say AUTH EXTERNAL. A registry without certificates
    /// knows nobody.
    fn recognise_certificate(&self, _peer: IpAddr, _shown: &ShownCertificate) -> BoxFuture<'_, Option<(Principal, bool)>> {
        Box::pin(std::future::ready(None))
    }

    /// Whether any domain signs. Without one nobody looks for a signer.
    fn signs(&self) -> bool;

    /// A number for which pools streams name: another one after each change of it, and zero while none names any. Then nobody asks for a stream to route its mail. A
    /// registry without pools says so.
    fn pools(&self) -> u64 {
        0
    }

    /// Whether any stream keeps its mail when it is done. Without one nobody asks for a stream to settle an outcome.
    fn retains(&self) -> bool {
        false
    }

    /// Who signs mail of this tenant that says it is from this domain: the domain itself or the closest above it that has keys (RFC 7489 §3.1.1 counts both as
    /// aligned), and the operator, where it signs for all. Nobody, when no domain that fits has keys.
    fn signers<'a>(&'a self, tenant: &'a TenantName, from: &'a Domain) -> BoxFuture<'a, Result<Vec<Arc<Signer>>, RegistryTrouble>>;

    /// What is known of a tenant's stream. A name that nobody knows any more has the defaults: mail that was accepted under it goes on.
    fn stream<'a>(&'a self, tenant: &'a TenantName, stream: &'a StreamName) -> BoxFuture<'a, Result<Arc<Stream>, RegistryTrouble>>;

    /// Whose return path a domain is; `None`, when it is nobody's. A registry that knows of none has none.
    fn return_path<'a>(&'a self, _domain: &'a Domain) -> BoxFuture<'a, Result<Option<Arc<ReturnPath>>, RegistryTrouble>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Whether a tenant may speak for a domain.
    fn voice<'a>(&'a self, tenant: &'a TenantName, domain: &'a Domain) -> BoxFuture<'a, Result<Voice, RegistryTrouble>>;
}

/// A domain that signs (RFC 6376), with every key that it signs with.
#[derive(Debug)]
pub struct Signer {
    /// In A-labels and lower case.
    pub domain: Box<str>,
    /// Each makes a signature of its own: verifiers take the one they know.
    pub keys: Vec<(Box<str>, SigningKey)>,
}

/// The registry cannot say now; it may be able to later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the registry does not answer: {0}")]
pub struct RegistryTrouble(pub Arc<str>);

/// A secret on its way to be checked; never printed.
#[derive(Clone)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Who was recognised, and what mail it sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose mail.
    pub tenant: TenantName,
    /// Which class.
    pub stream: StreamName,
    /// Proved with.
    pub credential: Option<CredentialName>,
    /// The stream's urgency.
    pub priority: Priority,
    /// It speaks for the domains that are its tenant's, and for no other ([`Registry::voice`]).
    pub own_domains_only: bool,
    /// After this time the stream's mail is given up; `None`: as the retry policy says.
    pub give_up_after: Option<Duration>,
    /// How much it may send; `None`: there is no bound.
    pub allowances: Option<Arc<Allowances>>,
}

/// Bounds on what a tenant and one of its credentials send. Both hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Over all credentials.
    pub tenant: Allowance,
    /// Of this one.
    pub credential: Allowance,
    /// Why the credential goes slowly, when it does.
    pub braked: Option<Box<str>>,
}
