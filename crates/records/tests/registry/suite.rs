//! What holds on both engines.

use std::sync::Arc;

use crate::common::{Folder, HERE, World, postgres, sqlite};
use postrider_model::doors::Secret;
use postrider_model::policy::{Allowance, Beyond, Rates, StreamClass};
use postrider_model::{CredentialName, Priority, TenantName, Timestamp};
use postrider_records::db::{Database, DatabaseTrouble, Postgres};
use postrider_records::{
    Book, CredentialState, Found, KeyState, NewCredential, Own, RegistryOptions, Scope, SqlRegistry, StreamRecord, TenantState,
};
use postrider_smtp::Domain;

/// Every test of the suite on one engine; each begins with an empty registry.
macro_rules! suite {
    ($($test:ident),*) => {
        mod on_sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                let folder = Folder::new();
                super::$test(World::new(), sqlite(&folder)).await;
            })*
        }

        mod on_postgresql {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                let Some(server) = postgres::Server::start() else { return };
                super::$test(World::new(), Arc::new(Postgres::new(&server.url()).unwrap())).await;
            })*
        }
    };
}

suite!(
    tenants_have_streams,
    domains_are_proven_and_their_keys_take_turns,
    credentials_are_shown_once,
    allowances_and_counts_are_kept,
    memory_follows_changes,
    pools_and_retentions_are_noticed
);

