//! The registry as the relay asks it: from memory where it was asked before.
//!
//! **Promises.** What is held in memory is true as of the last [`SqlRegistry::refresh`], which the relay calls every second: a key that was revoked opens nothing after that. A
//! question that memory does not answer is asked of the database; its silence is told as trouble, never as "no". Memory is bounded, and private keys are unsealed when
//! they are used first. What is unknown is remembered, too, so that guessing costs one look-up for each name.
//!
//! **Does badly.** A change of anything forgets everything; it comes back as it is used.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use postrider_mail::suffix;
use postrider_model::doors::{Allowances, Clock, Principal, RegistryTrouble, Secret, Signer};
use postrider_model::policy::{Allowance, SendingDomain, Stream};
use postrider_model::{CredentialName, StreamName, TenantName, Timestamp};
use postrider_smtp::Domain;
use quick_cache::sync::Cache;

use crate::book::{Book, CredentialState, Found, Scope, TenantState};
use crate::db::{DatabaseTrouble, Value};
use crate::sha256;

/// Names above a domain that are looked at, itself counted. Nobody sends from deeper.
const LABELS_ABOVE_MAX: usize = 8;

/// How much is held in memory.
#[derive(Debug, Clone, Copy)]
pub struct RegistryOptions {
    /// Credentials, known and unknown.
    pub credentials_max: usize,
    /// Domains, tenants' answers about them, and streams: of each so many.
    pub domains_max: usize,
    /// Domains whose private keys are unsealed; each takes about 10 KB.
    pub signers_max: usize,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self { credentials_max: 65_536, domains_max: 65_536, signers_max: 8_192 }
    }
}

/// A value, and the count of changes that it is true for.
#[derive(Clone)]
struct Held<T> {
    version: u64,
    value: T,
}

/// A cache of values that are true for one version.
struct Memory<K, V>(Cache<K, Held<V>>);

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    fn new(items: usize) -> Self {
        Self(Cache::new(items))
    }

    fn get<Q: Hash + quick_cache::Equivalent<K> + ?Sized>(&self, key: &Q, version: u64) -> Option<V> {
        self.0.get(key).filter(|held| held.version == version).map(|held| held.value)
    }

    fn put(&self, key: K, version: u64, value: V) {
        self.0.insert(key, Held { version, value });
    }
}

/// A credential as it is held.
struct Known {
    credential: crate::book::Credential,
    principal: Principal,
    tenant_active: bool,
}

/// What a tenant has of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// It, or one above it, is proven.
    Proven(Arc<SendingDomain>),
    /// It was added, and the proof was not found yet.
    Unproven(Domain),
    /// Nothing.
    Nothing,
}

/// The registry, with a memory.
pub struct SqlRegistry {
    book: Arc<Book>,
    clock: Arc<dyn Clock>,
    version: AtomicU64,
    /// The version that what follows was found for; zero is none.
    surveyed: AtomicU64,
    signs: AtomicBool,
    pools: AtomicU64,
    retains: AtomicBool,
    /// Credentials of the configuration file that go slowly, and why.
    braked: ArcSwap<BTreeMap<CredentialName, Box<str>>>,
    credentials: Memory<Box<str>, Option<Arc<Known>>>,
    owns: Memory<(TenantName, Domain), Own>,
    bound: Memory<TenantName, Option<bool>>,
    streams: Memory<(TenantName, StreamName), Option<Arc<Stream>>>,
    signers: Memory<(TenantName, Box<str>), Option<Arc<Signer>>>,
    return_paths: Memory<Domain, bool>,
    used: Mutex<BTreeMap<CredentialName, (Timestamp, IpAddr)>>,
}

