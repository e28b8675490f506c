//! What domains publish, looked at now and then: a record that somebody removed is told before receivers tell it.
//!
//! **Promises.** Each change is told once, with its remedy, in the log and as an alarm. A DNS that does not answer changes nothing. A look costs bounded work, and looks
//! follow each other, so that thousands of domains never press the resolver.
//!
//! **Does badly.** What a resolver has in its cache may be as old as the record's time to live. After a start all that is wrong is told again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_core::publish::asking::Asking;
use postrider_core::publish::check::{self, Finding, State};
use postrider_core::publish::drift::{Change, Seen, Standing};
use postrider_core::publish::{Face, What, sources};
use postrider_flow::survey;
use postrider_http::{DomainRecords, wire};
use postrider_model::doors::{Clock, Entropy, MailLog, Resolver};
use postrider_model::{BoxFuture, Timestamp};
use postrider_records::SqlRegistry;

use super::reload::Reloader;
use crate::cli::domain::sentence;
use crate::publishing::{self, Publisher, Registered};

/// A start is not the time to ask: the first look comes so much later, or after the interval when that is shorter.
const FIRST_LOOK: Duration = Duration::from_secs(30);

/// How often a domain is looked at whose owner is publishing its records just now.
const PENDING_EVERY: Duration = Duration::from_secs(60);

/// How long the look at one domain may take.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// Parts of the interval by which a look may come earlier, so that relays that started together do not ask together.
const JITTER_PARTS: u64 = 10;

/// What is wrong, in a list for people.
const WRONG_MAX: usize = 100;

/// What is to be watched, as it is now.
pub struct Watched {
    /// The domains.
    pub domains: Vec<Publisher>,
    /// The Sources.
    pub faces: Vec<Face>,
    /// How often; zero is never.
    pub every: Duration,
}

/// Says what is to be watched; `None`: that cannot be said now.
pub type WhatToWatch = Arc<dyn Fn() -> BoxFuture<'static, Option<Watched>> + Send + Sync>;

/// Hears what a look at a domain proved.
pub type OnLook = Arc<dyn Fn(Publisher, Standing) -> BoxFuture<'static, ()> + Send + Sync>;

/// What the watch needs of the world.
pub struct WatchDoors {
    /// The DNS.
    pub resolver: Arc<dyn Resolver>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For the jitter.
    pub entropy: Arc<dyn Entropy>,
    /// Where alarms go.
    pub log: Arc<dyn MailLog>,
    /// What is to be watched.
    pub what: WhatToWatch,
    /// Who keeps what looks prove.
    pub on_look: OnLook,
}

/// What the last looks found.
#[derive(Default)]
pub struct Looks(Mutex<Kept>);

/// A domain and whose it is; both empty for the Sources. Two tenants may say that a domain is theirs, until one proves it.
type Key = (String, String);

#[derive(Default)]
struct Kept {
    looked_at: Option<Timestamp>,
    /// Each record, and what is to be said of it.
    findings: BTreeMap<Key, Vec<Noted>>,
}

/// A record as it was found last.
struct Noted {
    what: What,
    name: String,
    state: State,
    said: String,
}

impl Looks {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For `status`.
    pub fn view(&self) -> Option<wire::Domains> {
        let kept = self.kept();
        let looked_at = kept.looked_at?;
        let all = || kept.findings.iter().flat_map(|((domain, _), noted)| noted.iter().map(move |noted| (domain, noted)));
        let wrong = all().filter(|(_, noted)| noted.state.is_wrong());
        let view = |(domain, noted): (&String, &Noted)| wire::DomainFault {
            domain: (!domain.is_empty()).then(|| domain.clone()),
            record: noted.what.word(),
            name: noted.name.clone(),
            state: noted.state.word().to_owned(),
            said: noted.said.clone(),
        };
        Some(wire::Domains {
            looked_at: looked_at.to_string(),
            watched: kept.findings.keys().filter(|(domain, _)| !domain.is_empty()).count() as u64,
            wrong: wrong.clone().count() as u64,
            unknown: all().filter(|(_, noted)| noted.state == State::Unknown).count() as u64,
            faults: wrong.take(WRONG_MAX).map(view).collect(),
        })
    }

    /// For the metrics: how many records of each kind are in each state.
    pub fn counts(&self) -> Vec<DomainRecords> {
        let mut counts: BTreeMap<(String, &'static str, &'static str), u64> = BTreeMap::new();
        for ((domain, _), noted) in &self.kept().findings {
            for noted in noted {
                *counts.entry((domain.clone(), kind(&noted.what), noted.state.word())).or_default() += 1;
            }
        }
        counts.into_iter().map(|((domain, record, state), count)| DomainRecords { domain, record, state, count }).collect()
    }

