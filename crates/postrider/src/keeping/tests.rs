use postrider_model::doors::{Judged, Principal, RegistryTrouble, Secret, Signer};
use postrider_model::policy::{Stream, Voice};
use postrider_model::{Arrival, AttemptFacts, BodyType, Envelope, Mend, Outcome, Priority, Protocol, Recipient, Role};
use postrider_smtp::{Domain, Mailbox, Reply, ReversePath};

use super::*;

/// A clock that a test sets, a log, and what streams say.
#[derive(Default)]
struct Played {
    now_ms: AtomicU64,
    alarms: Mutex<Vec<String>>,
    retentions: Mutex<BTreeMap<String, Option<Duration>>>,
}

impl Clock for Played {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms.load(Ordering::Relaxed))
    }
}

impl MailLog for Played {
    fn accepted(&self, _: &Message) {}
    fn attempted(&self, _: &Message, _: u32, _: Option<&AttemptFacts>, _: &Outcome) {}
    fn refused(&self, _: std::net::IpAddr, _: &str, _: &Reply) {}
    fn judged(&self, _: &Judged<'_>) {}
    fn alarm(&self, _: Option<MessageId>, text: &str) {
        self.alarms.lock().unwrap().push(text.to_owned());
    }
}

impl Registry for Played {
    fn authenticate<'a>(&'a self, _: std::net::IpAddr, _: &'a str, _: Secret) -> BoxFuture<'a, Result<Option<Principal>, RegistryTrouble>> {
        unreachable!("nobody comes")
    }

    fn renew<'a>(&'a self, _: &'a Principal) -> BoxFuture<'a, Result<Option<Principal>, RegistryTrouble>> {
        unreachable!("nobody comes")
    }

    fn recognise(&self, _: std::net::IpAddr) -> BoxFuture<'_, Option<Principal>> {
        unreachable!("nobody comes")
    }

    fn signs(&self) -> bool {
        false
    }

    fn signers<'a>(&'a self, _: &'a TenantName, _: &'a Domain) -> BoxFuture<'a, Result<Vec<Arc<Signer>>, RegistryTrouble>> {
        unreachable!("nobody signs")
    }

    fn stream<'a>(&'a self, _: &'a TenantName, stream: &'a StreamName) -> BoxFuture<'a, Result<Arc<Stream>, RegistryTrouble>> {
        let said = self.retentions.lock().unwrap().get(stream.as_str()).copied();
        let said = said.map(|retention| Arc::new(Stream { retention, ..Stream::default() }));
        Box::pin(std::future::ready(said.ok_or_else(|| RegistryTrouble("silent".into()))))
    }

    fn voice<'a>(&'a self, _: &'a TenantName, _: &'a Domain) -> BoxFuture<'a, Result<Voice, RegistryTrouble>> {
        unreachable!("nobody speaks")
    }
}

fn message(second: u64, stream: &str, content_octets: u64) -> Message {
    let at = Timestamp::from_millis(1_795_466_220_000 + second * 1_000);
    Message {
        id: MessageId::new(at, [second as u8; 10]),
        tenant: "shop".into(),
        stream: stream.into(),
        envelope: Envelope::new(ReversePath::Null, BodyType::SevenBit, false),
        arrival: Arrival { at, role: Role::Local, peer: None, hello: "".into(), protocol: Protocol::Local, tls: None, credential: None },
        priority: Priority::Normal,
        deadline: None,
        release_at: None,
        recipients: vec![Recipient::new(Mailbox::parse("a@b.example").unwrap())],
        content_octets,
        mend: Mend::default(),
        body_hash: None,
        held: None,
    }
}

struct Bench {
    played: Arc<Played>,
    keep: Arc<Keep>,
    folder: PathBuf,
}

