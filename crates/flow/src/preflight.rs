//! The rules of mailbox providers, asked about before custody (`core::preflight`): where a stream wants it, and nowhere else.
//!
//! **Promises.** A message is held back by what is known, never by silence: the DNS gets a short time, once for each domain in a while, and what it does not say breaks no
//! rule. The registry's silence is a temporary trouble of ours. What is found is in the mail log, whatever becomes of the message.
//!
//! **Does badly.** While one message asks the DNS about a domain for the first time, others of the domain are judged without.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_core::plan;
use postrider_core::preflight::reuse::Reuse;
use postrider_core::preflight::{self, Breach, Facts, Mended, Served, Verdict, Wrong};
use postrider_core::prepare::{self, Preparation, Subject};
use postrider_core::publish::check::{self, Finding, State};
use postrider_core::publish::{self, Face, PublicKey, What, print, sources};
use postrider_core::route::table::{self, Sending};
use postrider_mail::dkim::SigningKey;
use postrider_mail::{Fields, HeaderFacts};
use postrider_model::doors::{Judged, Judgement, Principal, RegistryTrouble, Signer};
use postrider_model::limits::JUDGED_HEADER_OCTETS_MAX;
use postrider_model::policy::{Snapshot, Stream, Strictness, Target};
use postrider_model::{Recipient, Role, Timestamp};
use postrider_smtp::{Domain, Reply, ReversePath};

use crate::Doors;
use crate::receive::reply;
use crate::survey;

/// How long the DNS may take; a client waits for its 250 meanwhile.
const ASK_LIMIT: Duration = Duration::from_millis(1_500);

/// How long it counts that all is well.
const WELL_FOR: Duration = Duration::from_secs(600);

/// How long it counts that something is wrong, or not known: who mends it wants to send.
const WRONG_FOR: Duration = Duration::from_secs(60);

/// Domains that are remembered.
const DOMAINS_MAX: usize = 4_096;

/// What is remembered between messages.
#[derive(Default)]
pub(crate) struct Preflight {
    reuse: Mutex<Reuse>,
    served: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What was found, and until when it counts.
    found: BTreeMap<String, (Served, Timestamp)>,
    order: VecDeque<String>,
}

/// A message that is judged.
pub(crate) struct Candidate<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) role: Role,
    pub(crate) reverse_path: &'a ReversePath,
    pub(crate) recipients: &'a [Recipient],
    pub(crate) facts: &'a HeaderFacts,
    pub(crate) peer: Option<IpAddr>,
}

/// Whether anybody judges the header of such mail: whose it is, or what providers would say of it.
pub(crate) async fn keeps_header(doors: &Doors, role: Role, principal: Option<&Principal>) -> Result<bool, Reply> {
    match principal {
        Some(principal) if prepare::is_ours(role) => {
            Ok(principal.own_domains_only || stream_of(doors, principal).await?.strictness != Strictness::Off)
        }
        Some(_) | None => Ok(false),
    }
}

async fn stream_of(doors: &Doors, principal: &Principal) -> Result<Arc<Stream>, Reply> {
    doors.registry.stream(&principal.tenant, &principal.stream).await.map_err(|trouble| silent(doors, &trouble))
}

fn silent(doors: &Doors, trouble: &RegistryTrouble) -> Reply {
    doors.log.alarm(None, &trouble.to_string());
    reply(451, (4, 3, 0), "cannot say now what is asked of this mail, try again later")
}

impl Preflight {
    /// Takes over the Message-IDs that were seen before this start.
    pub(crate) fn load(&self, kept: Vec<(String, String)>, now: Timestamp) {
        self.reuse().load(kept, now);
    }

    /// Those that are to be kept, or forgotten (`Reuse::changed`).
    pub(crate) fn changed(&self, now: Timestamp) -> Vec<(String, String)> {
        self.reuse().changed(now)
    }

