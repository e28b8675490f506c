//! Who asks the DNS about a stranger's message.
//!
//! **Promises.** All look-ups of one message end when its time does; a few go side by side, and no more, so that one message takes few of the places that all strangers
//! share. What nobody answered is not asked again for [`SILENT_FOR`], by any message: who is silent costs his first mail its time, and not each one (RFC 9520 §3.1).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_mail::lookup::{Answer, Known, Question};
use postrider_mail::spf;
use postrider_model::doors::{DnsTrouble, Resolver};
use postrider_model::limits::SIGNATURE_KEYS_MAX;
use postrider_smtp::Domain;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Watch;

/// How long it counts that nobody answered (RFC 9520 §3.2 allows up to five minutes).
const SILENT_FOR: Duration = Duration::from_secs(30);

/// How long a look-up must have waited for its end to say anything about who was asked; less is our own want of time.
const SILENCE: Duration = Duration::from_secs(2);

/// Look-ups of one call that are under way at once.
const SIDE_BY_SIDE: usize = 4;

/// Questions that are remembered; each takes up to about 300 octets.
const QUESTIONS_MAX: usize = 2_048;

/// Questions that nobody answered a short time ago.
#[derive(Debug, Default)]
pub(super) struct Silences {
    until: BTreeMap<Question, Instant>,
    /// In the order in which they were first asked.
    order: VecDeque<Question>,
}

impl Silences {
    fn has(&self, question: &Question, now: Instant) -> bool {
        self.until.get(question).is_some_and(|until| now < *until)
    }

    fn note(&mut self, question: &Question, now: Instant) {
        if self.until.insert(question.clone(), now + SILENT_FOR).is_none() {
            self.order.push_back(question.clone());
        }
        while self.order.len() > QUESTIONS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.until.remove(&oldest);
            }
        }
    }
}

/// Asks for one message, as long as there is time.
#[derive(Clone)]
pub(super) struct Asker {
    resolver: Arc<dyn Resolver>,
    watch: Arc<Watch>,
    until: Instant,
}

impl Asker {
    /// One whose time ends then.
    pub(super) fn new(resolver: Arc<dyn Resolver>, watch: Arc<Watch>, until: Instant) -> Self {
        Self { resolver, watch, until }
    }

    /// The answers to questions, as many as may be asked. Silence about some takes no time from those of another call: who signs in a silent domain's name, too, hides no
    /// policy by it.
    pub(super) async fn all(&self, questions: Vec<Question>) -> Known {
        let places = Arc::new(Semaphore::new(SIDE_BY_SIDE));
        let (mut known, mut under_way) = (Known::new(), JoinSet::new());
        for question in questions.into_iter().take(SIGNATURE_KEYS_MAX) {
            known.insert(question.clone(), Answer::Failed);
            let (asker, places) = (self.clone(), places.clone());
            under_way.spawn(async move {
                let place = timeout_at(asker.until, places.acquire()).await;
                let answer = if place.is_ok() { asker.ask(&question).await } else { Answer::Failed };
                (question, answer)
            });
        }
        while let Some(ended) = under_way.join_next().await {
            known.extend(ended);
        }
        known
    }

    /// One term after the other, until SPF knows: which is looked at next hangs on the one before.
    pub(super) async fn spf(&self, identity: &spf::Identity<'_>) -> spf::Verdict {
        let mut known = Known::new();
        loop {
            match spf::check(identity, &known) {
                Ok(verdict) => return verdict,
                Err(questions) => known.extend(self.all(questions).await),
            }
        }
    }

    async fn ask(&self, question: &Question) -> Answer {
        let Ok(_place) = timeout_at(self.until, self.watch.look_ups.acquire()).await else { return Answer::Failed };
        let began = Instant::now();
        if self.silences().has(question, began) {
            return Answer::Failed;
        }
        let answer = timeout_at(self.until, self.look_up(question)).await;
        let failed = match &answer {
            Ok(answer) => *answer == Answer::Failed,
            Err(_) => began.elapsed() >= SILENCE,
        };
        if failed {
            self.silences().note(question, Instant::now());
        }
        answer.unwrap_or(Answer::Failed)
    }

