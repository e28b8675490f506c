//! Who may send.

use std::net::IpAddr;

use crate::{BoxFuture, CredentialName, Priority, StreamName, TenantName};

/// Looks tenants and credentials up by name.
pub trait Registry: Send + Sync {
    /// Who proves itself from this address with this user name and secret; `None` for anybody unknown, a wrong secret, or an address that the credential
    /// is not for, in the same time for all.
    fn authenticate(&self, peer: IpAddr, user: &str, secret: Secret) -> BoxFuture<'_, Option<Principal>>;

    /// Who is known by its address alone.
    fn recognise(&self, peer: IpAddr) -> BoxFuture<'_, Option<Principal>>;
}

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
}