    fn keep(&self, now: Timestamp, key: &Key, findings: &[Finding]) {
        let note = |finding: &Finding| {
            let (what, state) = (finding.what.clone(), finding.state);
            Noted { what, name: finding.name.clone(), state, said: finding.said.join("; ") }
        };
        let mut kept = self.kept();
        kept.looked_at = Some(now);
        kept.findings.insert(key.clone(), findings.iter().map(note).collect());
    }
}

fn kind(what: &What) -> &'static str {
    match what {
        What::Proof => "proof",
        What::Key(_) => "key",
        What::ReturnMx => "return_path_mx",
        What::ReturnSpf => "return_path_spf",
        What::Spf => "spf",
        What::Dmarc => "dmarc",
        What::Source(_) => "source",
    }
}

fn key(domain: &Publisher) -> Key {
    let tenant = domain.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()).unwrap_or_default();
    (domain.facts.domain.to_ascii().into_owned(), tenant)
}

/// Starts the watch over the domains of the configuration in force, and of the registry, which is told what looks prove.
pub fn start(doors: &postrider_flow::Doors, reloader: &Arc<Reloader>, registry: &Arc<SqlRegistry>) -> Arc<Looks> {
    let (reloader, book, registered) = (reloader.clone(), registry.book().clone(), Arc::new(Registered::default()));
    let what: WhatToWatch = Arc::new(move || {
        let (config, book, registered) = (reloader.configuration(), book.clone(), registered.clone());
        Box::pin(async move {
            let mut domains = publishing::of_the_configuration(&config);
            match registered.all(&book).await {
                Ok(known) => domains.extend(known.iter().map(|domain| publishing::of_the_registry(domain, &config.snapshot))),
                Err(trouble) => {
                    // Half of the domains would look as if the others were gone.
                    tracing::debug!(%trouble, "the registry does not say which domains there are");
                    return None;
                }
            }
            Some(Watched { domains, faces: publishing::faces(&config.snapshot), every: config.watch_every })
        })
    });
    let registry = registry.clone();
    let on_look: OnLook = Arc::new(move |domain, standing| {
        let registry = registry.clone();
        Box::pin(async move {
            let Some(tenant) = &domain.tenant else { return };
            match registry.found(tenant, &domain.facts.domain, &publishing::found(&standing)).await {
                Ok(true) => {
                    tracing::info!("domain {} of {tenant}: the DNS serves more than before; the registry knows", domain.facts.domain)
                }
                Ok(false) => {}
                Err(trouble) => {
                    tracing::warn!("domain {} of {tenant}: what the DNS serves cannot be noted: {trouble}", domain.facts.domain)
                }
            }
        })
    });
    let doors = WatchDoors {
        resolver: doors.resolver.clone(),
        clock: doors.clock.clone(),
        entropy: doors.entropy.clone(),
        log: doors.log.clone(),
        what,
        on_look,
    };
    let looks = Arc::new(Looks::default());
    tokio::spawn(watch(doors, looks.clone()));
    looks
}

/// Looks until this future is dropped.
pub async fn watch(doors: WatchDoors, looks: Arc<Looks>) {
    let mut watching = Watching { doors, looks, seen: Seen::default(), due: BTreeMap::new() };
    let mut wait = FIRST_LOOK;
    if let Some(watched) = (watching.doors.what)().await.filter(|watched| !watched.every.is_zero()) {
        wait = wait.min(watched.every);
    }
    loop {
        tokio::time::sleep(wait).await;
        wait = PENDING_EVERY;
        if let Some(watched) = (watching.doors.what)().await.filter(|watched| !watched.every.is_zero()) {
            watching.round(&watched).await;
            wait = wait.min(watched.every);
        }
    }
}

struct Watching {
    doors: WatchDoors,
    looks: Arc<Looks>,
    seen: Seen,
    /// When each is looked at again.
    due: BTreeMap<Key, Timestamp>,
}