impl Bench {
    fn new(name: &str, octets_max: u64) -> Self {
        let folder = std::env::temp_dir().join(format!("postrider-keeping-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let played = Arc::new(Played::default());
        let keep = Keep::open(&folder, octets_max, played.clone(), played.clone());
        Self { played, keep, folder }
    }

    async fn keep(&self, second: u64, stream: &str, octets: usize) -> Result<(), KeepingTrouble> {
        let content = Content::Held(vec![b'x'; octets].into());
        KeepDoor(self.keep.clone()).keep(&message(second, stream, octets as u64), content).await
    }

    fn says(&self, stream: &str, seconds: Option<u64>) {
        self.played.retentions.lock().unwrap().insert(stream.to_owned(), seconds.map(Duration::from_secs));
    }

    async fn look_at(&self, second: u64) -> Vec<u64> {
        self.played.now_ms.store(1_795_466_220_000 + second * 1_000, Ordering::Relaxed);
        self.keep.look(&*self.played).await;
        let mut left = Vec::new();
        file::walk(&self.folder, false, |named, _| left.push((named.id.accepted_at().millis() - 1_795_466_220_000) / 1_000)).unwrap();
        assert_eq!(left.len() as u64, self.keep.counts().messages);
        left
    }

    fn alarms(&self) -> Vec<String> {
        std::mem::take(&mut *self.played.alarms.lock().unwrap())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn what_is_kept_goes_when_its_streams_time_is_over_and_a_change_holds_for_it() {
    let bench = Bench::new("time", 1 << 30);
    for (second, stream) in [(0, "news"), (10, "news"), (20, "receipts"), (30, "silent")] {
        bench.keep(second, stream, 100).await.unwrap();
    }
    assert!(KeepDoor(bench.keep.clone()).has(message(10, "news", 0).id) && !KeepDoor(bench.keep.clone()).has(MessageId(1)));
    bench.says("news", Some(100));
    bench.says("receipts", Some(1_000));
    assert_eq!(bench.look_at(99).await, [0, 10, 20, 30]);
    assert_eq!(bench.look_at(100).await, [10, 20, 30]);
    bench.says("receipts", Some(60));
    assert_eq!(bench.look_at(100).await, [10, 30], "a shorter time holds for what is there");
    bench.says("news", None);
    assert_eq!(bench.look_at(100).await, [30], "and a stream that keeps nothing any more has nothing");
    assert_eq!(bench.look_at(1_000_000).await, [30], "while nobody knows, it stays");
    // A start finds what is there.
    let again = Keep::open(&bench.folder, 1 << 30, bench.played.clone(), bench.played.clone());
    assert_eq!(again.counts(), Counts { messages: 1, octets: BLOCK_OCTETS, failed: 0, evicted: 0 });
    assert!(bench.alarms().is_empty());
}

#[tokio::test]
async fn the_oldest_go_first_when_the_bound_is_reached_and_it_is_told_once() {
    let bench = Bench::new("bound", 5 * BLOCK_OCTETS);
    bench.says("news", Some(1_000));
    for second in 0..8 {
        bench.keep(second, "news", 100).await.unwrap();
    }
    assert_eq!(bench.look_at(10).await, [3, 4, 5, 6, 7]);
    assert_eq!(bench.keep.counts(), Counts { messages: 5, octets: 5 * BLOCK_OCTETS, failed: 0, evicted: 3 });
    let alarms = bench.alarms();
    assert!(alarms.len() == 1 && alarms[0].contains("[kept] size_max"), "{alarms:?}");
    // A larger one takes the place of two.
    bench.keep(8, "news", BLOCK_OCTETS as usize + 1).await.unwrap();
    assert_eq!(bench.look_at(10).await, [5, 6, 7, 8]);
    bench.keep.set_octets_max(2 * BLOCK_OCTETS);
    assert_eq!(bench.look_at(10).await, [8], "a bound that a reload lowers holds at the next look");
}

#[tokio::test]
async fn trouble_is_counted_and_is_news_once() {
    let bench = Bench::new("trouble", 10 * BLOCK_OCTETS);
    let large = bench.keep(0, "news", 100_000).await.unwrap_err();
    assert!(large.is_news && large.why.contains("size_max"), "{large:?}");
    assert!(!bench.keep(1, "news", 100_000).await.unwrap_err().is_news);
    bench.keep(2, "news", 10).await.unwrap();
    // What breaks off is no message.
    let half = message(3, "news", 10);
    let broken = KeepDoor(bench.keep.clone()).keep(&half, Content::Held(Bytes::from_static(b"abc"))).await.unwrap_err();
    assert!(broken.is_news && broken.why.contains("3 octets"), "{broken:?}");
    std::fs::remove_dir_all(&bench.folder).unwrap();
    std::fs::write(&bench.folder, "a file").unwrap();
    assert!(!bench.keep(4, "news", 10).await.unwrap_err().is_news);
    assert_eq!(bench.keep.counts().failed, 4);
    std::fs::remove_file(&bench.folder).unwrap();
}
