//! A random driver of the machine, with a naive model as the judge: it keeps every grant with its time, and counts anew for each question.

use super::*;

use std::collections::BTreeSet;

use proptest::prelude::*;

const SITES: usize = 6;
const SOURCES: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Connect(usize),
    Message(usize),
    Succeed(usize),
    Fail(usize),
    Advise(usize, RuleAction),
    Close(usize),
    Decline(usize),
    Awake { comply: bool },
    Total(u32),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let route = 0..SITES * SOURCES;
    let action = prop_oneof![
        (1u64..40).prop_map(|s| RuleAction::Rest(secs(s))),
        (1u64..40).prop_map(|s| RuleAction::OneConnection(secs(s))),
        (1u32..9, 1u64..40).prop_map(|(count, s)| RuleAction::Slow(Rate { count, per: secs(10), burst: 1 }, secs(s))),
        Just(RuleAction::Defer),
    ];
    let step = prop_oneof![
        8 => route.clone().prop_map(Step::Connect),
        8 => (0usize..50).prop_map(Step::Message),
        5 => (0usize..50).prop_map(Step::Succeed),
        2 => (0usize..50).prop_map(Step::Fail),
        1 => (0usize..50, action).prop_map(|(permit, action)| Step::Advise(permit, action)),
        6 => (0usize..50).prop_map(Step::Close),
        1 => route.prop_map(Step::Decline),
        5 => any::<bool>().prop_map(|comply| Step::Awake { comply }),
        1 => (1u32..7).prop_map(Step::Total),
        6 => (1u64..3000).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..300)
}

/// What is counted together.
type Counted = (usize, Option<usize>);

struct Model {
    routes: Vec<Route>,
    providers: [Provider; 2],
    now: Timestamp,
    total: u32,
    /// Route of each open connection.
    open: Vec<(usize, u32)>,
    connects: Vec<(Counted, Timestamp)>,
    messages: Vec<(Counted, Timestamp)>,
    rests: Vec<(Counted, Timestamp)>,
    singles: Vec<(Counted, Timestamp)>,
    /// With the number of messages that were sent before.
    slows: Vec<(Counted, Rate, usize, Timestamp)>,
    /// Who was told, and said nothing since.
    silent: BTreeSet<usize>,
    /// Who was refused, and neither got a connection nor gave up since.
    wanting: BTreeSet<usize>,
}

impl Model {
    fn new() -> Self {
        let alone = Provider {
            connections_max: 3,
            window_initial: 2,
            messages_per_connection_max: 4,
            message_rate: Some(Rate { count: 20, per: secs(10), burst: 1 }),
            connection_rate: Some(Rate { count: 30, per: secs(10), burst: 1 }),
            rest: secs(20),
            ..plain()
        };
        let shared = Provider { window_initial: 2, rest: secs(20), ..shared(3) };
        let routes: Vec<Route> = (0..SITES * SOURCES)
            .map(|nth| Route { site: SiteName::new(&format!("mx{}", nth % SITES)), source: SourceName::new(&format!("s{}", nth / SITES)) })
            .collect();
        Self {
            routes,
            providers: [alone, shared],
            now: at(0),
            total: 5,
            open: Vec::new(),
            connects: Vec::new(),
            messages: Vec::new(),
            rests: Vec::new(),
            singles: Vec::new(),
            slows: Vec::new(),
            silent: BTreeSet::new(),
            wanting: BTreeSet::new(),
        }
    }

    fn provider(&self, route: usize) -> &Provider {
        &self.providers[route % 2]
    }

    fn counted(&self, route: usize) -> Counted {
        (route / SITES, if route % 2 == 1 { None } else { Some(route) })
    }

    fn open_in(&self, counted: Counted) -> u32 {
        self.open.iter().filter(|(route, _)| self.counted(*route) == counted).count() as u32
    }

    fn open_on(&self, route: usize) -> u32 {
        self.open.iter().filter(|(other, _)| *other == route).count() as u32
    }

    fn within(&self, log: &[(Counted, Timestamp)], counted: Counted, rate: &Rate) -> u32 {
        log.iter().filter(|(other, at)| *other == counted && self.now < at.after(rate.per)).count() as u32
    }

    fn lasts(&self, spans: &[(Counted, Timestamp)], counted: Counted) -> bool {
        spans.iter().any(|(other, until)| *other == counted && self.now < *until)
    }

    /// The reasons for which a further message would be one too many.
    fn message_excess(&self, route: usize) -> bool {
        let counted = self.counted(route);
        let slowed = self.slows.iter().any(|(other, rate, before, until)| {
            *other == counted && self.now < *until && self.within(&self.messages[*before..], counted, rate) >= rate.count
        });
        let rate = self.provider(route).message_rate;
        slowed || self.lasts(&self.rests, counted) || rate.is_some_and(|rate| self.within(&self.messages, counted, &rate) >= rate.count)
    }

