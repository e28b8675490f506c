//! The book of suppressions on both engines, and what it does when its database does not answer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use postrider_model::contract::{SUPPRESSION_LAWS, SuppressionShelf};
use postrider_model::doors::{SuppressedMailbox, Suppression, SuppressionCause, SuppressionFilter, SuppressionTrouble, Suppressions};
use postrider_model::{BoxFuture, Timestamp};
use postrider_records::SqlSuppressions;
use postrider_records::db::{Database, DatabaseTrouble, Postgres, Row, Sqlite, Statement, Value};
use postrider_smtp::Mailbox;

use crate::common::{Folder, World, postgres, sqlite};

fn mailbox(text: &str) -> SuppressedMailbox {
    SuppressedMailbox::of(&Mailbox::parse(text).unwrap())
}

fn one(to: &str) -> Suppression {
    Suppression {
        tenant: "shop".into(),
        stream: "news".into(),
        mailbox: mailbox(to),
        since: Timestamp::from_millis(1_000),
        cause: SuppressionCause::OneClick,
        message: None,
        reason: "".into(),
    }
}

async fn knows(book: &SqlSuppressions, to: &str) -> Result<bool, SuppressionTrouble> {
    book.suppressed(&"shop".into(), &"news".into(), &mailbox(to)).await.map(|found| found.is_some())
}

async fn count(book: &SqlSuppressions) -> usize {
    book.list(&SuppressionFilter::default(), None, usize::MAX >> 1).await.unwrap().len()
}

/// A database that can stop answering, and counts what it is asked.
struct Fickle {
    inner: Arc<dyn Database>,
    silent: AtomicBool,
    asked: AtomicU64,
}

impl Fickle {
    fn new(inner: Arc<dyn Database>) -> Arc<Self> {
        Arc::new(Self { inner, silent: AtomicBool::new(false), asked: AtomicU64::new(0) })
    }

    fn answers(&self) -> Result<(), DatabaseTrouble> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.silent.load(Ordering::Relaxed) {
            true => Err(DatabaseTrouble::Unreachable("no answer".to_owned())),
            false => Ok(()),
        }
    }
}

impl Database for Fickle {
    fn find(&self, sql: &'static str, values: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, DatabaseTrouble>> {
        Box::pin(async move {
            self.answers()?;
            self.inner.find(sql, values).await
        })
    }

    fn change(&self, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<u64>, DatabaseTrouble>> {
        Box::pin(async move {
            self.answers()?;
            self.inner.change(statements).await
        })
    }

    fn define(&self, scripts: Vec<String>) -> BoxFuture<'_, Result<(), DatabaseTrouble>> {
        Box::pin(async move {
            self.answers()?;
            self.inner.define(scripts).await
        })
    }

    fn octets_type(&self) -> &'static str {
        self.inner.octets_type()
    }

    fn copy_to(&self, file: &Path) -> Option<BoxFuture<'_, Result<(), DatabaseTrouble>>> {
        self.inner.copy_to(file)
    }
}

struct InSqlite(Folder);

impl SuppressionShelf for InSqlite {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Suppressions>> {
        Box::pin(async { Arc::new(SqlSuppressions::open(sqlite(&self.0)).await.unwrap()) as Arc<dyn Suppressions> })
    }
}

#[tokio::test]
async fn the_laws_hold_on_sqlite() {
    for (_, law) in SUPPRESSION_LAWS {
        law(Arc::new(InSqlite(Folder::new()))).await;
    }
}

/// A schema of its own for each law.
struct InPostgres(String);

impl SuppressionShelf for InPostgres {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Suppressions>> {
        let database = Arc::new(Postgres::new(&self.0).unwrap());
        Box::pin(async { Arc::new(SqlSuppressions::open(database).await.unwrap()) as Arc<dyn Suppressions> })
    }
}

#[tokio::test]
async fn the_laws_hold_on_postgresql() {
    let Some(server) = postgres::Server::start() else { return };
    for (number, (_, law)) in SUPPRESSION_LAWS.iter().enumerate() {
        let url = format!("{} options='-c search_path=law{number}'", server.url());
        let database = Postgres::new(&url).unwrap();
        database.define(vec![format!("CREATE SCHEMA law{number};")]).await.unwrap();
        law(Arc::new(InPostgres(url))).await;
    }
}

async fn two_relays_share(database: Arc<dyn Database>) {
    let [here, there] = [SqlSuppressions::open(database.clone()).await.unwrap(), SqlSuppressions::open(database).await.unwrap()];
    assert!(here.are_none() && there.are_none());
    assert_eq!(there.suppress(one("a@b.example")).await, Ok(true));
    assert_eq!(here.suppress(one("A@B.example")).await, Ok(false), "it is there, whoever knows it");
    // More than a page, all at once.
    let many: Vec<Suppression> = (0..2_500).map(|number| one(&format!("m{number}@b.example"))).collect();
    there.take_over(&many).await.unwrap();
    there.take_over(&many[..100]).await.unwrap();
    assert_eq!(count(&here).await, 2_501, "what is taken over twice is there once");
    here.refresh().await.unwrap();
    for to in ["a@b.example", "m0@b.example", "m999@b.example", "m1000@b.example", "m2499@b.example"] {
        assert_eq!(knows(&here, to).await, Ok(true), "{to}");
    }
    assert_eq!(knows(&here, "m2500@b.example").await, Ok(false));
    assert_eq!(here.lift(&one("m0@b.example").key()).await, Ok(true));
    assert_eq!(knows(&there, "m0@b.example").await, Ok(false), "what is lifted counts at once");
}