    fn reuse(&self) -> MutexGuard<'_, Reuse> {
        self.reuse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges a message; a refusal is the reply that its client hears.
    pub(crate) async fn judge(&self, doors: &Doors, snapshot: &Snapshot, mail: Candidate<'_>) -> Result<(), Reply> {
        if !prepare::is_ours(mail.role) {
            return Ok(());
        }
        let stream = stream_of(doors, mail.principal).await?;
        if stream.strictness == Strictness::Off || !was_kept(mail.facts) {
            return Ok(());
        }
        let breaches = self.breaches(doors, snapshot, &stream, &mail).await?;
        tell(doors, mail.peer, &breaches);
        match breaches.iter().find(|breach| breach.verdict == Verdict::Refused) {
            Some(breach) => Err(breach.reply()),
            None => Ok(()),
        }
    }

    async fn breaches(&self, doors: &Doors, snapshot: &Snapshot, stream: &Stream, mail: &Candidate<'_>) -> Result<Vec<Breach>, Reply> {
        let Principal { tenant, stream: stream_name, .. } = mail.principal;
        let header = mail.facts.header.as_deref();
        let sender = || mail.reverse_path.mailbox().and_then(|mailbox| mailbox.domain()).cloned();
        let from = header.and_then(plan::author_domain).or_else(|| if mail.facts.from == 0 { sender() } else { None });
        let voice = match &from {
            Some(from) => Some(doors.registry.voice(tenant, from).await.map_err(|trouble| silent(doors, &trouble))?),
            None => None,
        };
        let plan = header.map(|header| {
            prepare::preparation(&Subject {
                tenant,
                stream_name,
                stream,
                domain: voice.as_ref().and_then(|voice| voice.domain()).map(|domain| &**domain),
                reverse_path: mail.reverse_path,
                header,
                host_name: &snapshot.host_name,
                has_keys: doors.tokens.is_some(),
                has_web: snapshot.public_url.is_some(),
                // No rule asks how letters and lines are encoded.
                smtputf8: false,
                has_long_lines: false,
            })
        });
        let plan = plan.filter(|_| prepare::concerns(mail.role, stream)).unwrap_or_default();
        let signers = match &from {
            Some(from) if doors.registry.signs() => {
                doors.registry.signers(tenant, from).await.map_err(|trouble| silent(doors, &trouble))?
            }
            Some(_) | None => Vec::new(),
        };
        let return_path = plan.return_path.clone().or_else(sender);
        let served = match &from {
            Some(from) => {
                let (path, path_is_ours) = (return_path.as_ref(), plan.return_path.is_some());
                let faces = faces(snapshot, stream, mail);
                let asked = Asked { from, signers: &signers, path, path_is_ours, faces };
                self.served(doors, snapshot, &asked).await
            }
            None => Served::default(),
        };
        let facts = Facts {
            class: stream.class,
            header,
            content_octets: mail.facts.content_octets,
            mended: mended(mail, stream, &plan),
            from,
            signers: signers.iter().filter_map(|signer| Domain::parse(&signer.domain).ok()).collect(),
            return_path,
            reused: self.is_reused(doors, mail, header),
            served,
        };
        Ok(preflight::judge(&facts, stream.strictness))
    }

    fn is_reused(&self, doors: &Doors, mail: &Candidate<'_>, header: Option<&[u8]>) -> bool {
        let Some(header) = header else { return false };
        let Some(id) = Fields::of(header).find(|field| field.is("Message-ID")) else { return false };
        let id = String::from_utf8_lossy(id.value.trim_ascii());
        self.reuse().see(&mail.principal.tenant, &id, header, doors.clock.now())
    }

    /// What the DNS has of it, as it was found a short time ago, or now.
    async fn served(&self, doors: &Doors, snapshot: &Snapshot, asked: &Asked<'_>) -> Served {
        let (key, now) = (asked.key(), doors.clock.now());
        if let Some(known) = self.known().look(&key, now) {
            return known;
        }
        // Nobody else waits for the same answer.
        self.known().keep(key.clone(), Served::default(), now.after(WRONG_FOR));
        let (served, is_well) = ask(doors, snapshot, asked).await;
        let until = doors.clock.now().after(if is_well { WELL_FOR } else { WRONG_FOR });
        self.known().keep(key, served.clone(), until);
        served
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn look(&self, key: &str, now: Timestamp) -> Option<Served> {
        // A clock that was set back must not keep an answer for ever.
        let counts = |until: &Timestamp| now < *until && until.since(now) <= WELL_FOR;
        self.found.get(key).filter(|(_, until)| counts(until)).map(|(served, _)| served.clone())
    }

    fn keep(&mut self, key: String, served: Served, until: Timestamp) {
        if self.found.insert(key.clone(), (served, until)).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > DOMAINS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.found.remove(&oldest);
            }
        }
    }
}