impl Watching {
    /// Looks at all that is due.
    async fn round(&mut self, watched: &Watched) {
        let sources = Key::default();
        let known: BTreeSet<Key> = watched.domains.iter().map(key).chain([sources.clone()]).collect();
        self.due.retain(|key, _| known.contains(key));
        self.looks.kept().findings.retain(|key, _| known.contains(key));
        let names: Vec<String> = known.iter().map(name).collect();
        self.seen.keep(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for domain in &watched.domains {
            let key = key(domain);
            if !self.is_due(&key, watched.every) {
                continue;
            }
            let findings = survey(&self.doors.resolver, LOOK_LIMIT, |asking| check::domain(&domain.facts, asking)).await;
            self.keep(&key, &findings, domain.pending);
            (self.doors.on_look)(domain.clone(), Standing::of(&findings)).await;
            let every = if domain.pending { watched.every.min(PENDING_EVERY) } else { watched.every };
            self.next(key, every);
        }
        if self.is_due(&sources, watched.every) {
            let names_of = |asking: &mut Asking<'_>| watched.faces.iter().map(|face| sources::source(face, asking)).collect::<Vec<_>>();
            let findings = survey(&self.doors.resolver, LOOK_LIMIT, names_of).await;
            self.keep(&sources, &findings, false);
            self.next(sources, watched.every);
        }
    }

    /// Whether it is time. A clock that was set back makes it time at once.
    fn is_due(&self, key: &Key, every: Duration) -> bool {
        let now = self.doors.clock.now();
        self.due.get(key).is_none_or(|due| *due <= now || due.since(now) > every)
    }

    fn next(&mut self, key: Key, every: Duration) {
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        let wait = every.saturating_sub(Duration::from_millis(self.doors.entropy.below(every_ms / JITTER_PARTS)));
        self.due.insert(key, self.doors.clock.now().after(wait));
    }

    fn keep(&mut self, key: &Key, findings: &[Finding], pending: bool) {
        self.looks.keep(self.doors.clock.now(), key, findings);
        for change in self.seen.look(&name(key), findings) {
            // Whoever is publishing records just now was told which.
            if change.was.is_some() || !pending {
                tell(&*self.doors.log, &name(key), &change);
            }
        }
    }
}

/// For people.
fn name((domain, tenant): &Key) -> String {
    match (&**domain, &**tenant) {
        ("", _) => "the relay".to_owned(),
        (domain, "") => format!("domain {domain}"),
        (domain, tenant) => format!("domain {domain} of {tenant}"),
    }
}

fn tell(log: &dyn MailLog, whose: &str, change: &Change) {
    let said = sentence(&change.now);
    if change.now.state.is_wrong() {
        let was = change.was.map(|was| format!(" (was {})", was.word())).unwrap_or_default();
        log.alarm(None, &format!("{whose}: {said}{was}"));
    } else {
        tracing::info!("{whose}: {said}; it was {} before", change.was.map_or("unknown", State::word));
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use postrider_core::publish::Facts;
    use postrider_model::doors::{AddressAnswer, AliasAnswer, DnsTrouble, Judged, MxAnswer, PointerAnswer, TextAnswer};
    use postrider_model::{AttemptFacts, Message, MessageId, Outcome};
    use postrider_smtp::{Domain, Reply};
    use tokio::time::Instant;

    use super::*;

    /// A world whose every TXT record is this one, or fails, or is absent.
    struct World {
        began: Instant,
        text: Mutex<Option<Result<&'static str, ()>>>,
        told: Mutex<Vec<String>>,
        stood: Mutex<Vec<Option<bool>>>,
    }

    fn absent<T>() -> BoxFuture<'static, Result<T, DnsTrouble>>
    where
        T: Send + 'static,
    {
        Box::pin(std::future::ready(Err(DnsTrouble::NoName { ttl: Duration::ZERO })))
    }

    impl Resolver for World {
        fn mx(&self, _: &Domain) -> BoxFuture<'_, Result<MxAnswer, DnsTrouble>> {
            absent()
        }

        fn addresses(&self, _: &Domain) -> BoxFuture<'_, Result<AddressAnswer, DnsTrouble>> {
            absent()
        }

        fn family(&self, _: &Domain, _: bool) -> BoxFuture<'_, Result<AddressAnswer, DnsTrouble>> {
            absent()
        }