impl SqlRegistry {
    /// A registry with nothing in memory.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn new(book: Arc<Book>, clock: Arc<dyn Clock>, options: RegistryOptions) -> Result<Self, DatabaseTrouble> {
        let registry = Self {
            book,
            clock,
            version: AtomicU64::new(0),
            surveyed: AtomicU64::new(0),
            signs: AtomicBool::new(false),
            pools: AtomicU64::new(0),
            retains: AtomicBool::new(false),
            braked: ArcSwap::default(),
            credentials: Memory::new(options.credentials_max),
            owns: Memory::new(options.domains_max),
            bound: Memory::new(options.domains_max),
            streams: Memory::new(options.domains_max),
            signers: Memory::new(options.signers_max),
            return_paths: Memory::new(options.domains_max),
            used: Mutex::default(),
        };
        registry.refresh().await?;
        Ok(registry)
    }

    /// The registry behind it.
    pub fn book(&self) -> &Arc<Book> {
        &self.book
    }

    /// Looks whether anything was changed, and writes down who came. Gives whether something was.
    pub async fn refresh(&self) -> Result<bool, DatabaseTrouble> {
        let version = self.book.version().await?;
        let changed = self.version.swap(version, Ordering::AcqRel) != version;
        // A question that failed is asked again, although the version is known by then.
        if self.surveyed.load(Ordering::Acquire) != version {
            let sql = "SELECT COUNT(*) FROM dkim_key WHERE state = 'active'";
            let keys = self.book.database.find(sql, Vec::new()).await?.first().map_or(Ok(0), |row| row.number(0))?;
            self.signs.store(keys > 0, Ordering::Release);
            self.retains.store(self.book.retains().await?, Ordering::Release);
            self.pools.store(self.book.pools().await?, Ordering::Release);
            self.braked.store(Arc::new(self.book.brakes_of_file().await?));
            self.surveyed.store(version, Ordering::Release);
        }
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        if !used.is_empty() {
            let uses: Vec<_> = used.into_iter().map(|(user, (at, peer))| (user, at, peer)).collect();
            self.book.note_use(&uses).await?;
        }
        Ok(changed)
    }

    /// Whether any domain signs, as of the last refresh.
    pub fn signs(&self) -> bool {
        self.signs.load(Ordering::Acquire)
    }

    /// Whether any stream keeps its mail when it is done, as of the last refresh.
    pub fn retains(&self) -> bool {
        self.retains.load(Ordering::Acquire)
    }

    /// Which pools streams name, as a number that is another one after each change; zero while none names any.
    pub fn pools(&self) -> u64 {
        self.pools.load(Ordering::Acquire)
    }

    /// Why a credential of the configuration file goes slowly, when it does, as of the last refresh.
    pub fn braked(&self, user: &CredentialName) -> Option<Box<str>> {
        self.braked.load().get(user).cloned()
    }

    /// Who proves itself so, from there.
    pub async fn authenticate(&self, peer: IpAddr, user: &str, secret: &Secret) -> Result<Option<Principal>, RegistryTrouble> {
        let digest = sha256(&secret.0);
        let known = self.known(user).await?;
        let now = self.clock.now();
        // An unknown user's secret is compared, too, with a digest that no secret has.
        let expected = known.as_ref().map_or([0; 32], |known| known.credential.secret_sha256);
        let right = aws_lc_rs::constant_time::verify_slices_are_equal(&digest, &expected).is_ok();
        let found = known.filter(|known| right && known.tenant_active && known.credential.record.is_good(Scope::Send, peer, now));
        Ok(found.map(|known| {
            let user = known.credential.record.user.clone();
            self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(user, (now, peer));
            known.principal.clone()
        }))
    }

    /// What holds now for a credential that was proven before.
    pub async fn renew(&self, user: &str) -> Result<Option<Principal>, RegistryTrouble> {
        let now = self.clock.now();
        let known = self.known(user).await?.filter(|known| {
            let record = &known.credential.record;
            known.tenant_active && record.state != CredentialState::Revoked && record.expires_at.is_none_or(|end| now < end)
        });
        Ok(known.map(|known| known.principal.clone()))
    }

    /// What a tenant has of a domain.
    pub async fn own(&self, tenant: &TenantName, domain: &Domain) -> Result<Own, RegistryTrouble> {
        let version = self.version.load(Ordering::Acquire);
        let key = (tenant.clone(), domain.clone());
        if let Some(own) = self.owns.get(&key, version) {
            return Ok(own);
        }
        let own = self.find_own(tenant, domain).await.map_err(silent)?;
        self.owns.put(key, version, own.clone());
        Ok(own)
    }

    /// Whether a tenant is bound to its own domains; `None`: there is no such tenant here.
    pub async fn bound(&self, tenant: &TenantName) -> Result<Option<bool>, RegistryTrouble> {
        let version = self.version.load(Ordering::Acquire);
        if let Some(bound) = self.bound.get(tenant, version) {
            return Ok(bound);
        }
        let bound = self.book.tenant(tenant).await.map_err(silent)?.map(|tenant| tenant.own_domains_only);
        self.bound.put(tenant.clone(), version, bound);
        Ok(bound)
    }

    /// What is known of a tenant's stream.
    pub async fn stream(&self, tenant: &TenantName, stream: &StreamName) -> Result<Option<Arc<Stream>>, RegistryTrouble> {
        let version = self.version.load(Ordering::Acquire);
        let key = (tenant.clone(), stream.clone());
        if let Some(found) = self.streams.get(&key, version) {
            return Ok(found);
        }
        let found = self.book.stream(tenant, stream).await.map_err(silent)?.map(|record| Arc::new(record.stream));
        self.streams.put(key, version, found.clone());
        Ok(found)
    }

    /// Who signs for a domain of a tenant: itself or the closest above it that has keys.
    pub async fn signer(&self, tenant: &TenantName, domain: &Domain) -> Result<Option<Arc<Signer>>, RegistryTrouble> {
        let version = self.version.load(Ordering::Acquire);
        for name in above(&domain.to_ascii()) {
            let key = (tenant.clone(), name.into());
            let found = match self.signers.get(&key, version) {
                Some(found) => found,
                None => {
                    let keys = self.book.signing_keys(tenant.as_str(), name).await.map_err(silent)?;
                    let found = (!keys.is_empty()).then(|| Arc::new(Signer { domain: name.into(), keys }));
                    self.signers.put(key, version, found.clone());
                    found
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Whether some tenant's mail comes back to this domain.
    pub async fn is_return_path(&self, domain: &Domain) -> Result<bool, RegistryTrouble> {
        let version = self.version.load(Ordering::Acquire);
        if let Some(found) = self.return_paths.get(domain, version) {
            return Ok(found);
        }
        let found = self.book.is_return_path(domain).await.map_err(silent)?;
        self.return_paths.put(domain.clone(), version, found);
        Ok(found)
    }

    /// Notes what the DNS serves for a domain.
    pub async fn found(&self, tenant: &TenantName, domain: &Domain, found: &Found) -> Result<bool, DatabaseTrouble> {
        let changed = self.book.found(tenant, domain, found).await?;
        if changed {
            self.refresh().await?;
        }
        Ok(changed)
    }

    async fn known(&self, user: &str) -> Result<Option<Arc<Known>>, RegistryTrouble> {
        let version = self.version.load(Ordering::Acquire);
        if let Some(known) = self.credentials.get(user, version) {
            return Ok(known);
        }
        let known = self.find_known(user).await.map_err(silent)?.map(Arc::new);
        self.credentials.put(user.into(), version, known.clone());
        Ok(known)
    }

    async fn find_known(&self, user: &str) -> Result<Option<Known>, DatabaseTrouble> {
        let Some(credential) = self.book.credential(user).await? else { return Ok(None) };
        let record = &credential.record;
        let Some(tenant) = self.book.tenant(&record.tenant).await? else { return Ok(None) };
        let stream = self.book.stream(&record.tenant, &record.stream).await?;
        let (mut of_tenant, mut of_credential) = (Allowance::default(), Allowance::default());
        for (holder, allowance) in self.book.allowances(&record.tenant).await? {
            match holder {
                None => of_tenant = allowance,
                Some(holder) if holder == record.user => of_credential = allowance,
                Some(_) => {}
            }
        }
        let braked = (record.state == CredentialState::Braked).then(|| record.why.as_str().into());
        let allowances = Allowances { tenant: of_tenant, credential: of_credential, braked };
        let principal = Principal {
            tenant: record.tenant.clone(),
            stream: record.stream.clone(),
            credential: Some(record.user.clone()),
            priority: stream.as_ref().map_or_else(Default::default, |stream| stream.stream.priority),
            give_up_after: stream.and_then(|stream| stream.stream.give_up_after),
            own_domains_only: tenant.own_domains_only,
            allowances: (allowances != Allowances::default()).then(|| Arc::new(allowances)),
        };
        Ok(Some(Known { principal, tenant_active: tenant.state == TenantState::Active, credential }))
    }

    async fn find_own(&self, tenant: &TenantName, domain: &Domain) -> Result<Own, DatabaseTrouble> {
        let name = domain.to_ascii();
        let mut values = vec![Value::from(tenant.as_str())];
        values.extend(above(&name).map(Value::from));
        values.resize(LABELS_ABOVE_MAX + 1, "".into());
        let sql = "SELECT name, return_path, proven_ms, return_path_ready_ms FROM domain WHERE tenant = $1 AND name IN ($2, $3, $4, $5, $6, $7, $8, $9)";
        let rows = self.book.database.find(sql, values).await?;
        // The longest name is the closest.
        let mut found = Vec::with_capacity(rows.len());
        // One that the Public Suffix List named only later speaks for nobody below it.
        for row in rows.iter().filter(|row| !row.text(0).is_ok_and(suffix::is_public)) {
            let name = |column| Domain::parse(row.text(column)?).map_err(|_| row.unexpected(column));
            let return_path = name(1)?;
            let sending = SendingDomain { name: name(0)?, return_path: row.optional_number(3)?.map(|_| return_path) };
            found.push((row.text(0)?.len(), row.optional_number(2)?.is_some(), sending));
        }
        found.sort_by_key(|(length, proven, _)| std::cmp::Reverse((*proven, *length)));
        Ok(match found.into_iter().next() {
            Some((_, true, sending)) => Own::Proven(Arc::new(sending)),
            Some((_, false, sending)) => Own::Unproven(sending.name),
            None => Own::Nothing,
        })
    }
}

/// A domain and those above it, the closest first.
fn above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, above)| above)).take(LABELS_ABOVE_MAX)
}

fn silent(trouble: DatabaseTrouble) -> RegistryTrouble {
    RegistryTrouble(trouble.to_string().into())
}