/// Whether there is a header to judge. One that is not there although it is short was not asked for when it came: the stream was changed meanwhile.
fn was_kept(facts: &HeaderFacts) -> bool {
    facts.header.is_some() || facts.header_octets > JUDGED_HEADER_OCTETS_MAX as u64
}

/// What the DNS is asked about.
struct Asked<'a> {
    from: &'a Domain,
    signers: &'a [Arc<Signer>],
    /// The domain of the reverse-path that it will have.
    path: Option<&'a Domain>,
    /// It is one of our return paths, whose mail nobody else sends.
    path_is_ours: bool,
    /// Our own Sources that send it; none, where a smart host does, or it stays here.
    faces: Vec<Face>,
}

impl Asked<'_> {
    fn key(&self) -> String {
        let keys =
            self.signers.iter().flat_map(|signer| signer.keys.iter().map(move |(selector, _)| format!("{selector}.{}", signer.domain)));
        let path = self.path.map(Domain::as_str).unwrap_or_default();
        let faces = self.faces.iter().map(|face| &*face.source);
        let lists = [faces.collect::<Vec<_>>().join(","), keys.collect::<Vec<_>>().join(" ")];
        format!("{} {path} {} {}", self.from, self.path_is_ours, lists.join(" "))
    }
}

async fn ask(doors: &Doors, snapshot: &Snapshot, asked: &Asked<'_>) -> (Served, bool) {
    let faces = &asked.faces;
    let relay = Domain::parse(&snapshot.host_name).unwrap_or_else(|_| asked.from.clone());
    let facts = |domain: &Domain, keys: Vec<PublicKey>, return_path: Option<&Domain>| publish::Facts {
        domain: domain.clone(),
        keys,
        return_path: return_path.cloned(),
        relay: relay.clone(),
        faces: faces.clone(),
        proof: None,
    };
    let author = facts(asked.from, Vec::new(), asked.path.filter(|_| asked.path_is_ours));
    // A sender's own domain may have other senders, whose terms stay.
    let sender = asked.path.map(|path| if asked.path_is_ours { author.clone() } else { facts(path, Vec::new(), None) });
    let sender = sender.filter(|_| !faces.is_empty());
    let spf = if asked.path_is_ours { What::ReturnSpf } else { What::Spf };
    // The author's own signature is the one that counts; it is the first.
    let signer = asked.signers.first().and_then(|signer| {
        let key = |(selector, key): &(Box<str>, SigningKey)| PublicKey { selector: selector.clone(), record: key.record().into() };
        Domain::parse(&signer.domain).ok().map(|domain| facts(&domain, signer.keys.iter().map(key).collect(), None))
    });
    let (mail, keys, names) = survey(&doors.resolver, ASK_LIMIT, |asking| {
        let mut mail = check::some(&author, |what| *what == What::Dmarc, asking);
        mail.extend(sender.iter().flat_map(|sender| check::some(sender, |what| *what == spf, asking)).collect::<Vec<_>>());
        let keys = signer.iter().flat_map(|signer| check::some(signer, |what| matches!(what, What::Key(_)), asking)).collect::<Vec<_>>();
        let names: Vec<Finding> = faces.iter().map(|face| sources::source(face, asking)).collect();
        (mail, keys, names)
    })
    .await;
    let of = |what: &What| mail.iter().find(|finding| finding.what == *what).and_then(wrong);
    // One that is well will do: verifiers take the key that they know, and another Source may send.
    let all_wrong =
        |findings: &[Finding]| findings.iter().map(wrong).collect::<Option<Vec<_>>>().and_then(|wrong| wrong.into_iter().next());
    let served = Served { dmarc: of(&What::Dmarc), spf: of(&spf), keys: all_wrong(&keys), sources: all_wrong(&names) };
    let is_well = mail.iter().chain(&keys).chain(&names).all(|finding| finding.state == State::Fine);
    (served, is_well)
}

