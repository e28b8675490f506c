//! How much a tenant or a credential may send, and when there is room for more.
//!
//! **Promises.** In any hour and any 24 hours at most as many messages and recipients go as the allowance says, and in a second no more than its own limit; what has to wait is
//! given the first instant at which all limits have room, what waits already counted in. Work and memory are bounded by the parts in which a span is counted, and by what waits.
//!
//! **Never** reads a clock, and keeps nothing: the caller gives `now`, and keeps [`Meter::text`].
//!
//! **Does badly.** Spans are counted in sixty parts, so the end of a full one may come a sixtieth later than it could. A message with more recipients than a limit
//! takes the whole of it.

use std::collections::VecDeque;
use std::fmt::Write;

use postrider_model::Timestamp;
use postrider_model::policy::{Allowance, Rates};

/// Parts in which a span is counted.
const PARTS: u64 = 60;

/// Rounds in which the limits agree on an instant. Each moves it to the end of a limit's span at least; six limits agree sooner.
const ROUNDS_MAX: u32 = 64;

/// A limit that has no room now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// How many.
    pub max: u32,
    /// Of what: `messages` or `recipients`.
    pub what: &'static str,
    /// In which time: `second`, `hour` or `day`.
    pub span: &'static str,
    /// When there is room under all limits.
    pub until: Timestamp,
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let article = if self.span == "hour" { "an" } else { "a" };
        write!(f, "the limit of {} {} {article} {} is reached", self.max, self.what, self.span)
    }
}

/// What one holder has sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meter {
    messages: Counted,
    recipients: Counted,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counted {
    /// From when on the next may go by the limit of a second, in microseconds.
    next_us: u64,
    hour: Window,
    day: Window,
}

/// Counts of one span, part by part: number of the part (time divided by its length), and how many. The newest last; it may lie in the future.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Window(VecDeque<(u64, u32)>);

const HOUR_PART_MS: u64 = 3_600_000 / PARTS;
const DAY_PART_MS: u64 = 86_400_000 / PARTS;

impl Meter {
    /// Whether a message to so many has room now; else which limit it meets first, and when it has.
    pub fn room(&self, allowance: &Allowance, recipients: u32, now: Timestamp) -> Result<(), Reached> {
        let counted =
            [("messages", &self.messages, &allowance.messages, 1), ("recipients", &self.recipients, &allowance.recipients, recipients)];
        let mut at = now;
        let mut met: Option<Reached> = None;
        for _ in 0..ROUNDS_MAX {
            let before = at;
            for (what, counted, rates, count) in counted {
                for (span, max, from) in counted.rooms(rates, count, at) {
                    if from > at {
                        at = from;
                        met.get_or_insert(Reached { max, what, span, until: at });
                    }
                }
            }
            if at == before {
                break;
            }
        }
        met.map_or(Ok(()), |reached| Err(Reached { until: at, ..reached }))
    }

    /// Counts a message to so many that goes at this instant, now or later.
    pub fn take(&mut self, allowance: &Allowance, recipients: u32, now: Timestamp, at: Timestamp) {
        self.messages.take(&allowance.messages, 1, now, at);
        self.recipients.take(&allowance.recipients, recipients, now, at);
    }

    /// What is worth keeping; empty, when nothing is.
    pub fn text(&self, now: Timestamp) -> String {
        let mut text = String::new();
        let windows = [
            ("mh", &self.messages.hour, HOUR_PART_MS),
            ("md", &self.messages.day, DAY_PART_MS),
            ("rh", &self.recipients.hour, HOUR_PART_MS),
            ("rd", &self.recipients.day, DAY_PART_MS),
        ];
        for (name, window, part_ms) in windows {
            let oldest = (now.millis() / part_ms).saturating_sub(PARTS);
            for (part, count) in window.0.iter().filter(|(part, _)| *part > oldest) {
                let _ = write!(text, "{name} {part} {count};");
            }
        }
        text
    }

