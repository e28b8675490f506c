//! Whether a credential is used as it always was. One that was stolen shows first by how much it sends, and to whom.
//!
//! **Promises.** A credential is braked when an hour holds far more recipients than any hour of the week before, or far more refusals than is usual for it; a small number
//! of either never brakes. Counting is by the hour, in bounded memory, and survives a restart as text.
//!
//! **Does badly.** A credential whose first use is less than a day ago has no history to jump beyond: its volume brakes nothing.

use std::collections::VecDeque;
use std::fmt::Write;

use postrider_model::Timestamp;

/// Hours that are remembered.
const HOURS_MAX: u64 = 7 * 24;
/// The age of a history that is worth the name, in hours.
const HISTORY_HOURS: u64 = 24;
/// Recipients in an hour below which volume never brakes.
const RECIPIENTS_FEW: u32 = 1_000;
/// How many times the busiest hour before is far more.
const VOLUME_TIMES: u32 = 10;
/// Outcomes in an hour below which refusals never brake.
const OUTCOMES_FEW: u32 = 100;
/// Refusals in hundred outcomes that are many. Providers act on less.
const REFUSED_PERCENT_MANY: u32 = 20;
/// How many times the usual rate is far more.
const REFUSED_TIMES: u32 = 4;

const HOUR_MS: u64 = 3_600_000;

/// What happened in an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Hour {
    /// Time divided by the length of an hour.
    number: u64,
    recipients: u32,
    delivered: u32,
    refused: u32,
}

/// What one credential has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    hours: VecDeque<Hour>,
    /// The hour in which its jump was told: whoever releases it then has looked at that hour.
    told: Option<u64>,
}

impl History {
    /// Mail to so many was accepted.
    pub fn accepted(&mut self, recipients: u32, now: Timestamp) {
        let hour = self.hour(now);
        hour.recipients = hour.recipients.saturating_add(recipients);
    }

    /// A delivery ended.
    pub fn ended(&mut self, refused: bool, now: Timestamp) {
        let hour = self.hour(now);
        let count = if refused { &mut hour.refused } else { &mut hour.delivered };
        *count = count.saturating_add(1);
    }

    /// Its jump was told, and is not told again in this hour. The next one counts this hour as usual.
    pub fn tell(&mut self, now: Timestamp) {
        self.told = Some(now.millis() / HOUR_MS);
    }

    /// Why it should go slowly; `None`: it is used as ever, or a person was told in this hour already.
    pub fn jump(&self, now: Timestamp) -> Option<String> {
        if self.told == Some(now.millis() / HOUR_MS) {
            return None;
        }
        let current = self.hours.back().filter(|hour| hour.number == now.millis() / HOUR_MS)?;
        let before = || self.hours.iter().filter(|hour| hour.number < current.number);
        let age = before().next().map_or(0, |first| current.number - first.number);
        let busiest = before().map(|hour| hour.recipients).max().unwrap_or(0);
        if age >= HISTORY_HOURS && current.recipients > RECIPIENTS_FEW && current.recipients / VOLUME_TIMES > busiest {
            return Some(format!("{} recipients in this hour; the busiest of the week before had {busiest}", current.recipients));
        }
        let percent = |refused: u32, delivered: u32| refused.saturating_mul(100) / refused.saturating_add(delivered).max(1);
        let (refused, delivered) = before().fold((0u32, 0u32), |(refused, delivered), hour| {
            (refused.saturating_add(hour.refused), delivered.saturating_add(hour.delivered))
        });
        let (now_percent, usual) = (percent(current.refused, current.delivered), percent(refused, delivered));
        let many = current.refused.saturating_add(current.delivered) >= OUTCOMES_FEW && now_percent >= REFUSED_PERCENT_MANY;
        (many && now_percent >= usual.saturating_mul(REFUSED_TIMES))
            .then(|| format!("{now_percent} of 100 deliveries of this hour were refused; usual is {usual}"))
    }

    /// What is worth keeping.
    pub fn text(&self) -> String {
        let mut text = self.told.map_or_else(String::new, |hour| format!("told {hour};"));
        for Hour { number, recipients, delivered, refused } in &self.hours {
            let _ = write!(text, "{number} {recipients} {delivered} {refused};");
        }
        text
    }

