//! The registry beside the relay, and the book of suppressions in the same database: in any weather, and with a memory that outlives the relay.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use postrider_flow::Silence;
use postrider_mail::dkim::SigningKey;
use postrider_model::doors::{
    Principal, Registry, RegistryTrouble, Secret, Signer, SuppressedMailbox, Suppressing, Suppression, SuppressionCause, SuppressionFilter,
    SuppressionKey, SuppressionTrouble, Suppressions,
};
use postrider_model::policy::{Preparing, ReturnPath, SendingDomain, Stream, Voice};
use postrider_model::{BoxFuture, CredentialName, Priority, StreamName, TenantName};
use postrider_smtp::{Domain, Mailbox};

use super::book::{Fact, who};
use super::{World, lock};

/// The tenant whose failures come back to a token for each recipient.
pub const TOKENS_TENANT: &str = "tokens";

/// Where they come back.
pub const RETURN_PATH: &str = "back.tokens.example";

/// The tenant whose mail is signed.
pub const SIGNED_TENANT: &str = "signed";

/// The tenant that speaks for [`HOME`] alone.
pub const BOUND_TENANT: &str = "bound";

/// The domain that is everybody's own.
pub const HOME: &str = "p0.example";

/// How long the database takes for anything.
const USUAL: Duration = Duration::from_millis(1);

/// How long a question that gets no answer takes.
const SILENT: Duration = Duration::from_secs(10);

/// How long who was not answered waits before he says it again.
const AGAIN: Duration = Duration::from_secs(20);

/// How the registry's database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RegistryWeather {
    /// It answers.
    #[default]
    Fine,
    /// It answers late.
    Slow(Duration),
    /// It does not answer.
    Silent,
    /// It leaves each third question without an answer, so that whoever asks several gets far with some, and no further.
    Patchy,
    /// It does not answer, and who has proved himself before is in memory.
    Remembered,
}

/// Somebody who asks a tenant's stream for silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscriber {
    /// Not before this, in milliseconds since the beginning.
    pub not_before_ms: u64,
    /// `tenant` or `tenant/stream`, as clients name it.
    pub user: String,
    /// Who.
    pub mailbox: String,
}

impl Unsubscriber {
    /// What names its word.
    pub fn who(&self) -> u64 {
        let (tenant, stream) = stream_of(&self.user);
        who(tenant, stream, &self.mailbox)
    }
}

/// The tenant and the stream that a user name stands for.
pub fn stream_of(user: &str) -> (&str, &str) {
    user.split_once('/').unwrap_or((user, "main"))
}

/// What the database holds, and how it is.
#[derive(Default)]
pub struct Records {
    pub(crate) weather: RegistryWeather,
    /// Whether some tenant's mail is signed.
    signs: bool,
    /// Each word, when it came, and whether it was told.
    suppressions: BTreeMap<SuppressionKey, (u64, Arc<Suppression>, bool)>,
    /// Which unsubscribers have their answer.
    answered: BTreeSet<usize>,
    pub(crate) felt: BTreeSet<&'static str>,
    /// Questions asked of it while it was patchy.
    asked: u64,
}

impl Records {
    pub(crate) fn new(signs: bool) -> Self {
        Self { signs, ..Self::default() }
    }

    pub(crate) fn answered_all(&self, count: usize) -> bool {
        self.answered.len() >= count
    }
}

impl World {
    /// Asks the database: waits as its weather is, and then looks or changes.
    async fn ask<T>(&self, question: impl FnOnce(&mut Records) -> T) -> Result<T, ()> {
        let (time, answers) = {
            let records = &mut *lock(&self.records);
            match records.weather {
                RegistryWeather::Fine => (USUAL, true),
                RegistryWeather::Slow(time) => {
                    records.felt.insert("the registry is slow");
                    (time, true)
                }
                RegistryWeather::Silent => {
                    records.felt.insert("the registry is silent");
                    (SILENT, false)
                }
                RegistryWeather::Remembered => {
                    records.felt.insert("the registry is a memory");
                    (SILENT, false)
                }
                RegistryWeather::Patchy => {
                    records.felt.insert("the registry answers now and then");
                    records.asked += 1;
                    let answers = !records.asked.is_multiple_of(3);
                    (if answers { USUAL } else { SILENT }, answers)
                }
            }
        };
        tokio::time::sleep(time).await;
        if answers { Ok(question(&mut lock(&self.records))) } else { Err(()) }
    }
}

