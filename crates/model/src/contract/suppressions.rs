//! The laws of the book of suppressions.

use std::sync::Arc;

use postrider_smtp::Mailbox;

use super::tools::at;
use crate::doors::{SuppressedMailbox, Suppression, SuppressionCause, SuppressionFilter, Suppressions};
use crate::{BoxFuture, MessageId};

/// Where books are opened for one law.
pub trait SuppressionShelf: Send + Sync {
    /// Opens the book: empty at first; afterwards with all that the last one had made durable. The last one is closed before.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Suppressions>>;
}

/// One law: what it says, and the test of it.
pub type SuppressionLaw = (&'static str, fn(Arc<dyn SuppressionShelf>) -> BoxFuture<'static, ()>);

/// All laws.
pub const SUPPRESSION_LAWS: &[SuppressionLaw] = &[
    ("what is suppressed is known at once and after a restart", |shelf| Box::pin(survives(shelf))),
    ("a word counts for its tenant's stream alone, in any spelling of the address", |shelf| Box::pin(is_narrow(shelf))),
    ("the first word stays, and a second is no trouble", |shelf| Box::pin(first_stays(shelf))),
    ("what is lifted is gone, after a restart too", |shelf| Box::pin(lifts(shelf))),
    ("what was not told is known as such until it is, after a restart too", |shelf| Box::pin(tells(shelf))),
    ("lists are in order, by pages, and whole", |shelf| Box::pin(lists(shelf))),
];

fn mailbox(text: &str) -> SuppressedMailbox {
    SuppressedMailbox::of(&Mailbox::parse(text).expect("a mailbox"))
}

fn one(tenant: &str, stream: &str, to: &str) -> Suppression {
    Suppression {
        tenant: tenant.into(),
        stream: stream.into(),
        mailbox: mailbox(to),
        since: at(5_000),
        cause: SuppressionCause::OneClick,
        message: Some(MessageId::new(at(4_000), [7; 10])),
        reason: "a \"reason\"\nof two lines, ü".into(),
    }
}

async fn known(book: &dyn Suppressions, tenant: &str, stream: &str, to: &str) -> Option<Suppression> {
    let found = book.suppressed(&tenant.into(), &stream.into(), &mailbox(to)).await.expect("an answer");
    found.map(|found| (*found).clone())
}

async fn survives(shelf: Arc<dyn SuppressionShelf>) {
    let book = shelf.open().await;
    let wanted = one("shop", "news", "b@there.example");
    assert_eq!(book.suppress(wanted.clone()).await, Ok(true));
    assert_eq!(known(&*book, "shop", "news", "b@there.example").await, Some(wanted.clone()));
    drop(book);
    let book = shelf.open().await;
    assert_eq!(known(&*book, "shop", "news", "b@there.example").await, Some(wanted));
}

async fn is_narrow(shelf: Arc<dyn SuppressionShelf>) {
    let book = shelf.open().await;
    book.suppress(one("shop", "news", "Bob@Bücher.example")).await.expect("room");
    for (tenant, stream, to, is_known) in [
        ("shop", "news", "bob@xn--bcher-kva.example", true),
        ("shop", "news", "BOB@BÜCHER.example", true),
        ("shop", "receipts", "bob@bücher.example", false),
        ("bank", "news", "bob@bücher.example", false),
        ("shop", "news", "bo@bücher.example", false),
    ] {
        assert_eq!(known(&*book, tenant, stream, to).await.is_some(), is_known, "{tenant} {stream} {to}");
    }
}

async fn first_stays(shelf: Arc<dyn SuppressionShelf>) {
    let book = shelf.open().await;
    let first = one("shop", "news", "b@there.example");
    assert_eq!(book.suppress(first.clone()).await, Ok(true));
    let second = Suppression { since: at(9_000), cause: SuppressionCause::Operator, ..first.clone() };
    assert_eq!(book.suppress(second).await, Ok(false));
    assert_eq!(known(&*book, "shop", "news", "b@there.example").await, Some(first));
}

async fn lifts(shelf: Arc<dyn SuppressionShelf>) {
    let book = shelf.open().await;
    let (gone, stays) = (one("shop", "news", "b@there.example"), one("shop", "news", "c@there.example"));
    book.suppress(gone.clone()).await.expect("room");
    book.suppress(stays.clone()).await.expect("room");
    assert_eq!((book.lift(&gone.key()).await, book.lift(&gone.key()).await), (Ok(true), Ok(false)));
    assert_eq!(known(&*book, "shop", "news", "b@there.example").await, None);
    drop(book);
    let book = shelf.open().await;
    assert_eq!(known(&*book, "shop", "news", "b@there.example").await, None);
    assert_eq!(known(&*book, "shop", "news", "c@there.example").await, Some(stays));
    assert_eq!(book.suppress(gone).await, Ok(true), "and can be said again");
}

async fn tells(shelf: Arc<dyn SuppressionShelf>) {
    let book = shelf.open().await;
    let all = ["a", "b", "c"].map(|name| one("shop", "news", &format!("{name}@there.example")));
    for suppression in &all {
        book.suppress(suppression.clone()).await.expect("room");
    }
    let keys = all.each_ref().map(Suppression::key);
    assert_eq!(book.suppress(all[0].clone()).await, Ok(false));
    book.told(&keys[1]).await.expect("it is there");
    assert_eq!(book.lift(&keys[2]).await, Ok(true));
    book.told(&keys[2]).await.expect("what is gone needs no telling");
    for book in [book, shelf.open().await] {
        let untold = |which, max| {
            let book = book.clone();
            async move { book.untold(which, max).await.expect("an answer").iter().map(|one| (**one).clone()).collect::<Vec<_>>() }
        };
        assert_eq!(untold(None, 9).await, [all[0].clone()]);
        assert_eq!(untold(Some(&keys[0]), 1).await, [all[0].clone()]);
        assert_eq!((untold(Some(&keys[1]), 1).await, untold(Some(&keys[2]), 1).await), (vec![], vec![]));
    }
    let book = shelf.open().await;
    book.suppress(all[2].clone()).await.expect("room");
    let (first, both) = (book.untold(None, 1).await.expect("an answer"), book.untold(None, 9).await.expect("an answer"));
    assert_eq!((first.len(), both.len(), &*both[0], &*both[1]), (1, 2, &all[0], &all[2]), "the oldest first, and what was said again");
}

async fn lists(shelf: Arc<dyn SuppressionShelf>) {
    let book = shelf.open().await;
    let mut all = Vec::new();
    for tenant in ["bank", "shop"] {
        for stream in ["a", "b"] {
            for to in 0..5 {
                all.push(one(tenant, stream, &format!("m{to}@there.example")));
            }
        }
    }
    for suppression in all.iter().rev() {
        book.suppress(suppression.clone()).await.expect("room");
    }
    for (tenant, stream, page) in [(None, None, 3), (Some("shop"), None, 4), (Some("bank"), Some("b"), 1), (None, Some("a"), 100)] {
        let filter = SuppressionFilter { tenant: tenant.map(Into::into), stream: stream.map(Into::into) };
        let wanted: Vec<Suppression> = all.iter().filter(|one| filter.matches(one)).cloned().collect();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let listed = book.list(&filter, after.as_ref(), page).await.expect("a page");
            assert!(listed.len() <= page);
            let Some(last) = listed.last() else { break };
            after = Some(last.key());
            found.extend(listed.iter().map(|one| (**one).clone()));
        }
        assert_eq!(found, wanted, "{tenant:?} {stream:?}");
    }
}