    /// Reads what [`Meter::text`] wrote. What is not understood is left out: a count that is lost lets a little more through, and refuses nobody.
    pub fn parse(text: &str) -> Self {
        let mut meter = Self::default();
        for entry in text.split(';') {
            let mut words = entry.split(' ');
            let (Some(name), Some(Ok(part)), Some(Ok(count))) = (words.next(), words.next().map(str::parse), words.next().map(str::parse))
            else {
                continue;
            };
            match name {
                "mh" => meter.messages.hour.put(part, count),
                "md" => meter.messages.day.put(part, count),
                "rh" => meter.recipients.hour.put(part, count),
                "rd" => meter.recipients.day.put(part, count),
                _ => {}
            }
        }
        meter
    }
}

impl Counted {
    /// For each limit that there is: its span, its number, and from when on so many have room under it, not before `at`.
    fn rooms(&self, rates: &Rates, count: u32, at: Timestamp) -> impl Iterator<Item = (&'static str, u32, Timestamp)> {
        let second = rates.per_second.map(|max| ("second", max, Timestamp::from_millis(self.next_us.div_ceil(1_000)).max(at)));
        let hour = rates.per_hour.map(|max| ("hour", max, self.hour.from(count, max, at, HOUR_PART_MS)));
        let day = rates.per_day.map(|max| ("day", max, self.day.from(count, max, at, DAY_PART_MS)));
        [day, hour, second].into_iter().flatten()
    }

    fn take(&mut self, rates: &Rates, count: u32, now: Timestamp, at: Timestamp) {
        if let Some(max) = rates.per_second {
            let each_us = 1_000_000u64.div_ceil(u64::from(max.max(1)));
            self.next_us = self.next_us.max(at.millis() * 1_000) + each_us * u64::from(count);
        }
        if rates.per_hour.is_some() {
            self.hour.add(count, now, at, HOUR_PART_MS);
        }
        if rates.per_day.is_some() {
            self.day.add(count, now, at, DAY_PART_MS);
        }
    }
}

impl Window {
    /// From when on so many have room. What waits for a later part counts already.
    fn from(&self, count: u32, max: u32, at: Timestamp, part_ms: u64) -> Timestamp {
        let (count, max) = (u64::from(count.min(max)), u64::from(max));
        let now = at.millis() / part_ms;
        let mut part = now;
        loop {
            let inside = || self.0.iter().filter(|(counted, _)| counted + PARTS > part);
            if inside().map(|(_, count)| u64::from(*count)).sum::<u64>() + count <= max {
                break;
            }
            // The oldest that still counts leaves first. With none there is room, but under a limit of nothing.
            let Some((oldest, _)) = inside().next() else { break };
            part = oldest + PARTS;
        }
        if part == now { at } else { Timestamp::from_millis(part * part_ms) }
    }

    fn add(&mut self, count: u32, now: Timestamp, at: Timestamp, part_ms: u64) {
        let oldest = now.millis() / part_ms;
        self.0.retain(|(counted, _)| counted + PARTS > oldest);
        self.put(at.millis() / part_ms, count);
    }