fn wrong(finding: &Finding) -> Option<Wrong> {
    if !finding.state.is_wrong() {
        return None;
    }
    let said =
        format!("{}: {}", finding.name, if finding.said.is_empty() { finding.state.word().to_owned() } else { finding.said.join("; ") });
    let mut remedy = finding.remedy.clone().unwrap_or_default();
    if let Some(wanted) = &finding.wanted {
        remedy = format!("{remedy}: {}", print::zone_line(wanted));
    }
    Some(Wrong { said, remedy })
}

/// What receivers see of the Sources that send any of it, and not of those that send other streams' mail; none, where it goes by a smart host or into a mailbox of ours.
fn faces(snapshot: &Snapshot, stream: &Stream, mail: &Candidate<'_>) -> Vec<Face> {
    let Principal { tenant, stream: name, .. } = mail.principal;
    let what = table::Mail { message: None, tenant, stream: name, sender: Some(mail.reverse_path) };
    let mut used = BTreeSet::new();
    for recipient in mail.recipients {
        let way = table::by_mail(&snapshot.routing, recipient.host(), &what);
        let Some(way) = way.filter(|way| matches!(way.target, Target::Mx)) else { continue };
        match table::sending(&snapshot.routing, &way, stream.pool.as_deref()) {
            Sending::Any => return snapshot.sources.iter().map(Face::of).collect(),
            Sending::ByRule(pool) | Sending::ByStream(pool) => used.extend(pool.sources.iter().map(|(name, _)| name)),
            // It waits until somebody has said from where it goes.
            Sending::Missing(_) => {}
        }
    }
    snapshot.sources.iter().filter(|source| used.contains(&source.name)).map(Face::of).collect()
}

fn mended(mail: &Candidate<'_>, stream: &Stream, plan: &Preparation) -> Mended {
    let lacks = plan::mend(mail.role, mail.facts);
    Mended {
        date: lacks.date,
        from: lacks.from,
        message_id: lacks.message_id,
        mime_version: plan.mime_version,
        one_click: plan.one_click.is_some(),
        feedback_id: plan.feedback_id.is_some(),
        doubles: stream.strictness >= Strictness::Mend,
        folds: stream.strictness >= Strictness::Mend,
    }
}

/// A line for each rule that is broken and not mended; else one that all passed, which is only counted.
fn tell(doors: &Doors, peer: Option<IpAddr>, breaches: &[Breach]) {
    let mut passed = true;
    for breach in breaches {
        let judgement = match breach.verdict {
            Verdict::Mended => continue,
            Verdict::Warned => Judgement::Warned,
            Verdict::Refused => Judgement::Rejected,
        };
        passed = false;
        let judge = format!("provider-rule:{}", breach.rule.word());
        doors.log.judged(&Judged { judge: &judge, judgement, peer, message: None, text: &breach.sentence() });
    }
    if passed {
        doors.log.judged(&Judged { judge: "provider-rules", judgement: Judgement::Passed, peer, message: None, text: "" });
    }
}

#[cfg(test)]
mod tests {
    use postrider_mail::HeaderWatch;
    use postrider_model::policy::{Checking, DomainMatch, Pool, Provider, RetryPolicy, Routing, Rule, Source, Timeouts, TlsLevel};
    use postrider_smtp::Mailbox;

    use super::*;
    use crate::ReceiveLimits;

    #[test]
    fn a_header_that_nobody_kept_is_not_called_too_long() {
        let content = format!("Subject: x\r\n{}\r\n", "X: y\r\n".repeat(50_000));
        for (content, keeps, kept) in [("Subject: x\r\n\r\n", true, true), ("Subject: x\r\n\r\n", false, false), (&*content, true, true)] {
            let mut watch = if keeps { HeaderWatch::keeping_header(JUDGED_HEADER_OCTETS_MAX) } else { HeaderWatch::new() };
            watch.feed(content.as_bytes());
            assert_eq!(was_kept(&watch.finish()), kept, "{keeps} {}", content.len());
        }
    }

