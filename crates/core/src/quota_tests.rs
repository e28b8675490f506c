use super::*;
use proptest::prelude::*;

const START: u64 = 1_795_466_220_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1_000)
}

fn limits(per_second: u32, per_hour: u32, per_day: u32) -> QuotaLimits {
    let some = |max: u32| (max > 0).then_some(max);
    QuotaLimits { per_second: some(per_second), per_hour: some(per_hour), per_day: some(per_day) }
}

/// How many go one by one at `now` until it is full, and when there is room again.
fn fill(quota: &mut Quota, limits: &QuotaLimits, now: Timestamp) -> (u32, Full) {
    let mut gone = 0;
    loop {
        match quota.take(limits, 1, now) {
            Ok(_) => gone += 1,
            Err(full) => return (gone, full),
        }
    }
}

#[test]
fn an_hour_and_a_day_are_full_and_say_until_when() {
    let mut quota = Quota::default();
    let both = limits(0, 10, 25);
    let (gone, full) = fill(&mut quota, &both, at(0));
    assert_eq!((gone, full.span, full.max), (10, Span::Hour, 10));
    assert!((3_600..=3_660).contains(&(full.until.since(at(0)).as_secs())), "{full:?}");
    assert!(quota.check(&both, 1, Timestamp::from_millis(full.until.millis() - 1)).is_err());
    assert!(quota.check(&both, 1, full.until).is_ok());
    assert_eq!(fill(&mut quota, &both, at(4_000)).0, 10);
    let (gone, full) = fill(&mut quota, &both, at(8_000));
    assert_eq!((gone, full.span, full.max), (5, Span::Day, 25));
    assert!((86_400..=86_400 + 1_440).contains(&full.until.since(at(0)).as_secs()), "{full:?}");
}

#[test]
fn a_second_is_spread() {
    let mut quota = Quota::default();
    let slow = limits(4, 0, 0);
    assert_eq!(quota.take(&slow, 1, at(0)), Ok(Taken::Go));
    let full = quota.take(&slow, 1, at(0)).unwrap_err();
    assert_eq!((full.span, full.until.since(at(0)).as_millis()), (Span::Second, 250));
    assert_eq!(quota.take(&slow, 4, full.until), Ok(Taken::Go));
    assert_eq!(quota.check(&slow, 1, full.until).unwrap_err().until.since(full.until).as_millis(), 1_000);
}

#[test]
fn many_recipients_wait_for_room_for_all_of_them() {
    let mut quota = Quota::default();
    let hour = limits(0, 10, 0);
    assert!(quota.take(&hour, 6, at(0)).is_ok());
    assert!(quota.take(&hour, 3, at(600)).is_ok());
    let full = quota.check(&hour, 4, at(700)).unwrap_err();
    assert!((3_600..=3_660).contains(&full.until.since(at(0)).as_secs()), "{full:?}");
    assert!(quota.check(&hour, 1, at(700)).is_ok());
    // More than the whole limit waits for an empty hour, and goes then.
    assert!(quota.check(&hour, 50, at(700)).is_err());
    assert!(quota.check(&hour, 50, at(600 + 3_700)).is_ok());
}

#[test]
fn what_was_reserved_counts_after_a_crash() {
    let day = limits(0, 0, 1_000);
    let mut quota = Quota::default();
    let mut kept = String::new();
    let mut keeps = 0;
    for _ in 0..95 {
        if quota.take(&day, 1, at(0)).unwrap() == Taken::Keep {
            kept = quota.text("ses");
            keeps += 1;
        }
    }
    assert_eq!(keeps, 9, "ten at a time are reserved, and the one that asks");
    let mut after = parse(&kept).unwrap().remove("ses").unwrap();
    let (gone, _) = fill(&mut after, &day, at(5));
    assert!((895..=905).contains(&gone), "{gone}");
    assert!(gone + 95 <= 1_000);
}

#[test]
fn what_is_kept_is_read_back_and_nothing_else() {
    let mut quota = Quota::default();
    let both = limits(0, 300, 500);
    for hour in 0..5 {
        quota.take(&both, 7, at(hour * 1_800)).unwrap();
    }
    let text = format!("{}{}", quota.text("a"), Quota::default().text("b"));
    let read = parse(&text).unwrap();
    assert_eq!(read["a"].text("a"), text);
    for wrong in ["a", "a hour 1", "a week 1 2", "a hour x 2", "a hour 1 -2", "a day 5 1\na day 5 1", "a day 5 1\na day 4 1", "\u{0}"] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn no_hour_holds_more_than_its_limit_whatever_crashes(
        steps in proptest::collection::vec((0u64..900, 1u32..4, any::<bool>()), 1..120),
        max in 1u32..400,
    ) {
        let hour = limits(0, max, 0);
        let (mut quota, mut kept, mut now) = (Quota::default(), String::new(), 0);
        let mut gone: Vec<(u64, u32)> = Vec::new();
        for (pause, recipients, crash) in steps {
            now += pause;
            if crash {
                quota = parse(&kept).unwrap().remove("h").unwrap_or_default();
            }
            let recipients = recipients.min(max);
            match quota.take(&hour, recipients, at(now)) {
                Ok(taken) => {
                    if taken == Taken::Keep {
                        kept = quota.text("h");
                    }
                    gone.push((now, recipients));
                }
                Err(full) => prop_assert!(full.until > at(now)),
            }
            let in_the_hour: u32 = gone.iter().filter(|(when, _)| when + 3_600 > now).map(|(_, count)| count).sum();
            prop_assert!(in_the_hour <= max, "{in_the_hour} of {max}");
        }
    }
}