    /// Reads what [`History::text`] wrote; what is not understood is left out.
    pub fn parse(text: &str) -> Self {
        let mut history = Self::default();
        for entry in text.split(';') {
            if let Some(hour) = entry.strip_prefix("told ") {
                history.told = hour.parse().ok();
                continue;
            }
            let numbers: Vec<u64> = entry.split(' ').map_while(|word| word.parse().ok()).collect();
            let [number, recipients, delivered, refused] = numbers[..] else { continue };
            let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            if history.hours.back().is_none_or(|last| last.number < number) && history.hours.len() < HOURS_MAX as usize {
                history.hours.push_back(Hour {
                    number,
                    recipients: small(recipients),
                    delivered: small(delivered),
                    refused: small(refused),
                });
            }
        }
        history
    }

    fn hour(&mut self, now: Timestamp) -> &mut Hour {
        let number = now.millis() / HOUR_MS;
        self.hours.retain(|hour| hour.number + HOURS_MAX > number);
        if self.hours.back().is_none_or(|last| last.number < number) {
            self.hours.push_back(Hour { number, ..Hour::default() });
        }
        let last = self.hours.len() - 1;
        // A clock that was set back counts in the newest hour there is.
        &mut self.hours[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u64) -> Timestamp {
        Timestamp::from_millis((400_000 + hour) * HOUR_MS)
    }

    /// A history of so many hours, each with these recipients, outcomes and refusals; then one more hour.
    fn after(hours: u64, usual: (u32, u32, u32), now: (u32, u32, u32)) -> Option<String> {
        let mut history = History::default();
        for (hour, (recipients, delivered, refused)) in (0..hours).map(|hour| (hour, usual)).chain([(hours, now)]) {
            history.accepted(recipients, at(hour));
            (0..delivered).for_each(|_| history.ended(false, at(hour)));
            (0..refused).for_each(|_| history.ended(true, at(hour)));
        }
        assert_eq!(History::parse(&history.text()), history);
        history.jump(at(hours))
    }

    #[test]
    fn far_more_than_ever_brakes_and_a_little_more_does_not() {
        for (hours, usual, now, brakes) in [
            (48, (100, 0, 0), (1_100, 0, 0), true),
            (48, (100, 0, 0), (1_000, 0, 0), false),
            (48, (200, 0, 0), (1_900, 0, 0), false),
            (48, (1, 0, 0), (900, 0, 0), false),
            (10, (100, 0, 0), (50_000, 0, 0), false),
            (0, (0, 0, 0), (50_000, 0, 0), false),
            (48, (10, 100, 1), (10, 75, 25), true),
            (48, (10, 100, 1), (10, 85, 15), false),
            (48, (10, 80, 20), (10, 70, 30), false),
            (48, (10, 100, 1), (10, 30, 30), false),
            (0, (0, 0, 0), (10, 60, 60), true),
        ] {
            assert_eq!(after(hours, usual, now).is_some(), brakes, "{hours} {usual:?} {now:?}");
        }
        assert_eq!(after(48, (100, 0, 0), (2_000, 0, 0)).unwrap(), "2000 recipients in this hour; the busiest of the week before had 100");
        assert_eq!(after(48, (9, 98, 2), (9, 50, 50)).unwrap(), "50 of 100 deliveries of this hour were refused; usual is 2");
    }

    #[test]
    fn who_was_released_is_not_braked_again_for_the_same_hour() {
        let mut history = History::default();
        (0..48).for_each(|hour| history.accepted(100, at(hour)));
        history.accepted(5_000, at(48));
        assert!(history.jump(at(48)).is_some());
        history.tell(at(48));
        history.accepted(5_000, at(48));
        let mut history = History::parse(&history.text());
        assert_eq!(history.jump(at(48)), None, "a person has looked");
        history.accepted(20_000, at(49));
        assert_eq!(history.jump(at(49)), None, "that hour is usual now");
        history.accepted(200_000, at(49));
        assert!(history.jump(at(49)).is_some(), "and this one is not");
    }

    #[test]
    fn memory_is_a_week_whatever_comes() {
        let mut history = History::default();
        (0..1_000).for_each(|hour| history.accepted(1, at(hour)));
        assert_eq!(history.hours.len(), HOURS_MAX as usize);
        assert_eq!(history.jump(at(2_000)), None, "nothing happened in this hour");
        for broken in ["", ";", "1 2 3", "1 2 3 x;", "5 1 1 1;4 1 1 1;", "99999999999999999999 1 1 1"] {
            assert!(History::parse(broken).hours.len() <= 1, "{broken}");
        }
    }
}
