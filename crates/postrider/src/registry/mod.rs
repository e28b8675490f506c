//! Who may send: what the configuration file says, and below it what the registry in SQL holds.
//!
//! **Promises.** The file's word is the operator's, and comes first: a user, a tenant's bound, a stream or a domain that the file names is as the file says. Whatever it
//! does not name is asked of the registry, whose silence is trouble, never "no".
//!
//! **Does badly.** A domain that stands in both is the file's, with its keys; `check` does not tell.

mod file;
mod open;

pub use file::{ConfigRegistry, hex, sha256};
pub use open::{open_book, open_registry};

use std::net::IpAddr;
use std::sync::Arc;

use postrider_model::doors::{Allowances, Principal, Registry, RegistryTrouble, Secret, ShownCertificate, Signer};
use postrider_model::policy::{ReturnPath, Stream, Voice};
use postrider_model::{BoxFuture, StreamName, TenantName};
use postrider_records::{Own, SqlRegistry};
use postrider_smtp::{Domain, Mailbox};

/// Both, one over the other.
pub struct LayeredRegistry {
    file: Arc<ConfigRegistry>,
    book: Arc<SqlRegistry>,
}

impl LayeredRegistry {
    /// The file over the book.
    pub fn new(file: Arc<ConfigRegistry>, book: Arc<SqlRegistry>) -> Self {
        Self { file, book }
    }

    /// What the file says of a credential, and whether it is braked.
    fn with_brake(&self, principal: Principal) -> Principal {
        let Some(why) = principal.credential.as_ref().and_then(|user| self.book.braked(user)) else { return principal };
        let allowances = principal.allowances.as_deref().cloned().unwrap_or_default();
        Principal { allowances: Some(Arc::new(Allowances { braked: Some(why), ..allowances })), ..principal }
    }

    async fn find_voice(&self, tenant: &TenantName, domain: &Domain) -> Result<Voice, RegistryTrouble> {
        let said = self.file.voice(tenant, domain);
        if said.domain().is_some() {
            return Ok(said);
        }
        let own = self.book.own(tenant, domain).await?;
        let bound = match (self.file.names(tenant), &said) {
            (true, said) => *said == Voice::Foreign,
            // A tenant that nobody knows any more speaks for nobody.
            (false, _) => self.book.bound(tenant).await?.unwrap_or(true),
        };
        Ok(match (own, bound) {
            (Own::Proven(domain), true) => Voice::Proven(domain),
            (Own::Proven(domain), false) => Voice::Free(Some(domain)),
            (Own::Unproven(domain), true) => Voice::Unproven(domain),
            (Own::Nothing, true) => Voice::Foreign,
            (Own::Unproven(_) | Own::Nothing, false) => Voice::Free(None),
        })
    }
}

impl Registry for LayeredRegistry {
    fn authenticate<'a>(
        &'a self,
        peer: IpAddr,
        user: &'a str,
        secret: Secret,
    ) -> BoxFuture<'a, Result<Option<Principal>, RegistryTrouble>> {
        Box::pin(async move {
            match self.file.look(peer, user, &secret) {
                Some(principal) => Ok(Some(self.with_brake(principal))),
                // The file's user is nobody else's.
                None if self.file.renew(user).is_some() => Ok(None),
                None => self.book.authenticate(peer, user, &secret).await,
            }
        })
    }

    fn renew<'a>(&'a self, principal: &'a Principal) -> BoxFuture<'a, Result<Option<Principal>, RegistryTrouble>> {
        Box::pin(async move {
            let Some(user) = &principal.credential else { return Ok(Some(principal.clone())) };
            match self.file.renew(user.as_str()) {
                Some(renewed) => Ok(Some(self.with_brake(renewed))),
                None => self.book.renew(user.as_str()).await,
            }
        })
    }

    fn recognise(&self, peer: IpAddr) -> BoxFuture<'_, Option<Principal>> {
        let found = self.file.look_by_network(peer).map(|principal| self.with_brake(principal));
        Box::pin(std::future::ready(found))
    }

    fn recognise_certificate(&self, peer: IpAddr, shown: &ShownCertificate) -> BoxFuture<'_, Option<(Principal, bool)>> {
        let found = self.file.look_by_certificate(peer, shown).map(|(principal, suffices)| (self.with_brake(principal), suffices));
        Box::pin(std::future::ready(found))
    }

    fn signs(&self) -> bool {
        self.file.signs() || self.book.signs()
    }

    fn retains(&self) -> bool {
        self.file.retains() || self.book.retains()
    }

    fn pools(&self) -> u64 {
        match (self.file.pools(), self.book.pools()) {
            (0, book) => book,
            (file, book) => (file.rotate_left(1) ^ book).max(1),
        }
    }

    fn signers<'a>(&'a self, tenant: &'a TenantName, from: &'a Domain) -> BoxFuture<'a, Result<Vec<Arc<Signer>>, RegistryTrouble>> {
        Box::pin(async move {
            let own = match self.file.signer(tenant, from) {
                None if self.book.signs() => self.book.signer(tenant, from).await?,
                own => own,
            };
            Ok(with_those_for_all(own, self.file.signers_for_all()))
        })
    }

    fn stream<'a>(&'a self, tenant: &'a TenantName, stream: &'a StreamName) -> BoxFuture<'a, Result<Arc<Stream>, RegistryTrouble>> {
        Box::pin(async move {
            match self.file.stream(tenant, stream) {
                Some(stream) => Ok(stream),
                None => Ok(self.book.stream(tenant, stream).await?.unwrap_or_default()),
            }
        })
    }

    fn return_path<'a>(&'a self, domain: &'a Domain) -> BoxFuture<'a, Result<Option<Arc<ReturnPath>>, RegistryTrouble>> {
        Box::pin(async move {
            if let Some(found) = self.file.return_path(domain) {
                return Ok(Some(found));
            }
            let found = self.book.is_return_path(domain).await?;
            Ok(found.then(|| Arc::new(ReturnPath { domain: domain.clone(), bounces_to: postmaster_above(domain) })))
        })
    }

    fn voice<'a>(&'a self, tenant: &'a TenantName, domain: &'a Domain) -> BoxFuture<'a, Result<Voice, RegistryTrouble>> {
        Box::pin(self.find_voice(tenant, domain))
    }
}

/// Who hears of failures whose message is here no more: the postmaster of the author's domain, which the registry's return paths are right below. Every domain that has mail
/// has one, while the mail of the relay's own name often ends nowhere.
fn postmaster_above(return_path: &Domain) -> Option<Mailbox> {
    let name = return_path.to_ascii();
    let (_, above) = name.split_once('.')?;
    Mailbox::parse(&format!("postmaster@{above}")).ok()
}

/// The author's domain, and those who sign everything beside it.
fn with_those_for_all(own: Option<Arc<Signer>>, for_all: Vec<Arc<Signer>>) -> Vec<Arc<Signer>> {
    let more: Vec<Arc<Signer>> = for_all.into_iter().filter(|signer| own.as_ref().is_none_or(|own| own.domain != signer.domain)).collect();
    own.into_iter().chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_failures_have_a_reader() {
        for (return_path, postmaster) in [
            ("bounce.brand.example", Some("postmaster@brand.example")),
            ("bounce.news.brand.example", Some("postmaster@news.brand.example")),
            ("bounce", None),
        ] {
            let found = postmaster_above(&Domain::parse(return_path).unwrap());
            assert_eq!(found, postmaster.map(|name| Mailbox::parse(name).unwrap()), "{return_path}");
        }
    }
}