    fn put(&mut self, part: u64, count: u32) {
        let at = self.0.partition_point(|(counted, _)| *counted < part);
        match self.0.get_mut(at) {
            Some((same, counted)) if *same == part => *counted = counted.saturating_add(count),
            _ => self.0.insert(at, (part, count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_700_000_000_000 / 86_400_000 * 86_400_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(START_MS + seconds * 1_000)
    }

    fn messages(per_second: Option<u32>, per_hour: Option<u32>, per_day: Option<u32>) -> Allowance {
        Allowance { messages: Rates { per_second, per_hour, per_day }, ..Allowance::default() }
    }

    /// Sends as many as there is room for, each when it has it; gives the seconds at which they went.
    fn queue(allowance: &Allowance, count: usize, recipients: u32) -> Vec<u64> {
        let mut meter = Meter::default();
        (0..count)
            .map(|_| {
                let when = meter.room(allowance, recipients, at(0)).map_or_else(|reached| reached.until, |()| at(0));
                meter.take(allowance, recipients, at(0), when);
                (when.millis() - START_MS) / 1_000
            })
            .collect()
    }

    #[test]
    fn what_has_no_room_gets_the_first_instant_that_has() {
        for (allowance, recipients, went) in [
            (messages(None, None, None), 1, [0, 0, 0, 0, 0]),
            (messages(Some(1), None, None), 1, [0, 1, 2, 3, 4]),
            (messages(None, Some(2), None), 1, [0, 0, 3_600, 3_600, 7_200]),
            (messages(None, None, Some(3)), 1, [0, 0, 0, 86_400, 86_400]),
            (messages(None, Some(2), Some(3)), 1, [0, 0, 3_600, 86_400, 86_400]),
            (
                Allowance { recipients: Rates { per_hour: Some(10), ..Rates::default() }, ..Allowance::default() },
                4,
                [0, 0, 3_600, 3_600, 7_200],
            ),
            // More recipients than the limit: it takes all of it.
            (
                Allowance { recipients: Rates { per_hour: Some(10), ..Rates::default() }, ..Allowance::default() },
                50,
                [0, 3_600, 7_200, 10_800, 14_400],
            ),
        ] {
            assert_eq!(queue(&allowance, 5, recipients), went, "{allowance:?}");
        }
    }

    #[test]
    fn the_limit_that_was_met_is_told() {
        let allowance = messages(Some(5), Some(2), None);
        let mut meter = Meter::default();
        meter.take(&allowance, 1, at(0), at(0));
        let reached = meter.room(&allowance, 1, at(0)).unwrap_err();
        assert_eq!(
            (reached.to_string().as_str(), reached.until),
            ("the limit of 5 messages a second is reached", at(0).after(std::time::Duration::from_millis(200)))
        );
        meter.take(&allowance, 1, at(1), at(1));
        let reached = meter.room(&allowance, 1, at(10)).unwrap_err();
        assert_eq!((reached.to_string().as_str(), reached.until), ("the limit of 2 messages an hour is reached", at(3_600)));
        assert_eq!(meter.room(&allowance, 1, at(3_600)), Ok(()));
    }

    #[test]
    fn any_hour_holds_at_most_the_limit() {
        let allowance = messages(None, Some(100), None);
        let (mut meter, mut went, mut state) = (Meter::default(), Vec::new(), 88_172_645_463_325_252_u64);
        let mut second = 0;
        for _ in 0..3_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            second += state % 40;
            if meter.room(&allowance, 1, at(second)).is_ok() {
                meter.take(&allowance, 1, at(second), at(second));
                went.push(second);
            }
        }
        for window in went.windows(101) {
            assert!(window[100] - window[0] > 3_600 - 60, "{} went within {} s", 101, window[100] - window[0]);
        }
        assert!(went.len() > 1_000, "the control: much went");
    }

    #[test]
    fn counts_are_kept_and_read() {
        let allowance = Allowance { recipients: Rates { per_day: Some(10), ..Rates::default() }, ..messages(None, Some(2), Some(5)) };
        let mut meter = Meter::default();
        assert_eq!(meter.text(at(0)), "");
        meter.take(&allowance, 3, at(0), at(0));
        meter.take(&allowance, 4, at(100), at(100));
        let read = Meter::parse(&meter.text(at(100)));
        assert_eq!(read, meter);
        assert_eq!(read.room(&allowance, 1, at(100)).unwrap_err().until, at(3_600));
        assert_eq!(meter.text(at(2 * 86_400)), "", "what is over is not worth keeping");
        for broken in ["", "x", "mh", "mh 1", "mh a b;md 5", "mh 99999999999999999999 1", ";;;"] {
            assert_eq!(Meter::parse(broken).room(&allowance, 1, at(0)), Ok(()), "{broken:?}");
        }
    }
}
