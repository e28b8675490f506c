//! What a smart host lets through in a second, an hour, a day.
//!
//! **Promises.** In any hour and in any 24 hours at most as many recipients go as the limits say, and they go one after the other so that no second holds more
//! than its limit. What is counted survives a crash: [`Quota::take`] lets nothing go that was not *reserved* before, a reservation is to be on stable storage
//! before it is used, and after a start all that was reserved counts as gone. So a crash may cost a part of the limit, and never exceeds it.
//! A refusal says which limit and until when.
//!
//! **Never** reads a clock or a file: the caller gives `now`, and keeps [`Quota::text`].
//!
//! **Does badly.** A clock that is set back an hour keeps the counts of that hour longer. Spans are counted in sixty parts, so the end of a full one may come a
//! sixtieth later than it could.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use postrider_model::Timestamp;
use postrider_model::policy::QuotaLimits;

/// Parts in which a span is counted.
const PARTS: u64 = 60;

/// A span that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// A second.
    Second,
    /// An hour.
    Hour,
    /// 24 hours.
    Day,
}

impl Span {
    fn part_ms(self) -> u64 {
        match self {
            Span::Second => 1_000 / 10,
            Span::Hour => 3_600_000 / PARTS,
            Span::Day => 86_400_000 / PARTS,
        }
    }

    /// `second`, `hour` or `day`.
    pub fn word(self) -> &'static str {
        match self {
            Span::Second => "second",
            Span::Hour => "hour",
            Span::Day => "day",
        }
    }
}

/// Why nothing more may go, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// The span.
    pub span: Span,
    /// Its limit.
    pub max: u32,
    /// When there is room.
    pub until: Timestamp,
}

/// What a caller that was let through must do before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Nothing.
    Go,
    /// Keep [`Quota::text`] on stable storage first: more was reserved.
    Keep,
}

/// The counts of one smart host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quota {
    /// From when on the next may go, in microseconds, by the limit of a second.
    next_us: u64,
    hour: Counts,
    day: Counts,
}

/// The counts of one span, part by part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counts {
    /// Number of the part (time divided by its length), and how many went in it. The newest last.
    parts: VecDeque<(u64, u32)>,
    /// Of the newest part: reserved, and not used.
    reserved: u32,
}

impl Quota {
    /// Whether so many recipients may go now.
    pub fn check(&self, limits: &QuotaLimits, recipients: u32, now: Timestamp) -> Result<(), Full> {
        if let Some(max) = limits.per_second.filter(|_| self.next_us > now.millis() * 1_000) {
            return Err(Full { span: Span::Second, max, until: Timestamp::from_millis(self.next_us.div_ceil(1_000)) });
        }
        // The longer span is told first: its end is the later one.
        for (span, counts, max) in [(Span::Day, &self.day, limits.per_day), (Span::Hour, &self.hour, limits.per_hour)] {
            if let Some(max) = max
                && let Some(until) = counts.room_at(span, max, recipients.min(max), now)
            {
                return Err(Full { span, max, until });
            }
        }
        Ok(())
    }

    /// Counts so many recipients, if they may go.
    pub fn take(&mut self, limits: &QuotaLimits, recipients: u32, now: Timestamp) -> Result<Taken, Full> {
        self.check(limits, recipients, now)?;
        if let Some(max) = limits.per_second {
            let each_us = 1_000_000u64.div_ceil(u64::from(max.max(1)));
            self.next_us = self.next_us.max(now.millis() * 1_000) + each_us * u64::from(recipients);
        }
        let mut taken = Taken::Go;
        for (span, counts, max) in [(Span::Hour, &mut self.hour, limits.per_hour), (Span::Day, &mut self.day, limits.per_day)] {
            if let Some(max) = max
                && counts.take(span, max, recipients, now)
            {
                taken = Taken::Keep;
            }
        }
        Ok(taken)
    }

    /// Frees what was reserved and not used; only when nothing more is taken before the counts are kept.
    pub fn give_back(&mut self) {
        (self.hour.reserved, self.day.reserved) = (0, 0);
    }

    /// The counts, what is reserved counted as gone: `hour PART COUNT` and `day PART COUNT`, a line each, behind the smart host's name.
    pub fn text(&self, name: &str) -> String {
        let mut text = String::new();
        for (span, counts) in [(Span::Hour, &self.hour), (Span::Day, &self.day)] {
            for (nth, (part, count)) in counts.parts.iter().enumerate() {
                let reserved = if nth + 1 == counts.parts.len() { counts.reserved } else { 0 };
                let _ = writeln!(text, "{name} {} {part} {}", span.word(), count + reserved);
            }
        }
        text
    }
}

/// Reads what [`Quota::text`] wrote, for all smart hosts.
///
/// # Errors
/// The line that cannot be read.
pub fn parse(text: &str) -> Result<BTreeMap<String, Quota>, String> {
    let mut quotas: BTreeMap<String, Quota> = BTreeMap::new();
    for line in text.lines() {
        let wrong = || format!("{line:?} is not a count of a smart host");
        let mut words = line.split(' ');
        let mut word = || words.next().ok_or_else(wrong);
        let (name, span) = (word()?, word()?);
        let (part, count) = (word()?.parse().map_err(|_| wrong())?, word()?.parse().map_err(|_| wrong())?);
        let quota = quotas.entry(name.to_owned()).or_default();
        let counts = match span {
            "hour" => &mut quota.hour,
            "day" => &mut quota.day,
            _ => return Err(wrong()),
        };
        if counts.parts.back().is_some_and(|(newest, _)| *newest >= part) {
            return Err(wrong());
        }
        counts.parts.push_back((part, count));
    }
    Ok(quotas)
}

impl Counts {
    /// When there is room for so many; `None` when there is now.
    fn room_at(&self, span: Span, max: u32, recipients: u32, now: Timestamp) -> Option<Timestamp> {
        let present = now.millis() / span.part_ms();
        let counting: Vec<_> = self.parts.iter().filter(|(part, _)| part + PARTS >= present).collect();
        let mut gone: u64 = counting.iter().map(|(_, count)| u64::from(*count)).sum();
        let room = |gone: u64| gone + u64::from(recipients) <= u64::from(max);
        if room(gone) {
            return None;
        }
        let mut until = present;
        for (part, count) in counting {
            gone -= u64::from(*count);
            // A part counts until the whole of it is a span ago.
            until = part + PARTS + 1;
            if room(gone) {
                break;
            }
        }
        Some(Timestamp::from_millis(until * span.part_ms()))
    }

    /// Counts; says whether more was reserved. What an older part had reserved and not used is free again.
    fn take(&mut self, span: Span, max: u32, recipients: u32, now: Timestamp) -> bool {
        let present = now.millis() / span.part_ms();
        while self.parts.front().is_some_and(|(part, _)| part + PARTS < present) {
            self.parts.pop_front();
        }
        // A clock that was set back goes on counting in the newest part.
        if self.parts.back().is_none_or(|(part, _)| *part < present) {
            self.parts.push_back((present, 0));
            self.reserved = 0;
        }
        let gone: u64 = self.parts.iter().map(|(_, count)| u64::from(*count)).sum();
        if let Some((_, count)) = self.parts.back_mut() {
            *count += recipients;
        }
        if self.reserved >= recipients {
            self.reserved -= recipients;
            return false;
        }
        // A hundredth of the limit at a time: few writes, and little lost by a crash.
        let left = u64::from(max).saturating_sub(gone + u64::from(recipients));
        self.reserved = u32::try_from(left).unwrap_or(u32::MAX).min(max / 100);
        true
    }
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