    fn silences(&self) -> MutexGuard<'_, Silences> {
        self.watch.silences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name that is none has nothing.
    async fn look_up(&self, question: &Question) -> Answer {
        let named = |name: &str| Domain::parse(name).ok();
        let answer = match question {
            Question::Texts(name) => {
                let Some(name) = named(name) else { return Answer::Nothing };
                let found = self.resolver.text(&name).await;
                found.map(|found| Answer::Texts(found.records.into_iter().map(Vec::from).collect()))
            }
            Question::Addresses { name, ipv6 } => {
                let Some(name) = named(name) else { return Answer::Nothing };
                self.resolver.family(&name, *ipv6).await.map(|found| Answer::Addresses(found.addresses))
            }
            Question::Exchangers(name) => {
                let Some(name) = named(name) else { return Answer::Nothing };
                let found = self.resolver.mx(&name).await;
                found.map(|found| {
                    let hosts = found.records.into_iter().filter_map(|record| record.host);
                    Answer::Names(hosts.map(|host| host.to_ascii().into_owned()).collect())
                })
            }
            Question::Pointers(address) => {
                let found = self.resolver.pointers(*address).await;
                found.map(|found| Answer::Names(found.names.iter().map(|name| name.to_ascii().into_owned()).collect()))
            }
        };
        match answer {
            Ok(Answer::Names(names)) if names.is_empty() => Answer::Nothing,
            Ok(answer) => answer,
            Err(DnsTrouble::NoName { .. } | DnsTrouble::NoData { .. }) => Answer::Nothing,
            Err(DnsTrouble::Failed(_)) => Answer::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use postrider_model::BoxFuture;
    use postrider_model::doors::{AddressAnswer, AliasAnswer, MxAnswer, PointerAnswer, TextAnswer};
    use postrider_model::limits::VERIFYING_LOOKUPS_MAX;

    use super::*;

    /// A DNS that is silent about names that begin with `k`, tells all others after a second, and counts who waits for it.
    #[derive(Default)]
    struct Slow {
        waiting: AtomicUsize,
        most: AtomicUsize,
        asked: AtomicUsize,
    }

    struct Waiting<'a>(&'a AtomicUsize);

    impl Drop for Waiting<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    impl Slow {
        async fn wait<T>(&self) -> Result<T, DnsTrouble> {
            std::future::pending().await
        }
    }

    impl Resolver for Slow {
        fn mx(&self, _: &Domain) -> BoxFuture<'_, Result<MxAnswer, DnsTrouble>> {
            Box::pin(self.wait())
        }

        fn addresses(&self, _: &Domain) -> BoxFuture<'_, Result<AddressAnswer, DnsTrouble>> {
            Box::pin(self.wait())
        }