    #[test]
    fn only_the_sources_that_send_it_are_judged() {
        let source = |name: &str| Source { name: name.into(), address: None, ehlo_name: format!("{name}.example"), proxy: None };
        let pool = |name: &str, sources: &[&str]| {
            let sources = sources.iter().map(|source| ((*source).into(), 1)).collect();
            (name.to_owned(), Arc::new(Pool { name: name.to_owned(), sources }))
        };
        let rule = |name: &str, to: &str, target, pool: Option<&Arc<Pool>>| Rule {
            name: name.to_owned(),
            recipients: vec![DomainMatch::Exact(to.to_owned())],
            senders: Vec::new(),
            tenants: Vec::new(),
            streams: Vec::new(),
            target,
            tls: TlsLevel::Opportunistic,
            tls13_only: false,
            pool: pool.cloned(),
        };
        let pools = BTreeMap::from([pool("vip", &["b"]), pool("bank", &["c"])]);
        let rules = vec![
            rule("bank", "bank.example", Target::Mx, pools.get("bank")),
            rule("smart", "smart.example", Target::SmartHosts(Vec::new()), None),
        ];
        let snapshot = Snapshot {
            sources: ["a", "b", "c"].map(source).to_vec(),
            routing: Routing { rules, pools, ..Routing::default() },
            ..snapshot()
        };
        let principal = Principal { own_domains_only: false, ..ReceiveLimits::default().relay_principal };
        let facts = HeaderWatch::new().finish();
        for (pool, recipients, expected) in [
            (None, &["x.example"][..], "a b c"),
            (Some("vip"), &["x.example"], "b"),
            (Some("vip"), &["bank.example"], "c"),
            (Some("vip"), &["x.example", "bank.example", "smart.example"], "b c"),
            (Some("vip"), &["smart.example"], ""),
            (None, &["bank.example", "x.example"], "a b c"),
            (Some("gone"), &["x.example"], ""),
        ] {
            let to = |host: &&str| Recipient::new(Mailbox::parse(&format!("u@{host}")).unwrap());
            let recipients: Vec<Recipient> = recipients.iter().map(to).collect();
            let stream = Stream { pool: pool.map(Into::into), ..Stream::default() };
            let mail = Candidate {
                principal: &principal,
                role: Role::Submission,
                reverse_path: &ReversePath::Null,
                recipients: &recipients,
                facts: &facts,
                peer: None,
            };
            let judged: Vec<String> = faces(&snapshot, &stream, &mail).iter().map(|face| face.source.to_string()).collect();
            assert_eq!(judged.join(" "), expected, "{pool:?}");
        }
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            host_name: "relay.example".into(),
            postmaster: None,
            sources: Vec::new(),
            providers: vec![Provider::fallback()],
            routing: Routing::default(),
            checking: Checking::default(),
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
            smtp_port: 25,
            chunking: true,
            connections_out_max: 100,
            public_url: None,
        }
    }

    #[test]
    fn what_was_found_counts_for_its_time_and_is_bounded() {
        let mut known = Known::default();
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1_000);
        let wrong = Served { dmarc: Some(Wrong { said: "x".into(), remedy: "y".into() }), ..Served::default() };
        known.keep("a".into(), wrong.clone(), at(1_060));
        for (now, found) in [(1_000, true), (1_059, true), (1_060, false), (2_000, false), (100, false)] {
            assert_eq!(known.look("a", at(now)).is_some(), found, "{now}");
        }
        for nth in 0..DOMAINS_MAX {
            known.keep(format!("d{nth}"), wrong.clone(), at(1_060));
        }
        assert_eq!((known.found.len(), known.order.len()), (DOMAINS_MAX, DOMAINS_MAX));
        assert!(known.look("a", at(1_000)).is_none(), "the oldest is forgotten");
    }
}
