//! What is counted together: the connections and rates of one Source at one Site, or at all Sites of a provider that shares them.

use postrider_model::Timestamp;
use postrider_model::policy::{Provider, Rate, RuleAction};

use super::gcra::{Meter, interval_us};
use super::hold::{Hold, HoldReason};
use super::window::Span;

/// Counts, meters, and what replies advised.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) connections: u32,
    /// When the count last grew.
    pub(super) opened_at: Timestamp,
    connection_meter: Meter,
    message_meter: Meter,
    /// Boxed, because few have any.
    advice: Option<Box<Advice>>,
}

#[derive(Debug, Default)]
struct Advice {
    rest: Option<Span>,
    single: Option<Span>,
    slow: Option<Slow>,
}

#[derive(Debug)]
struct Slow {
    rate: Rate,
    span: Span,
    meter: Meter,
}

impl Bucket {
    /// The rest that a reply advised.
    pub(super) fn check_rest(&self, provider: &Provider, now: Timestamp) -> Result<(), Hold> {
        match self.advice.as_ref().and_then(|advice| advice.rest).filter(|rest| rest.holds(now)) {
            Some(rest) => Err(held(HoldReason::AdvisedRest { provider: provider.name.clone() }, rest.since, rest.until)),
            None => Ok(()),
        }
    }

    /// How many connections more there may be, as far as this bucket goes.
    pub(super) fn free(&self, connections_max: u32, now: Timestamp) -> u32 {
        let max = if self.single(now).is_some() { connections_max.min(1) } else { connections_max };
        max.saturating_sub(self.connections)
    }

    /// When [`Bucket::free`] grows by time alone.
    pub(super) fn free_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.single(now).map(|single| single.until)
    }

    /// Why [`Bucket::free`] is zero.
    pub(super) fn full(&self, provider: &Provider, now: Timestamp) -> Hold {
        if let Some(single) = self.single(now) {
            return held(HoldReason::OneConnection { provider: provider.name.clone() }, single.since, single.until);
        }
        let shared = provider.shared.then(|| provider.name.clone());
        let reason = HoldReason::Connections { used: self.connections, max: provider.connections_max, shared };
        Hold { reason, since: self.opened_at, until: None }
    }

    /// The rate of new connections.
    pub(super) fn check_connection_rate(&self, provider: &Provider, now: Timestamp) -> Result<(), Hold> {
        let Some(rate) = provider.connection_rate else { return Ok(()) };
        self.connection_meter
            .check(&rate, now)
            .map_err(|until| held(HoldReason::ConnectionRate { rate, provider: provider.name.clone() }, self.opened_at, until))
    }

    /// The rates of messages: the provider's, and the one a reply advised.
    pub(super) fn check_message_rate(&self, provider: &Provider, now: Timestamp) -> Result<(), Hold> {
        if let Some(slow) = self.slow(now) {
            let reason = || HoldReason::Slowed { rate: slow.rate, provider: provider.name.clone() };
            // The advice ends some day, and with it this hold.
            slow.meter.check(&slow.rate, now).map_err(|until| held(reason(), slow.span.since, until.min(slow.span.until)))?;
        }
        let Some(rate) = provider.message_rate else { return Ok(()) };
        self.message_meter.check(&rate, now).map_err(|until| {
            held(HoldReason::MessageRate { rate, provider: provider.name.clone() }, self.message_meter.filled_at(&rate), until)
        })
    }

    pub(super) fn open(&mut self, provider: &Provider, now: Timestamp) {
        self.connections += 1;
        self.opened_at = now;
        if let Some(rate) = &provider.connection_rate {
            self.connection_meter.take(rate, now);
        }
    }

    pub(super) fn count_message(&mut self, provider: &Provider, now: Timestamp) {
        if let Some(rate) = &provider.message_rate {
            self.message_meter.take(rate, now);
        }
        if let Some(slow) = self.advice.as_mut().and_then(|advice| advice.slow.as_mut()).filter(|slow| slow.span.holds(now)) {
            slow.meter.take(&slow.rate, now);
        }
    }

    /// Takes what a reply told. Advice of the same kind is lengthened, never shortened; of two slow rates the slower rules.
    pub(super) fn advise(&mut self, action: RuleAction, now: Timestamp) {
        match action {
            RuleAction::Rest(pause) => lengthen(&mut self.advice_mut().rest, now, now.after(pause)),
            RuleAction::OneConnection(pause) => lengthen(&mut self.advice_mut().single, now, now.after(pause)),
            RuleAction::Slow(rate, pause) => self.advise_slow(rate, now, now.after(pause)),
            RuleAction::Defer | RuleAction::Bounce => {}
        }
    }

    /// From when on this bucket is as good as new.
    pub(super) fn settled_at(&self) -> Timestamp {
        let meters = self.connection_meter.settled_at().max(self.message_meter.settled_at());
        let Some(advice) = &self.advice else { return meters };
        let spans = [advice.rest, advice.single, advice.slow.as_ref().map(|slow| slow.span)];
        spans.into_iter().flatten().map(|span| span.until).fold(meters, Timestamp::max)
    }

    fn advise_slow(&mut self, rate: Rate, now: Timestamp, until: Timestamp) {
        let slow = &mut self.advice_mut().slow;
        match slow {
            Some(slow) if slow.span.holds(now) => {
                if interval_us(&rate).unwrap_or(u64::MAX) > interval_us(&slow.rate).unwrap_or(u64::MAX) {
                    slow.rate = rate;
                }
                slow.span.until = slow.span.until.max(until);
            }
            _ => {
                // The message that was told so is the first one counted.
                let mut meter = Meter::default();
                meter.take(&rate, now);
                *slow = Some(Slow { rate, span: Span { since: now, until }, meter });
            }
        }
    }

    fn advice_mut(&mut self) -> &mut Advice {
        self.advice.get_or_insert_default()
    }

    fn single(&self, now: Timestamp) -> Option<Span> {
        self.advice.as_ref()?.single.filter(|single| single.holds(now))
    }

    fn slow(&self, now: Timestamp) -> Option<&Slow> {
        self.advice.as_ref()?.slow.as_ref().filter(|slow| slow.span.holds(now))
    }
}

fn lengthen(span: &mut Option<Span>, now: Timestamp, until: Timestamp) {
    match span {
        Some(span) if span.holds(now) => span.until = span.until.max(until),
        _ => *span = Some(Span { since: now, until }),
    }
}

/// A hold that time ends; the end of time is no end.
pub(super) fn held(reason: HoldReason, since: Timestamp, until: Timestamp) -> Hold {
    Hold { reason, since, until: Some(until).filter(|until| *until != Timestamp::NEVER) }
}