    fn connection_excess(&self, route: usize, (window, rests): (u32, bool)) -> bool {
        let (counted, provider) = (self.counted(route), self.provider(route));
        self.open_in(counted) >= provider.connections_max
            || self.lasts(&self.singles, counted) && self.open_in(counted) >= 1
            || self.open_on(route) >= window
            || rests
            || self.open.len() as u32 >= self.total
            || self.lasts(&self.rests, counted)
            || provider.connection_rate.is_some_and(|rate| self.within(&self.connects, counted, &rate) >= rate.count)
    }

    /// Whether the reason given is a true one.
    fn justified(&self, route: usize, (window, rests): (u32, bool), hold: &Hold) -> bool {
        let counted = self.counted(route);
        let paced = |log: &[(Counted, Timestamp)], rate: &Rate| {
            log.iter().any(|(other, at)| *other == counted && self.now < at.after(rate.per / rate.count + Duration::from_millis(1)))
        };
        hold.since <= self.now
            && hold.until.is_none_or(|until| until > self.now)
            && match &hold.reason {
                HoldReason::Resting { .. } => rests,
                HoldReason::AdvisedRest { .. } => self.lasts(&self.rests, counted),
                HoldReason::OneConnection { .. } => self.lasts(&self.singles, counted) && self.open_in(counted) >= 1,
                HoldReason::Connections { used, max, .. } => *used == self.open_in(counted) && used >= max,
                HoldReason::Window { used, window: told } => *used == self.open_on(route) && used >= told && *told == window,
                HoldReason::Total { max } => *max == self.total && self.open.len() as u32 >= *max,
                HoldReason::Line { .. } => self.wanting.iter().chain(&self.silent).any(|other| *other != route),
                HoldReason::Share { used, share } => {
                    let poor = |other: &&usize| **other != route && self.open_on(**other) == 0;
                    *used == self.open_on(route)
                        && *share >= 1
                        && used >= share
                        && self.wanting.iter().chain(&self.silent).any(|other| poor(&other))
                }
                HoldReason::Unproven => self.open_on(route) >= 1 && self.open.len() as u32 >= self.total.div_ceil(2),
                HoldReason::ConnectionRate { rate, .. } => paced(&self.connects, rate),
                HoldReason::MessageRate { rate, .. } => paced(&self.messages, rate),
                HoldReason::Slowed { .. } => self.slows.iter().any(|(other, _, _, until)| *other == counted && self.now < *until),
                HoldReason::UsedUp { .. } | HoldReason::Quota { .. } | HoldReason::Suspended { .. } | HoldReason::SourceDown { .. } => {
                    false
                }
            }
    }
}

/// The window of a Route and whether it rests, from the machine itself: that feedback is right is judged where the window is.
fn window(shape: &Shape, route: &Route, provider: &Provider, now: Timestamp) -> (u32, bool) {
    let fresh = (provider.window_initial, false);
    shape.routes.find(route).map(|id| &shape.routes.node(id).window).map_or(fresh, |w| (w.size(provider), w.resting(now).is_some()))
}

struct Driver {
    model: Model,
    shape: Shape,
    permits: Vec<Permit>,
}

impl Driver {
    fn connect(&mut self, route: usize) -> Result<(), TestCaseError> {
        let model = &mut self.model;
        let provider = model.provider(route).clone();
        let window = window(&self.shape, &model.routes[route], &provider, model.now);
        model.silent.remove(&route);
        match self.shape.connection(&model.routes[route], &provider, model.now) {
            Ok(permit) => {
                prop_assert!(!model.connection_excess(route, window), "one connection too many");
                model.connects.push((model.counted(route), model.now));
                model.open.push((route, 0));
                model.wanting.remove(&route);
                self.permits.push(permit);
            }
            Err(hold) => {
                prop_assert!(model.justified(route, window, &hold), "{hold:?} is not so");
                model.wanting.insert(route);
            }
        }
        Ok(())
    }

    fn message(&mut self, nth: usize) -> Result<(), TestCaseError> {
        let model = &mut self.model;
        let (route, sent) = model.open[nth];
        let provider = model.provider(route).clone();
        match self.shape.message(&mut self.permits[nth], &provider, model.now) {
            Ok(()) => {
                prop_assert!(!model.message_excess(route) && sent < provider.messages_per_connection_max, "one message too many");
                model.messages.push((model.counted(route), model.now));
                model.open[nth].1 += 1;
            }
            Err(Hold { reason: HoldReason::UsedUp { messages }, .. }) => prop_assert_eq!(sent, messages),
            Err(hold) => {
                prop_assert!(model.justified(route, (1, false), &hold), "{hold:?} is not so");
                // A message that is held has its Route told, too; it is told for the connection it may also want.
                model.wanting.insert(route);
            }
        }
        Ok(())
    }