/// Everybody whose secret is "secret"; the user is the tenant, and `tenant/stream` names a stream of it.
pub struct SimRegistry(pub Arc<World>);

impl SimRegistry {
    async fn answer<T>(&self, value: T) -> Result<T, RegistryTrouble> {
        // What costs nothing in fine weather changes nothing in the order of things.
        if lock(&self.0.records).weather == RegistryWeather::Fine {
            return Ok(value);
        }
        self.0.ask(|_| value).await.map_err(|()| RegistryTrouble("no answer".into()))
    }

    /// What a relay that has asked before has in memory.
    async fn remembered<T>(&self, value: T) -> Result<T, RegistryTrouble> {
        let weather = lock(&self.0.records).weather;
        match weather {
            RegistryWeather::Remembered => Ok(value),
            _ => self.answer(value).await,
        }
    }
}

impl Registry for SimRegistry {
    fn recognise(&self, _peer: IpAddr) -> BoxFuture<'_, Option<Principal>> {
        Box::pin(std::future::ready(None))
    }

    fn signs(&self) -> bool {
        lock(&self.0.records).signs
    }

    fn pools(&self) -> u64 {
        lock(&self.0.pools).0
    }

    fn signers<'a>(&'a self, tenant: &'a TenantName, _: &'a Domain) -> BoxFuture<'a, Result<Vec<Arc<Signer>>, RegistryTrouble>> {
        let own = (tenant.as_str() == SIGNED_TENANT).then(signer);
        Box::pin(self.answer(own.into_iter().collect()))
    }

    fn stream<'a>(&'a self, tenant: &'a TenantName, stream: &'a StreamName) -> BoxFuture<'a, Result<Arc<Stream>, RegistryTrouble>> {
        let pool = lock(&self.0.pools).1.get(&*format!("{tenant}/{stream}")).map(|pool| (*pool).into());
        let preparing = Preparing { own_return_path: tenant.as_str() == TOKENS_TENANT, ..Preparing::default() };
        Box::pin(self.remembered(Arc::new(Stream { preparing, pool, ..Stream::default() })))
    }

    fn return_path<'a>(&'a self, _: &'a Domain) -> BoxFuture<'a, Result<Option<Arc<ReturnPath>>, RegistryTrouble>> {
        Box::pin(self.answer(None))
    }

    fn voice<'a>(&'a self, tenant: &'a TenantName, domain: &'a Domain) -> BoxFuture<'a, Result<Voice, RegistryTrouble>> {
        let own = || Arc::new(SendingDomain { name: domain.clone(), return_path: Domain::parse(RETURN_PATH).ok() });
        Box::pin(self.answer(match (tenant.as_str(), domain.as_str()) {
            (BOUND_TENANT, HOME) => Voice::Proven(own()),
            (BOUND_TENANT, _) => Voice::Foreign,
            _ => Voice::Free(Some(own())),
        }))
    }

    fn renew<'a>(&'a self, principal: &'a Principal) -> BoxFuture<'a, Result<Option<Principal>, RegistryTrouble>> {
        Box::pin(self.remembered(Some(principal.clone())))
    }

    fn authenticate<'a>(&'a self, _: IpAddr, user: &'a str, secret: Secret) -> BoxFuture<'a, Result<Option<Principal>, RegistryTrouble>> {
        let (tenant, stream) = stream_of(user);
        let known = secret.0 == b"secret";
        let principal = Principal {
            tenant: TenantName::new(tenant),
            stream: StreamName::new(stream),
            credential: Some(CredentialName::new(tenant)),
            priority: if stream == "urgent" { Priority::High } else { Priority::Normal },
            own_domains_only: tenant == BOUND_TENANT,
            give_up_after: None,
            allowances: None,
        };
        Box::pin(self.remembered(known.then_some(principal)))
    }
}