#[tokio::test]
async fn two_relays_share_a_book_on_sqlite() {
    let folder = Folder::new();
    two_relays_share(sqlite(&folder)).await;
}

#[tokio::test]
async fn two_relays_share_a_book_on_postgresql() {
    let Some(server) = postgres::Server::start() else { return };
    two_relays_share(Arc::new(Postgres::new(&server.url()).unwrap())).await;
}

#[tokio::test]
async fn who_is_not_there_is_not_asked_about_and_silence_is_trouble() {
    let folder = Folder::new();
    let database = Fickle::new(sqlite(&folder));
    let book = SqlSuppressions::open(database.clone()).await.unwrap();
    book.suppress(one("a@b.example")).await.unwrap();
    let before = database.asked.load(Ordering::Relaxed);
    for number in 0..1_000 {
        assert_eq!(knows(&book, &format!("m{number}@b.example")).await, Ok(false));
    }
    assert_eq!(database.asked.load(Ordering::Relaxed), before);
    assert_eq!((knows(&book, "a@b.example").await, database.asked.load(Ordering::Relaxed)), (Ok(true), before + 1));
    database.silent.store(true, Ordering::Relaxed);
    let silent = || Err(SuppressionTrouble::Io("the database cannot be reached: no answer".to_owned()));
    assert_eq!(knows(&book, "a@b.example").await, silent().map(|()| false));
    assert_eq!(knows(&book, "c@d.example").await, Ok(false), "nobody else waits for it");
    assert_eq!(book.suppress(one("c@d.example")).await, silent().map(|()| false));
    assert!(book.refresh().await.is_err());
    database.silent.store(false, Ordering::Relaxed);
    assert_eq!((knows(&book, "c@d.example").await, knows(&book, "a@b.example").await), (Ok(false), Ok(true)));
}

#[tokio::test]
async fn more_than_memory_holds_are_asked_about_one_by_one() {
    let folder = Folder::new();
    let database = Fickle::new(sqlite(&folder));
    let book = SqlSuppressions::open_within(database.clone(), 3).await.unwrap();
    for number in 0..6 {
        book.suppress(one(&format!("m{number}@b.example"))).await.unwrap();
    }
    for book in [book, SqlSuppressions::open_within(database.clone(), 3).await.unwrap()] {
        book.refresh().await.unwrap();
        assert!(!book.are_none());
        let before = database.asked.load(Ordering::Relaxed);
        assert_eq!((knows(&book, "m5@b.example").await, knows(&book, "m6@b.example").await), (Ok(true), Ok(false)));
        assert_eq!(database.asked.load(Ordering::Relaxed), before + 2);
    }
}

#[tokio::test]
async fn what_could_not_be_written_is_not_known() {
    let folder = Folder::new();
    let database = sqlite(&folder);
    let book = SqlSuppressions::open(database.clone()).await.unwrap();
    // SQLite says the same of a file that has reached its most pages as of a disk without room.
    database.define(vec!["PRAGMA max_page_count = 1".to_owned()]).await.unwrap();
    let mut taken = 0;
    let refused = loop {
        match book.suppress(one(&format!("m{taken}@b.example"))).await {
            Ok(_) if taken < 5_000 => taken += 1,
            other => break other,
        }
    };
    assert!(matches!(refused, Err(SuppressionTrouble::Full(_))), "{refused:?}");
    assert_eq!(knows(&book, &format!("m{taken}@b.example")).await, Ok(false));
    assert_eq!(count(&book).await, taken);
}

/// The tables as the release before suppressions made them, with a tenant in them.
#[tokio::test]
async fn tables_of_the_first_form_are_brought_to_this_one_and_keep_what_they_hold() {
    let folder = Folder::new();
    let file = folder.0.join("registry.db");
    let old = rusqlite::Connection::open(&file).unwrap();
    old.execute_batch(include_str!("form_1.sql")).unwrap();
    old.execute_batch("INSERT INTO tenant (name, sends_as, state, created_ms) VALUES ('shop', 'anybody', 'active', 7)").unwrap();
    drop(old);
    // Two programs begin at once.
    let [first, second] = [0, 1].map(|_| Arc::new(Sqlite::open(&file).unwrap()));
    let (first, second) = tokio::join!(SqlSuppressions::open(first), SqlSuppressions::open(second));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.are_none());
    assert_eq!(first.suppress(one("a@b.example")).await, Ok(true));
    second.refresh().await.unwrap();
    assert_eq!(knows(&second, "a@b.example").await, Ok(true));
    let book = World::new().book(sqlite(&folder)).await;
    assert_eq!(book.tenants().await.unwrap().len(), 1);
}