    fn judge(&mut self, nth: usize, success: bool) {
        let provider = self.model.provider(self.model.open[nth].0).clone();
        if success {
            self.shape.succeeded(&self.permits[nth], &provider);
        } else {
            self.shape.failed(&self.permits[nth], &provider, self.model.now);
        }
    }

    fn close(&mut self, nth: usize) {
        self.model.open.remove(nth);
        self.shape.closed(self.permits.remove(nth), self.model.now);
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let of = |nth: usize, len: usize| nth.checked_rem(len);
        match step {
            Step::Connect(route) => self.connect(route)?,
            Step::Message(nth) => of(nth, self.permits.len()).map_or(Ok(()), |nth| self.message(nth))?,
            Step::Succeed(nth) => of(nth, self.permits.len()).into_iter().for_each(|nth| self.judge(nth, true)),
            Step::Fail(nth) => of(nth, self.permits.len()).into_iter().for_each(|nth| self.judge(nth, false)),
            Step::Advise(nth, action) => {
                let Some(nth) = of(nth, self.permits.len()) else { return Ok(()) };
                let model = &mut self.model;
                let (counted, now) = (model.counted(model.open[nth].0), model.now);
                self.shape.advise(&self.permits[nth], action, now);
                match action {
                    RuleAction::Rest(pause) => model.rests.push((counted, now.after(pause))),
                    RuleAction::OneConnection(pause) => model.singles.push((counted, now.after(pause))),
                    RuleAction::Slow(rate, pause) => model.slows.push((counted, rate, model.messages.len(), now.after(pause))),
                    RuleAction::Defer | RuleAction::Bounce => {}
                }
            }
            Step::Close(nth) => of(nth, self.permits.len()).into_iter().for_each(|nth| self.close(nth)),
            Step::Decline(route) => {
                self.shape.decline(&self.model.routes[route], self.model.now);
                self.model.wanting.remove(&route);
                self.model.silent.remove(&route);
            }
            Step::Awake { comply } => {
                self.awake(comply)?;
            }
            Step::Total(total) => {
                self.model.total = total;
                self.shape.set_connections_max(total);
            }
            Step::Pass(millis) => self.model.now = self.model.now.after(Duration::from_millis(millis)),
        }
        prop_assert_eq!(self.shape.connections() as usize, self.permits.len());
        Ok(())
    }

    fn awake(&mut self, comply: bool) -> Result<bool, TestCaseError> {
        let Some(route) = self.shape.awake(self.model.now) else { return Ok(false) };
        let nth = self.model.routes.iter().position(|known| *known == route).expect("only who asked is told");
        prop_assert!(self.model.wanting.contains(&nth), "{route:?} is told, and wants nothing");
        if comply {
            self.connect(nth)?;
        } else {
            // It stays silent, and may have been called.
            self.model.wanting.remove(&nth);
            self.model.silent.insert(nth);
        }
        Ok(true)
    }

    /// The weather clears: everybody who wants a connection gets one, in bounded time, by being told alone.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        while !self.permits.is_empty() {
            self.close(0);
        }
        self.model.total = self.model.total.max(1);
        let mut turns = 0;
        while !self.model.wanting.is_empty() {
            turns += 1;
            prop_assert!(turns < 1000, "{:?} are never told", self.model.wanting);
            while self.awake(true)? {
                while !self.permits.is_empty() {
                    self.judge(0, true);
                    self.close(0);
                }
            }
            if let Some(at) = self.shape.next_change(self.model.now) {
                self.model.now = at.max(self.model.now.after(Duration::from_millis(1)));
            } else {
                prop_assert!(self.model.wanting.is_empty(), "{:?} are never told", self.model.wanting);
            }
        }
        for _ in 0..SITES * SOURCES {
            self.model.now = self.model.now.after(secs(100_000));
            prop_assert!(!self.awake(true)?);
        }
        prop_assert_eq!(self.shape.remembered(), 0, "{:?}", self.shape.routes);
        Ok(())
    }
}

proptest! {
    #[test]
    fn limits_hold_refusals_are_true_and_nobody_is_forgotten(steps in steps()) {
        let model = Model::new();
        let mut driver = Driver { shape: Shape::new(model.total), model, permits: Vec::new() };
        for step in steps {
            driver.step(step)?;
        }
        driver.drain()?;
    }
}
