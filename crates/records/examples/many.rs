//! What a registry of many tenants costs: `cargo run --release -p postrider-records --example many [TENANTS]`.
//!
//! Makes tenants with a credential, a domain and a pair of keys each (one RSA key, sealed anew for each), then opens the registry as a relay does, and looks credentials and
//! signers up, for the first time and again. Prints times and the memory that the process has taken.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and reports to whoever runs it")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postrider_mail::dkim::{Algorithm, SigningKey};
use postrider_model::doors::{Clock, Entropy, Secret};
use postrider_model::{TenantName, Timestamp};
use postrider_records::db::{Database, Sqlite, Statement, Value};
use postrider_records::seal::Seal;
use postrider_records::{Book, RegistryOptions, SqlRegistry};
use postrider_smtp::Domain;

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }
}

impl Entropy for Fixed {
    fn fill(&self, octets: &mut [u8]) {
        octets.fill(7);
    }
}

/// Tenants of one transaction.
const BATCH: usize = 1_000;

#[tokio::main]
async fn main() {
    let tenants: usize = std::env::args().nth(1).map_or(100_000, |text| text.parse().expect("a number of tenants"));
    let folder = std::env::temp_dir().join(format!("postrider-many-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a directory");
    let file = folder.join("registry.db");
    let seal = || Seal::new(&[9; 32]);
    let open = || -> Arc<dyn Database> { Arc::new(Sqlite::open(&file).expect("a database")) };
    fill(&Book::open(open(), seal(), Arc::new(Fixed), Arc::new(Fixed)).await.expect("a book"), tenants).await;
    let size = std::fs::metadata(&file).expect("a file").len();
    println!("{tenants} tenants: {} MB on disk; {} MB of memory before the registry is opened", size / 1_000_000, resident_kb() / 1_000);

    let began = Instant::now();
    let book = Arc::new(Book::open(open(), seal(), Arc::new(Fixed), Arc::new(Fixed)).await.expect("a book"));
    let registry = SqlRegistry::new(book, Arc::new(Fixed), RegistryOptions::default()).await.expect("a registry");
    println!("opened in {:.1} ms", began.elapsed().as_secs_f64() * 1e3);

    let used = tenants.min(10_000);
    let here: IpAddr = [192, 0, 2, 1].into();
    let names: Vec<(String, Secret)> = (0..used).map(|nth| (format!("pk-{nth}"), Secret(format!("secret-{nth}").into_bytes()))).collect();
    for round in ["first", "again"] {
        let began = Instant::now();
        for (user, secret) in &names {
            assert!(registry.authenticate(here, user, secret).await.expect("an answer").is_some());
        }
        println!("credential, {round}: {:.2} us", each(began.elapsed(), used));
    }
    for round in ["first", "again"] {
        let began = Instant::now();
        for nth in 0..used {
            let tenant = TenantName::new(&format!("t{nth}"));
            let domain = Domain::parse(&format!("brand{nth}.example")).expect("a domain");
            assert!(registry.signer(&tenant, &domain).await.expect("an answer").is_some());
        }
        println!("signer with two keys, {round}: {:.2} us", each(began.elapsed(), used));
    }
    println!("{} MB of memory with {used} credentials and the signers that fit", resident_kb() / 1_000);
    drop(registry);
    std::fs::remove_dir_all(&folder).expect("a directory");
}

async fn fill(book: &Book, tenants: usize) {
    let rsa = SigningKey::generate(Algorithm::RsaSha256).expect("a key");
    let ed25519 = SigningKey::generate(Algorithm::Ed25519Sha256).expect("a key");
    let seal = Seal::new(&[9; 32]);
    for first in (0..tenants).step_by(BATCH) {
        let mut statements = Vec::new();
        for nth in first..(first + BATCH).min(tenants) {
            let (tenant, domain) = (Value::Text(format!("t{nth}")), Value::Text(format!("brand{nth}.example")));
            let mut put = |sql, values| statements.push(Statement::new(sql, values));
            put("INSERT INTO tenant VALUES ($1, 'own_domains', 'active', 1)", vec![tenant.clone()]);
            put("INSERT INTO stream VALUES ($1, 'bulk', 0, 'bulk', 'low', NULL, NULL, NULL, 1, 1, 1, '', 'warn')", vec![tenant.clone()]);
            put(
                "INSERT INTO domain VALUES ($1, $2, 'token', $3, 1, 1, 1)",
                vec![tenant.clone(), domain.clone(), Value::Text(format!("bounce.brand{nth}.example"))],
            );
            for (selector, algorithm, der) in [("a-rsa", "rsa-sha256", &rsa), ("a-ed25519", "ed25519-sha256", &ed25519)] {
                let sealed = seal.seal(&format!("dkim t{nth} brand{nth}.example {selector}"), der);
                put(
                    "INSERT INTO dkim_key VALUES ($1, $2, $3, $4, $5, 'v=DKIM1', 'active', 1, 1)",
                    vec![tenant.clone(), domain.clone(), selector.into(), algorithm.into(), Value::Octets(sealed)],
                );
            }
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("secret-{nth}").as_bytes());
            put(
                "INSERT INTO credential VALUES ($1, $2, $3, 'bulk', 'send', '', NULL, 'active', '', 1, NULL, NULL)",
                vec![Value::Text(format!("pk-{nth}")), Value::Octets(digest.as_ref().to_vec()), tenant],
            );
        }
        book.database().change(statements).await.expect("a change");
    }
}

fn each(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
