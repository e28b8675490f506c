//! A database that is not as it should be: a clear word, and nothing changed.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;

use crate::common::{Folder, World, postgres, sqlite};
use postrider_records::Book;
use postrider_records::db::{Database, DatabaseTrouble, Postgres, Sqlite};
use postrider_records::seal::Seal;

async fn open(world: &World, database: Arc<dyn Database>) -> Result<Book, DatabaseTrouble> {
    Book::open(database, Seal::new(&[7; 32]), world.clock.clone(), world.entropy.clone()).await
}

#[tokio::test]
async fn what_is_no_database_of_ours_is_left_alone() {
    let (folder, world) = (Folder::new(), World::new());
    let file = folder.0.join("registry.db");
    std::fs::write(&file, "no database, but a text of some length that a person may want to keep").unwrap();
    let trouble = Sqlite::open(&file).err().unwrap();
    assert!(matches!(trouble, DatabaseTrouble::Corrupt(_)), "{trouble}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("no database"));
    let trouble = Sqlite::open(&folder.0.join("nowhere/registry.db")).err().unwrap();
    assert!(matches!(trouble, DatabaseTrouble::Unreachable(_)), "{trouble}");
    std::fs::remove_file(&file).unwrap();
    let database = sqlite(&folder);
    let book = open(&world, database.clone()).await.unwrap();
    book.database().define(vec!["UPDATE registry SET format = 99".to_owned()]).await.unwrap();
    let trouble = open(&world, database).await.err().unwrap();
    assert!(trouble.to_string().contains("form 99, and this version knows form 3"), "{trouble}");
}

#[tokio::test]
async fn a_database_that_another_program_holds_is_told_as_locked() {
    let (folder, world) = (Folder::new(), World::new());
    let database = Sqlite::open_within(&folder.0.join("registry.db"), Duration::ZERO).unwrap();
    let book = open(&world, Arc::new(database)).await.unwrap();
    let other = rusqlite::Connection::open(folder.0.join("registry.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // What was written before is still read.
    assert!(book.tenants().await.unwrap().is_empty());
    assert_eq!(book.add_tenant(&"shop".into(), true).await, Err(DatabaseTrouble::Locked));
    other.execute_batch("ROLLBACK").unwrap();
    book.add_tenant(&"shop".into(), true).await.unwrap();
}

#[tokio::test]
async fn a_database_that_may_only_be_read_is_told_at_once() {
    let folder = Folder::new();
    let file = folder.0.join("registry.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE some (thing TEXT)").unwrap();
    // The mark of a database that a later version writes, and this one may only read: it holds for root, too, for whom no file is read-only.
    let mut octets = std::fs::read(&file).unwrap();
    octets[18] = 3;
    std::fs::write(&file, octets).unwrap();
    let trouble = Sqlite::open(&file).err().unwrap();
    assert!(matches!(trouble, DatabaseTrouble::ReadOnly(_)), "{trouble}");
}

#[tokio::test]
async fn a_full_database_takes_nothing_and_keeps_what_it_has() {
    let (folder, world) = (Folder::new(), World::new());
    let database = sqlite(&folder);
    let book = open(&world, database.clone()).await.unwrap();
    book.add_tenant(&"shop".into(), true).await.unwrap();
    // SQLite says the same of a file that has reached its most pages as of a disk without room.
    book.database().define(vec!["PRAGMA max_page_count = 1".to_owned()]).await.unwrap();
    let mut last = Ok(());
    for number in 0..500 {
        last = book.add_tenant(&format!("tenant-{number}").as_str().into(), true).await;
        if last.is_err() {
            break;
        }
    }
    assert_eq!(last, Err(DatabaseTrouble::Full));
    let tenants = book.tenants().await.unwrap();
    assert!(tenants.iter().any(|tenant| tenant.name.as_str() == "shop"));
}

#[tokio::test]
async fn a_copy_is_whole_while_the_database_is_used() {
    let (folder, world) = (Folder::new(), World::new());
    let database = sqlite(&folder);
    let book = open(&world, database.clone()).await.unwrap();
    book.add_tenant(&"shop".into(), true).await.unwrap();
    let copy = folder.0.join("copy.db");
    database.copy_to(&copy).unwrap().await.unwrap();
    book.add_tenant(&"later".into(), true).await.unwrap();
    let copied = open(&world, Arc::new(Sqlite::open(&copy).unwrap())).await.unwrap();
    let names: Vec<String> = copied.tenants().await.unwrap().iter().map(|tenant| tenant.name.to_string()).collect();
    assert_eq!(names, ["shop"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_as_unreachable() {
    let folder = Folder::new();
    let nowhere: Arc<dyn Database> = Arc::new(Postgres::new(&format!("host={} user=x", folder.0.display())).unwrap());
    let trouble = open(&World::new(), nowhere).await.err().unwrap();
    assert!(matches!(trouble, DatabaseTrouble::Unreachable(_)), "{trouble}");
    assert!(Postgres::new("host=").is_err() || Postgres::new("port=none").is_err());
}

/// A certificate authority, and what it says of `localhost`: certificate and key in PEM.
fn localhost() -> (RootCertStore, String, String) {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    (roots, certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn over_a_network_the_server_proves_its_name() {
    let (roots, certificate, key) = localhost();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(_server) = postgres::Server::start_secured(port, &certificate, &key) else { return };
    let at = |host: &str, more: &str| format!("host={host} hostaddr=127.0.0.1 port={port} user=postrider dbname=postgres {more}");
    let found = |url: String, roots: &RootCertStore| {
        let database = Postgres::trusting(&url, roots.clone()).unwrap();
        async move { database.find("SELECT CAST(CAST(ssl AS INT) AS INT8) FROM pg_stat_ssl WHERE pid = pg_backend_pid()", Vec::new()).await }
    };
    let answer = found(at("localhost", "sslmode=require"), &roots).await.unwrap();
    assert_eq!(answer[0].number(0), Ok(1), "it is spoken to under TLS");
    for (host, more, roots, why) in [
        ("db.example", "sslmode=require", &roots, "not valid for name"),
        ("localhost", "sslmode=require", &localhost().0, "BadSignature"),
        ("localhost", "sslmode=disable", &roots, "no encryption"),
    ] {
        let trouble = found(at(host, more), roots).await.unwrap_err();
        assert!(trouble.to_string().contains(why), "{host} {more}: {trouble}");
    }
    for (host, more, roots, why) in [
        ("db.example", "", roots.clone(), "say sslmode=require"),
        ("192.0.2.1", "sslmode=prefer", roots.clone(), "say sslmode=require"),
        ("db.example", "sslmode=require", RootCertStore::empty(), "needs root certificates"),
    ] {
        let trouble = Postgres::trusting(&format!("host={host} user=postrider {more}"), roots).err().unwrap();
        assert!(trouble.to_string().contains(why), "{host} {more}: {trouble}");
    }
}