fn shop() -> TenantName {
    "shop".into()
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

/// A domain's selectors, and what each key is used for.
async fn states(book: &Book, domain: &Domain) -> Vec<(String, KeyState)> {
    let found = book.domain(&shop(), domain).await.unwrap().unwrap();
    found.keys.into_iter().map(|key| (key.selector, key.state)).collect()
}

fn conflict<T: std::fmt::Debug>(result: Result<T, DatabaseTrouble>) -> String {
    match result {
        Err(DatabaseTrouble::Conflict(said)) => said,
        other => panic!("no conflict: {other:?}"),
    }
}

async fn with_shop(world: &World, database: Arc<dyn Database>) -> Book {
    let book = world.book(database).await;
    book.add_tenant(&shop(), true).await.unwrap();
    book
}

async fn tenants_have_streams(world: World, database: Arc<dyn Database>) {
    let book = with_shop(&world, database.clone()).await;
    let before = book.version().await.unwrap();
    assert_eq!(conflict(book.add_tenant(&shop(), false).await), "there is a tenant shop already");
    assert_eq!(book.version().await.unwrap(), before, "what did not happen is not counted");
    assert_eq!(book.streams(&shop()).await.unwrap(), StreamRecord::first_two());
    let mut news = StreamRecord { name: "news".into(), ..StreamRecord::first_two()[1].clone() };
    news.stream.pool = Some("slow".into());
    news.stream.give_up_after = Some(std::time::Duration::from_secs(3_600));
    news.stream.retention = Some(std::time::Duration::from_secs(259_200));
    news.stream.preparing.strips = vec!["x-internal-".into(), "x-debug".into()];
    book.put_stream(&shop(), &news).await.unwrap();
    news.stream.priority = Priority::High;
    book.put_stream(&shop(), &news).await.unwrap();
    let names: Vec<String> = book.streams(&shop()).await.unwrap().iter().map(|stream| stream.name.to_string()).collect();
    assert_eq!(names, ["transactional", "bulk", "news"]);
    assert_eq!(book.stream(&shop(), &"news".into()).await.unwrap(), Some(news.clone()));
    assert!(conflict(book.put_stream(&"bank".into(), &news).await).contains("postrider tenant add bank"));
    book.set_tenant(&shop(), TenantState::Suspended, false).await.unwrap();
    let tenant = book.tenant(&shop()).await.unwrap().unwrap();
    assert_eq!((tenant.state, tenant.own_domains_only), (TenantState::Suspended, false));
    assert!(conflict(book.set_tenant(&"bank".into(), TenantState::Active, true).await).starts_with("there is no tenant bank"));
    book.add_domain(&shop(), &domain("brand.example")).await.unwrap();
    assert!(conflict(book.remove_tenant(&shop()).await).contains("still has credentials or domains"));
    book.remove_domain(&shop(), &domain("brand.example")).await.unwrap();
    book.remove_stream(&shop(), &"news".into()).await.unwrap();
    assert!(conflict(book.remove_stream(&shop(), &"news".into()).await).contains("no stream news"));
    // The same tables, opened again.
    let again = world.book(database).await;
    assert_eq!(again.tenants().await.unwrap().len(), 1);
    again.remove_tenant(&shop()).await.unwrap();
    assert!(book.tenants().await.unwrap().is_empty());
}

async fn domains_are_proven_and_their_keys_take_turns(world: World, database: Arc<dyn Database>) {
    let book = with_shop(&world, database.clone()).await;
    let brand = domain("Brand.example");
    let added = book.add_domain(&shop(), &brand).await.unwrap();
    assert_eq!((added.token.len(), added.return_path.as_str(), added.proven_at), (32, "bounce.brand.example", None));
    let pair = |letter: &str, state| ["rsa", "ed25519"].map(|kind| (format!("postrider-{letter}-{kind}"), state)).to_vec();
    assert_eq!(states(&book, &brand).await, pair("a", KeyState::Next));
    assert!(added.keys[0].record.starts_with("v=DKIM1; k=rsa; p=") && added.keys[1].record.starts_with("v=DKIM1; k=ed25519; p="));
    assert!(conflict(book.add_domain(&shop(), &brand).await).contains("already"));
    for suffix in ["co.uk", "GitHub.io", "com"] {
        assert!(conflict(book.add_domain(&shop(), &domain(suffix)).await).contains("is a public suffix"), "{suffix}");
    }
    assert!(conflict(book.rotate_domain(&shop(), &brand).await).contains("waits for the DNS already"));
    // Half of a pair is not enough; and a return path that is not known stays as it is.
    let half = Found { owned: true, selectors_served: vec!["postrider-a-rsa".to_owned()], ..Found::default() };
    assert!(book.found(&shop(), &brand, &half).await.unwrap() && !book.found(&shop(), &brand, &half).await.unwrap());
    assert_eq!(states(&book, &brand).await, pair("a", KeyState::Next));
    let served = |letter: &str| ["rsa", "ed25519"].map(|kind| format!("postrider-{letter}-{kind}")).to_vec();
    let whole = Found { owned: true, return_path_ready: Some(true), selectors_served: served("a") };
    assert!(book.found(&shop(), &brand, &whole).await.unwrap());
    let known = book.domain(&shop(), &brand).await.unwrap().unwrap();
    assert!(known.proven_at.is_some() && known.return_path_ready_at.is_some());
    assert_eq!(states(&book, &brand).await, pair("a", KeyState::Active));
    // The proof stays when its record goes, the return path does not.
    let gone = Found { owned: false, return_path_ready: Some(false), selectors_served: Vec::new() };
    book.found(&shop(), &brand, &gone).await.unwrap();
    let known = book.domain(&shop(), &brand).await.unwrap().unwrap();
    assert!(known.proven_at.is_some() && known.return_path_ready_at.is_none());
    // The next pair signs when the DNS serves it, and not before.
    book.rotate_domain(&shop(), &brand).await.unwrap();
    assert_eq!(states(&book, &brand).await, [pair("b", KeyState::Next), pair("a", KeyState::Active)].concat());
    book.found(&shop(), &brand, &Found { selectors_served: served("b"), ..Found::default() }).await.unwrap();
    assert_eq!(states(&book, &brand).await, [pair("b", KeyState::Active), pair("a", KeyState::Retired)].concat());
    assert!(conflict(book.rotate_domain(&shop(), &brand).await).contains("try again later"));
    world.passes(7 * 86_400);
    let old = book.domain(&shop(), &brand).await.unwrap().unwrap().keys[2].record.clone();
    let rotated = book.rotate_domain(&shop(), &brand).await.unwrap();
    assert_eq!(states(&book, &brand).await, [pair("b", KeyState::Active), pair("a", KeyState::Next)].concat());
    assert!(rotated.keys.iter().all(|key| key.record != old), "a name comes again, a key never");
    // Another tenant may add the domain, and proves it for itself.
    book.add_tenant(&"bank".into(), true).await.unwrap();
    let other = book.add_domain(&"bank".into(), &brand).await.unwrap();
    assert!(other.token != added.token && other.proven_at.is_none());
    assert_eq!(book.domains(None).await.unwrap().len(), 2);
    assert_eq!(book.domains(Some(&shop())).await.unwrap().len(), 1);
    assert!(book.is_return_path(&domain("bounce.brand.example")).await.unwrap());
    assert!(!book.is_return_path(&brand).await.unwrap());
    // Under another key nothing opens, and it is said so.
    let stolen = Arc::new(world.book_sealed_with(database, 8).await);
    let registry = SqlRegistry::new(stolen, world.clock.clone(), RegistryOptions::default()).await.unwrap();
    let said = registry.signer(&shop(), &brand).await.unwrap_err().to_string();
    assert!(said.contains("the registry's key file is not the one"), "{said}");
}

fn new_credential() -> NewCredential {
    NewCredential {
        tenant: shop(),
        stream: "transactional".into(),
        scopes: vec![Scope::Send],
        networks: Vec::new(),
        expires_at: None,
        note: "the shop".to_owned(),
    }
}

async fn credentials_are_shown_once(world: World, database: Arc<dyn Database>) {
    let book = Arc::new(with_shop(&world, database).await);
    let registry = SqlRegistry::new(book.clone(), world.clock.clone(), RegistryOptions::default()).await.unwrap();
    let made = book.add_credential(&new_credential()).await.unwrap();
    world.passes(1);
    let narrow = NewCredential {
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        expires_at: Some(Timestamp::from_millis(world.clock.0.load(std::sync::atomic::Ordering::Relaxed) + 60_000)),
        stream: "bulk".into(),
        ..new_credential()
    };
    let narrow = book.add_credential(&narrow).await.unwrap();
    assert!(
        conflict(book.add_credential(&NewCredential { stream: "none".into(), ..new_credential() }).await)
            .contains("there is no stream none")
    );
    let office = "10.1.1.1".parse().unwrap();
    let look = |peer, user: &CredentialName, secret: &str| {
        let (registry, user, secret) = (&registry, user.clone(), Secret(secret.as_bytes().to_vec()));
        async move { registry.authenticate(peer, user.as_str(), &secret).await.unwrap().map(|principal| principal.stream.to_string()) }
    };
    let known = |stream: &str| Some(stream.to_owned());
    assert_eq!(look(HERE, &made.user, &made.secret).await, known("transactional"));
    assert_eq!(look(HERE, &made.user, "wrong").await, None);
    assert_eq!(look(HERE, &made.user, &narrow.secret).await, None);
    assert_eq!(look(HERE, &"pk-nobody".into(), &made.secret).await, None);
    assert_eq!(look(HERE, &narrow.user, &narrow.secret).await, None, "not from there");
    assert_eq!(look(office, &narrow.user, &narrow.secret).await, known("bulk"));
    assert!(registry.renew(narrow.user.as_str()).await.unwrap().is_some());
    world.passes(61);
    assert_eq!(look(office, &narrow.user, &narrow.secret).await, None, "its time is over");
    assert!(registry.renew(narrow.user.as_str()).await.unwrap().is_none());
    registry.refresh().await.unwrap();
    let listed = book.credentials(Some(&shop())).await.unwrap();
    assert_eq!(listed.iter().map(|key| key.last_used_from.as_deref()).collect::<Vec<_>>(), [Some("192.0.2.1"), Some("10.1.1.1")]);
    assert!(!format!("{listed:?}").contains(&made.secret));
    // What was changed holds after the next look.
    book.set_credential(&made.user, CredentialState::Braked, "ten times as much as ever").await.unwrap();
    registry.refresh().await.unwrap();
    let principal = registry.renew(made.user.as_str()).await.unwrap().unwrap();
    assert_eq!(principal.allowances.unwrap().braked.as_deref(), Some("ten times as much as ever"));
    book.set_credential(&made.user, CredentialState::Revoked, "").await.unwrap();
    registry.refresh().await.unwrap();
    assert_eq!(look(HERE, &made.user, &made.secret).await, None);
    assert!(conflict(book.set_credential(&made.user, CredentialState::Active, "").await).contains("it was revoked"));
    let other = book.add_credential(&new_credential()).await.unwrap();
    assert_eq!(look(HERE, &other.user, &other.secret).await, known("transactional"));
    book.set_tenant(&shop(), TenantState::Suspended, true).await.unwrap();
    registry.refresh().await.unwrap();
    assert_eq!(look(HERE, &other.user, &other.secret).await, None, "its tenant is suspended");
}

async fn allowances_and_counts_are_kept(world: World, database: Arc<dyn Database>) {
    let book = Arc::new(with_shop(&world, database).await);
    let made = book.add_credential(&new_credential()).await.unwrap();
    let of_tenant =
        Allowance { messages: Rates { per_day: Some(1_000), ..Rates::default() }, beyond: Beyond::Refuse, ..Allowance::default() };
    let of_key = Allowance {
        recipients: Rates { per_second: Some(1), per_hour: Some(2), per_day: Some(3) },
        recipients_per_message: Some(4),
        message_octets: Some(5),
        ..Allowance::default()
    };
    book.set_allowance(&shop(), None, &of_tenant).await.unwrap();
    book.set_allowance(&shop(), Some(&made.user), &of_key).await.unwrap();
    assert_eq!(book.allowances(&shop()).await.unwrap(), [(None, of_tenant.clone()), (Some(made.user.clone()), of_key.clone())]);
    let registry = SqlRegistry::new(book.clone(), world.clock.clone(), RegistryOptions::default()).await.unwrap();
    let allowances = registry.renew(made.user.as_str()).await.unwrap().unwrap().allowances.unwrap();
    assert_eq!((&allowances.tenant, &allowances.credential), (&of_tenant, &of_key));
    assert!(conflict(book.set_allowance(&shop(), Some(&"pk-x".into()), &of_key).await).contains("has no credential pk-x"));
    book.set_allowance(&shop(), None, &Allowance::default()).await.unwrap();
    assert_eq!(book.allowances(&shop()).await.unwrap().len(), 1);
    let before = book.version().await.unwrap();
    let meter = |holder: &str, counts: &str| (holder.to_owned(), counts.to_owned());
    book.keep_meters(&[meter("shop", "1"), meter("pk", "2")]).await.unwrap();
    book.keep_meters(&[meter("shop", "3"), meter("pk", "")]).await.unwrap();
    assert_eq!(book.meters().await.unwrap(), [meter("shop", "3")]);
    assert_eq!(book.version().await.unwrap(), before, "counting changes nothing that is held");
}

async fn memory_follows_changes(world: World, database: Arc<dyn Database>) {
    let book = Arc::new(with_shop(&world, database.clone()).await);
    let registry = SqlRegistry::new(book.clone(), world.clock.clone(), RegistryOptions::default()).await.unwrap();
    // A person at the command line: another program.
    let person = world.book(database).await;
    let (brand, news) = (domain("brand.example"), domain("x.news.brand.example"));
    assert_eq!(registry.own(&shop(), &news).await.unwrap(), Own::Nothing);
    assert_eq!((registry.bound(&shop()).await.unwrap(), registry.bound(&"bank".into()).await.unwrap()), (Some(true), None));
    person.add_domain(&shop(), &brand).await.unwrap();
    assert_eq!(registry.own(&shop(), &news).await.unwrap(), Own::Nothing, "as of the last look");
    assert!(registry.refresh().await.unwrap() && !registry.refresh().await.unwrap());
    assert_eq!(registry.own(&shop(), &news).await.unwrap(), Own::Unproven(brand.clone()));
    assert!(registry.signer(&shop(), &news).await.unwrap().is_none() && !registry.signs());
    let selectors_served = ["postrider-a-rsa".to_owned(), "postrider-a-ed25519".to_owned()].to_vec();
    let found = Found { owned: true, return_path_ready: Some(false), selectors_served };
    assert!(registry.found(&shop(), &brand, &found).await.unwrap());
    let Own::Proven(sending) = registry.own(&shop(), &news).await.unwrap() else { panic!("it was proven") };
    assert_eq!((sending.name.as_str(), &sending.return_path), ("brand.example", &None));
    let signer = registry.signer(&shop(), &news).await.unwrap().unwrap();
    assert_eq!((&*signer.domain, signer.keys.len(), registry.signs()), ("brand.example", 2, true));
    assert!(registry.signer(&"bank".into(), &news).await.unwrap().is_none(), "another tenant's keys sign nothing");
    // A closer domain that is not proven does not hide the proven one above it.
    person.add_domain(&shop(), &domain("news.brand.example")).await.unwrap();
    registry.refresh().await.unwrap();
    assert!(matches!(registry.own(&shop(), &news).await.unwrap(), Own::Proven(own) if own.name == brand));
    assert_eq!(registry.stream(&shop(), &"bulk".into()).await.unwrap().unwrap().class, StreamClass::Bulk);
    assert_eq!(registry.stream(&shop(), &"none".into()).await.unwrap(), None);
}

async fn pools_and_retentions_are_noticed(world: World, database: Arc<dyn Database>) {
    let book = Arc::new(with_shop(&world, database.clone()).await);
    let registry = SqlRegistry::new(book.clone(), world.clock.clone(), RegistryOptions::default()).await.unwrap();
    assert_eq!((registry.pools(), registry.retains()), (0, false), "nobody asks where no stream has a pool");
    let person = world.book(database).await;
    let [mut transactional, _] = StreamRecord::first_two();
    let mut seen = vec![0];
    for pool in [Some("vip"), Some("other"), None] {
        transactional.stream.pool = pool.map(Into::into);
        person.put_stream(&shop(), &transactional).await.unwrap();
        assert_eq!(Some(&registry.pools()), seen.last(), "as of the last look");
        registry.refresh().await.unwrap();
        let told = registry.pools();
        let stream = registry.stream(&shop(), &"transactional".into()).await.unwrap().unwrap();
        assert_eq!((stream.pool.as_deref(), told == 0), (pool, pool.is_none()));
        assert!(pool.is_none() || !seen.contains(&told), "each change is another number");
        seen.push(told);
    }
    // Another change is none of these.
    transactional.stream.pool = Some("vip".into());
    person.put_stream(&shop(), &transactional).await.unwrap();
    registry.refresh().await.unwrap();
    assert_eq!(registry.pools(), seen[1], "the same pools have the same number");
    transactional.stream.retention = Some(std::time::Duration::from_secs(60));
    person.put_stream(&shop(), &transactional).await.unwrap();
    registry.refresh().await.unwrap();
    assert_eq!((registry.pools(), registry.retains()), (seen[1], true));
    let pooled: Vec<String> =
        book.pooled().await.unwrap().iter().map(|(tenant, stream, pool)| format!("{tenant}/{stream} {pool}")).collect();
    assert_eq!(pooled, ["shop/transactional vip"]);
}