/// An Ed25519 key as PKCS #8, from a seed that nobody needs to guess (RFC 8410 §7).
fn signer() -> Arc<Signer> {
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend([7; 32]);
    let key = SigningKey::from_pkcs8(&der).expect("an Ed25519 key");
    Arc::new(Signer { domain: HOME.into(), keys: vec![("s".into(), key)] })
}

/// The book of suppressions.
pub struct SimSuppressions(pub Arc<World>);

impl SimSuppressions {
    async fn ask<T>(&self, question: impl FnOnce(&mut Records) -> T) -> Result<T, SuppressionTrouble> {
        self.0.ask(question).await.map_err(|()| SuppressionTrouble::Io("no answer".to_owned()))
    }
}

impl Suppressions for SimSuppressions {
    fn suppress(&self, suppression: Suppression) -> BoxFuture<'_, Result<bool, SuppressionTrouble>> {
        Box::pin(self.ask(move |records| {
            let (key, number) = (suppression.key(), records.suppressions.len() as u64);
            let is_fresh = !records.suppressions.contains_key(&key);
            records.suppressions.entry(key).or_insert_with(|| (number, Arc::new(suppression), false));
            is_fresh
        }))
    }

    fn suppressed<'a>(
        &'a self,
        tenant: &'a TenantName,
        stream: &'a StreamName,
        mailbox: &'a SuppressedMailbox,
    ) -> BoxFuture<'a, Result<Option<Arc<Suppression>>, SuppressionTrouble>> {
        let key = (tenant.clone(), stream.clone(), mailbox.clone());
        Box::pin(self.ask(move |records| records.suppressions.get(&key).map(|(_, one, _)| one.clone())))
    }

    fn are_none(&self) -> bool {
        lock(&self.0.records).suppressions.is_empty()
    }

    fn list<'a>(
        &'a self,
        filter: &'a SuppressionFilter,
        after: Option<&'a SuppressionKey>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Suppression>>, SuppressionTrouble>> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        Box::pin(self.ask(move |records| {
            let found = records.suppressions.range((from, Bound::Unbounded)).map(|(_, (_, one, _))| one);
            found.filter(|one| filter.matches(one)).take(max).cloned().collect()
        }))
    }

    fn lift<'a>(&'a self, key: &'a SuppressionKey) -> BoxFuture<'a, Result<bool, SuppressionTrouble>> {
        Box::pin(self.ask(|records| records.suppressions.remove(key).is_some()))
    }

    fn untold<'a>(
        &'a self,
        which: Option<&'a SuppressionKey>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Suppression>>, SuppressionTrouble>> {
        Box::pin(self.ask(move |records| {
            let wanted = records.suppressions.iter().filter(|(key, (.., told))| !told && which.is_none_or(|which| which == *key));
            let mut found: Vec<_> = wanted.map(|(_, (number, one, _))| (*number, one.clone())).collect();
            found.sort_by_key(|(number, _)| *number);
            found.into_iter().map(|(_, one)| one).take(max).collect()
        }))
    }

    fn told<'a>(&'a self, key: &'a SuppressionKey) -> BoxFuture<'a, Result<(), SuppressionTrouble>> {
        Box::pin(self.ask(|records| records.suppressions.get_mut(key).into_iter().for_each(|(.., told)| *told = true)))
    }
}

/// Says a word of silence until it is answered; what was not answered is said again in the next life.
pub(crate) async fn unsubscribe(world: Arc<World>, silence: Arc<Silence>, number: usize, plan: Unsubscriber) {
    if lock(&world.records).answered.contains(&number) {
        return;
    }
    let wait_ms = plan.not_before_ms.saturating_sub(world.elapsed_ms());
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    let (tenant, stream) = stream_of(&plan.user);
    let Ok(mailbox) = Mailbox::parse(&plan.mailbox) else { return };
    loop {
        let suppression = Suppression {
            tenant: tenant.into(),
            stream: stream.into(),
            mailbox: SuppressedMailbox::of(&mailbox),
            since: world.now(),
            cause: SuppressionCause::OneClick,
            message: None,
            reason: "".into(),
        };
        if silence.suppress(suppression, None).await.is_ok() {
            if !world.switch().is_dead() {
                lock(&world.records).answered.insert(number);
                world.note(Fact::Silenced { user: plan.user.clone(), mailbox: plan.mailbox.clone() });
            }
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