        fn text(&self, name: &Domain) -> BoxFuture<'_, Result<TextAnswer, DnsTrouble>> {
            let answer = *self.text.lock().unwrap();
            match answer {
                Some(Ok(text)) if name.as_str() == "_postrider.brand.example" => {
                    Box::pin(std::future::ready(Ok(TextAnswer { records: vec![text.as_bytes().into()], ttl: Duration::ZERO })))
                }
                Some(Err(())) => Box::pin(std::future::ready(Err(DnsTrouble::Failed("SERVFAIL".into())))),
                _ => absent(),
            }
        }

        fn pointers(&self, _: IpAddr) -> BoxFuture<'_, Result<PointerAnswer, DnsTrouble>> {
            absent()
        }

        fn alias(&self, _: &Domain) -> BoxFuture<'_, Result<AliasAnswer, DnsTrouble>> {
            absent()
        }
    }

    impl Clock for World {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(1_000 + self.began.elapsed().as_millis() as u64)
        }
    }

    impl Entropy for World {
        fn fill(&self, octets: &mut [u8]) {
            octets.fill(0);
        }
    }

    impl MailLog for World {
        fn accepted(&self, _: &Message) {}

        fn attempted(&self, _: &Message, _: u32, _: Option<&AttemptFacts>, _: &Outcome) {}

        fn refused(&self, _: IpAddr, _: &str, _: &Reply) {}

        fn judged(&self, _: &Judged<'_>) {}

        fn alarm(&self, _: Option<MessageId>, text: &str) {
            self.told.lock().unwrap().push(text.to_owned());
        }
    }

    struct Scene {
        world: Arc<World>,
        looks: Arc<Looks>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Scene {
        fn begin(pending: bool) -> Self {
            let world = Arc::new(World { began: Instant::now(), text: Mutex::default(), told: Mutex::default(), stood: Mutex::default() });
            let facts = Facts {
                domain: Domain::parse("brand.example").unwrap(),
                keys: Vec::new(),
                return_path: None,
                relay: Domain::parse("mail.example").unwrap(),
                faces: Vec::new(),
                proof: Some("postrider-verify=1".into()),
            };
            let what: WhatToWatch = Arc::new(move || {
                let domain = Publisher { facts: facts.clone(), tenant: Some("shop".into()), pending };
                let watched = Watched { domains: vec![domain], faces: Vec::new(), every: HOUR };
                Box::pin(std::future::ready(Some(watched)))
            });
            let stands = world.clone();
            let on_look: OnLook = Arc::new(move |_, standing| {
                stands.stood.lock().unwrap().push(standing.owned);
                Box::pin(std::future::ready(()))
            });
            let (clock, entropy, log, resolver) = (world.clone(), world.clone(), world.clone(), world.clone());
            let looks = Arc::new(Looks::default());
            let task = tokio::spawn(watch(WatchDoors { resolver, clock, entropy, log, what, on_look }, looks.clone()));
            Self { world, looks, task }
        }

        fn told_of_the_proof(&self) -> usize {
            self.world.told.lock().unwrap().iter().filter(|text| text.contains("proof at")).count()
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn a_record_that_goes_is_told_once_and_silence_tells_nothing() {
        let scene = Scene::begin(false);
        assert!(scene.looks.view().is_none(), "nobody has looked");
        let mut told = Vec::new();
        for answer in [Some(Ok("postrider-verify=1")), Some(Err(())), None, Some(Err(())), None, Some(Ok("postrider-verify=1"))] {
            *scene.world.text.lock().unwrap() = answer;
            // The first look comes half a minute after the start.
            tokio::time::sleep(if told.is_empty() { Duration::from_secs(31) } else { HOUR }).await;
            told.push(scene.told_of_the_proof());
        }
        assert_eq!(told, [0, 0, 1, 1, 1, 1]);
        assert_eq!(*scene.world.stood.lock().unwrap(), [Some(true), None, Some(false), None, Some(false), Some(true)]);
        let alarm = scene.world.told.lock().unwrap().iter().find(|text| text.contains("proof at")).unwrap().clone();
        for part in [
            "domain brand.example of shop: ",
            "missing",
            "what to do: publish the wanted record",
            "IN TXT \"postrider-verify=1\"",
            "(was ok)",
        ] {
            assert!(alarm.contains(part), "{alarm}");
        }
        let view = scene.looks.view().unwrap();
        // SPF and DMARC were never there.
        assert_eq!((view.watched, view.wrong, view.unknown), (1, 2, 0), "{view:?}");
        let counts = scene.looks.counts();
        let of =
            |record: &str| counts.iter().filter(|count| count.record == record).map(|count| (count.state, count.count)).collect::<Vec<_>>();
        assert_eq!((of("proof"), of("dmarc")), (vec![("ok", 1)], vec![("missing", 1)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_domain_whose_owner_waits_is_looked_at_every_minute_and_not_complained_about() {
        let scene = Scene::begin(true);
        tokio::time::sleep(Duration::from_secs(31 + 5 * 60)).await;
        assert_eq!(*scene.world.stood.lock().unwrap(), [Some(false); 6]);
        assert!(scene.world.told.lock().unwrap().is_empty());
        *scene.world.text.lock().unwrap() = Some(Ok("postrider-verify=1"));
        tokio::time::sleep(PENDING_EVERY).await;
        assert_eq!(scene.world.stood.lock().unwrap().last(), Some(&Some(true)));
    }
}
