//! The questions of a pure judge (`core::publish`), asked of the DNS until it has no more.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::publish::asking::{Answer, Asking, Book, Question};
use postrider_model::doors::{DnsTrouble, Resolver};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Questions under way at once: a survey leaves the resolver's places to the mail.
const UNDER_WAY_MAX: usize = 16;

/// Rounds of questions; a record that leads further leads nowhere.
const ROUNDS_MAX: usize = 24;

/// Runs a judge until it knows all it asks for, or until the time is over; what was not answered by then is unknown to it.
pub async fn survey<T>(resolver: &Arc<dyn Resolver>, limit: Duration, judge: impl Fn(&mut Asking<'_>) -> T) -> T {
    let end = Instant::now() + limit;
    let mut book = Book::default();
    for _ in 0..ROUNDS_MAX {
        let mut asking = Asking::new(&book);
        let said = judge(&mut asking);
        let room = book.room();
        let wanting: Vec<Question> = asking.wanting().into_iter().take(room).collect();
        if wanting.is_empty() {
            return said;
        }
        if tokio::time::timeout_at(end, ask_all(resolver, wanting, &mut book)).await.is_err() {
            break;
        }
    }
    judge(&mut Asking::new(&book))
}

async fn ask_all(resolver: &Arc<dyn Resolver>, wanting: Vec<Question>, book: &mut Book) {
    let mut waiting = wanting.into_iter();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < UNDER_WAY_MAX
            && let Some(question) = waiting.next()
        {
            let resolver = resolver.clone();
            under_way.spawn(async move {
                let answer = ask(&*resolver, &question).await;
                (question, answer)
            });
        }
        match under_way.join_next().await {
            Some(Ok((question, answer))) => book.put(question, answer),
            // A look-up that panicked is a question without an answer.
            Some(Err(_)) => {}
            None => return,
        }
    }
}

async fn ask(resolver: &dyn Resolver, question: &Question) -> Result<Answer, DnsTrouble> {
    Ok(match question {
        Question::Text(name) => Answer::Text(resolver.text(name).await?.records),
        Question::Mx(name) => Answer::Mx(resolver.mx(name).await?.records),
        Question::Addresses(name) => Answer::Addresses(resolver.addresses(name).await?.addresses),
        Question::Pointers(address) => Answer::Pointers(resolver.pointers(*address).await?.names),
        Question::Alias(name) => Answer::Alias(resolver.alias(name).await?.target),
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use postrider_core::publish::asking::Served;
    use postrider_model::BoxFuture;
    use postrider_model::doors::{AddressAnswer, AliasAnswer, MxAnswer, PointerAnswer, TextAnswer};
    use postrider_smtp::Domain;

    use super::*;

    /// Each name has the next one as its text, a second later.
    #[derive(Default)]
    struct Chain(AtomicUsize);

    impl Resolver for Chain {
        fn mx(&self, _: &Domain) -> BoxFuture<'_, Result<MxAnswer, DnsTrouble>> {
            Box::pin(std::future::pending())
        }

        fn addresses(&self, _: &Domain) -> BoxFuture<'_, Result<AddressAnswer, DnsTrouble>> {
            panic!("a look-up that ends badly")
        }

        fn family(&self, _: &Domain, _: bool) -> BoxFuture<'_, Result<AddressAnswer, DnsTrouble>> {
            Box::pin(std::future::pending())
        }

        fn text(&self, name: &Domain) -> BoxFuture<'_, Result<TextAnswer, DnsTrouble>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let next = format!("x.{name}");
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(TextAnswer { records: vec![next.into_bytes().into()], ttl: Duration::ZERO })
            })
        }

        fn pointers(&self, _: IpAddr) -> BoxFuture<'_, Result<PointerAnswer, DnsTrouble>> {
            Box::pin(std::future::ready(Err(DnsTrouble::NoName { ttl: Duration::ZERO })))
        }

        fn alias(&self, _: &Domain) -> BoxFuture<'_, Result<AliasAnswer, DnsTrouble>> {
            Box::pin(std::future::ready(Err(DnsTrouble::Failed("SERVFAIL".into()))))
        }
    }

    /// How many steps of the chain a judge got to see.
    fn follow(asking: &mut Asking<'_>, steps: usize) -> usize {
        let mut name = Domain::parse("example").unwrap();
        for step in 0..steps {
            let Served::Here(texts) = asking.text(&name) else { return step };
            name = Domain::parse(std::str::from_utf8(&texts[0]).unwrap()).unwrap();
        }
        steps
    }

    #[tokio::test(start_paused = true)]
    async fn rounds_and_time_are_bounded_and_each_question_is_asked_once() {
        let chain = Arc::new(Chain::default());
        let resolver: Arc<dyn Resolver> = chain.clone();
        let seconds = Duration::from_secs;
        assert_eq!(survey(&resolver, seconds(60), |asking| follow(asking, 5)).await, 5);
        assert_eq!(chain.0.load(Ordering::Relaxed), 5);
        assert_eq!(survey(&resolver, seconds(60), |asking| follow(asking, 100)).await, ROUNDS_MAX);
        let began = Instant::now();
        assert_eq!(survey(&resolver, Duration::from_millis(2_500), |asking| follow(asking, 100)).await, 2);
        assert_eq!(began.elapsed(), Duration::from_millis(2_500));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_answered_is_unknown_and_hides_no_other_answer() {
        let resolver: Arc<dyn Resolver> = Arc::new(Chain::default());
        let name = Domain::parse("example").unwrap();
        let address = IpAddr::from([192, 0, 2, 1]);
        let why = |unknown: Option<Box<str>>| unknown.map(String::from).unwrap_or_default();
        let (texts, absent, silent, broken, failed) = survey(&resolver, Duration::from_secs(5), |asking| {
            let texts = matches!(asking.text(&name), Served::Here(_));
            let absent = asking.pointers(address) == Served::Absent;
            let silent = matches!(asking.mx(&name), Served::Unknown(_));
            let broken = matches!(asking.addresses(&name), Served::Unknown(_));
            let failed = if let Served::Unknown(why) = asking.alias(&name) { Some(why) } else { None };
            (texts, absent, silent, broken, why(failed))
        })
        .await;
        assert!(texts && absent && silent && broken);
        assert_eq!(failed, "SERVFAIL");
    }
}