        fn family(&self, _: &Domain, _: bool) -> BoxFuture<'_, Result<AddressAnswer, DnsTrouble>> {
            Box::pin(self.wait())
        }

        fn text(&self, name: &Domain) -> BoxFuture<'_, Result<TextAnswer, DnsTrouble>> {
            let is_silent = name.as_str().starts_with('k');
            Box::pin(async move {
                self.asked.fetch_add(1, Ordering::Relaxed);
                let now = self.waiting.fetch_add(1, Ordering::Relaxed) + 1;
                self.most.fetch_max(now, Ordering::Relaxed);
                let _waiting = Waiting(&self.waiting);
                if is_silent {
                    return self.wait().await;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(TextAnswer { records: vec![b"v=spf1 -all".to_vec().into()], ttl: Duration::ZERO })
            })
        }

        fn pointers(&self, _: IpAddr) -> BoxFuture<'_, Result<PointerAnswer, DnsTrouble>> {
            Box::pin(self.wait())
        }

        fn alias(&self, _: &Domain) -> BoxFuture<'_, Result<AliasAnswer, DnsTrouble>> {
            Box::pin(self.wait())
        }
    }

    fn asker(slow: &Arc<Slow>, watch: &Arc<Watch>, seconds: u64) -> Asker {
        Asker::new(slow.clone(), watch.clone(), Instant::now() + Duration::from_secs(seconds))
    }

    fn texts(names: impl IntoIterator<Item = String>) -> Vec<Question> {
        names.into_iter().map(Question::Texts).collect()
    }

    fn keys(count: usize) -> Vec<Question> {
        texts((0..count).map(|nth| format!("k{nth}.example")))
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_whose_dns_is_silent_take_a_part_of_the_places_for_a_part_of_the_time() {
        let (slow, watch) = (Arc::new(Slow::default()), Arc::new(Watch::default()));
        let began = Instant::now();
        let mut sessions = JoinSet::new();
        for nth in 0..300 {
            let asker = asker(&slow, &watch, 15);
            sessions.spawn(async move {
                let client = "192.0.2.1".parse().unwrap();
                let mail_from = format!("a@k{nth}.example");
                let identity = spf::Identity { client, hello: "x", mail_from: &mail_from, receiver: "mx.example", now: 0, explain: false };
                tokio::join!(asker.spf(&identity), asker.all(keys(9)))
            });
        }
        while let Some(ended) = sessions.join_next().await {
            let (verdict, known) = ended.unwrap();
            assert_eq!(verdict.outcome, spf::Outcome::TempError);
            assert!(known.len() == 9 && known.values().all(|answer| *answer == Answer::Failed));
        }
        assert_eq!(began.elapsed(), Duration::from_secs(15), "all of a message's look-ups together");
        assert_eq!((slow.most.load(Ordering::Relaxed), slow.waiting.load(Ordering::Relaxed)), (VERIFYING_LOOKUPS_MAX, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_depend_on_each_other_is_asked_side_by_side() {
        let (slow, watch) = (Arc::new(Slow::default()), Arc::new(Watch::default()));
        let began = Instant::now();
        let asker = asker(&slow, &watch, 10);
        let known = asker.all(texts((0..2 * SIDE_BY_SIDE).map(|nth| format!("x{nth}.example")))).await;
        assert!(known.len() == 2 * SIDE_BY_SIDE && known.values().all(|answer| matches!(answer, Answer::Texts(_))));
        assert_eq!((began.elapsed(), slow.most.load(Ordering::Relaxed)), (Duration::from_secs(2), SIDE_BY_SIDE));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_of_silent_domains_hide_no_policy() {
        let (slow, watch) = (Arc::new(Slow::default()), Arc::new(Watch::default()));
        let asker = asker(&slow, &watch, 10);
        let (known, policies) = tokio::join!(asker.all(keys(100)), asker.all(texts(["_dmarc.b.example".to_owned()])));
        assert!(known.len() == SIGNATURE_KEYS_MAX && known.values().all(|answer| *answer == Answer::Failed));
        assert!(policies.values().all(|answer| matches!(answer, Answer::Texts(_))), "{policies:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_costs_the_first_message_its_time_and_not_each_one() {
        let (slow, watch) = (Arc::new(Slow::default()), Arc::new(Watch::default()));
        let message = async |seconds: u64, took: Duration, asked: usize| {
            let began = Instant::now();
            let known = asker(&slow, &watch, seconds).all(keys(1)).await;
            assert!(known.values().all(|answer| *answer == Answer::Failed));
            assert_eq!((began.elapsed(), slow.asked.load(Ordering::Relaxed)), (took, asked));
        };
        let (short, whole) = (Duration::from_secs(1), Duration::from_secs(10));
        message(1, short, 1).await;
        message(10, whole, 2).await;
        message(10, Duration::ZERO, 2).await;
        message(10, Duration::ZERO, 2).await;
        tokio::time::advance(SILENT_FOR).await;
        message(10, whole, 3).await;
    }

    #[test]
    fn memory_of_silence_is_bounded() {
        let (mut silences, now) = (Silences::default(), Instant::now());
        for question in keys(QUESTIONS_MAX + 10) {
            silences.note(&question, now);
            silences.note(&question, now);
        }
        assert_eq!((silences.until.len(), silences.order.len()), (QUESTIONS_MAX, QUESTIONS_MAX));
        let of = |nth: usize| keys(nth + 1).pop().unwrap();
        assert!(!silences.has(&of(9), now) && silences.has(&of(10), now), "the oldest is forgotten, and no other");
        assert!(!silences.has(&of(10), now + SILENT_FOR));
    }
}
