//! The use of credentials, watched: what they send and what becomes of it goes by here on its way to the mail log.
//!
//! **Promises.** A credential whose use jumps (`core::brake`) is braked within [`LOOK_EVERY`], with an alarm that names the commands that release or revoke it; one of the
//! configuration file, too, whose brake stands in the registry. What was counted survives a restart, but for the last few seconds before a crash.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postrider_core::brake::History;
use postrider_flow::Relay;
use postrider_model::doors::{Clock, Judged, MailLog, Suppression};
use postrider_model::{AttemptFacts, CredentialName, Message, MessageId, Outcome, Timestamp};
use postrider_records::{CredentialState, SqlRegistry};
use postrider_smtp::Reply;

/// How often the use of credentials is looked at, and counts are kept.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the holders of histories are called where they are kept.
const USE: &str = "use ";

/// Histories, by credential.
pub struct Uses {
    clock: Arc<dyn Clock>,
    histories: Mutex<BTreeMap<CredentialName, (History, bool)>>,
}

impl Uses {
    /// Nothing was used yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, histories: Mutex::default() }
    }

    fn note(&self, message: &Message, what: impl FnOnce(&mut History, Timestamp)) {
        let Some(user) = &message.arrival.credential else { return };
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        if !histories.contains_key(user) {
            histories.insert(user.clone(), Default::default());
        }
        if let Some((history, changed)) = histories.get_mut(user) {
            what(history, self.clock.now());
            *changed = true;
        }
    }

    /// Takes over what was kept; gives back what is no history.
    fn load(&self, kept: Vec<(String, String)>) -> Vec<(String, String)> {
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        let other = kept.into_iter().filter_map(|(holder, text)| match holder.strip_prefix(USE) {
            Some(user) => {
                histories.insert(CredentialName::new(user), (History::parse(&text), false));
                None
            }
            None => Some((holder, text)),
        });
        other.collect()
    }

    /// A person was told of this one.
    fn told(&self, user: &CredentialName) {
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((history, changed)) = histories.get_mut(user) {
            history.tell(self.clock.now());
            *changed = true;
        }
    }

    /// Those that were used since the last question: why they should be braked, and what is to be kept.
    fn looked_at(&self) -> Vec<(CredentialName, Option<String>, String)> {
        let now = self.clock.now();
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        let used = histories.iter_mut().filter(|(_, (_, changed))| *changed);
        used.map(|(user, (history, changed))| {
            *changed = false;
            (user.clone(), history.jump(now), history.text())
        })
        .collect()
    }
}

/// A mail log that counts for the brake.
pub struct WatchedLog {
    /// Where everything goes.
    pub log: Arc<dyn MailLog>,
    /// Where it is counted.
    pub uses: Arc<Uses>,
}

impl MailLog for WatchedLog {
    fn accepted(&self, message: &Message) {
        let recipients = u32::try_from(message.recipients.len()).unwrap_or(u32::MAX);
        self.uses.note(message, |history, now| history.accepted(recipients, now));
        self.log.accepted(message);
    }

    fn attempted(&self, message: &Message, index: u32, attempt: Option<&AttemptFacts>, outcome: &Outcome) {
        match outcome {
            Outcome::Delivered { .. } => self.uses.note(message, |history, now| history.ended(false, now)),
            // What was given up without a word of the other side says nothing of the mail.
            Outcome::Bounced { .. } if attempt.is_some() => self.uses.note(message, |history, now| history.ended(true, now)),
            _ => {}
        }
        self.log.attempted(message, index, attempt, outcome);
    }

    fn refused(&self, peer: IpAddr, what: &str, reply: &Reply) {
        self.log.refused(peer, what, reply);
    }

    fn judged(&self, judged: &Judged<'_>) {
        self.log.judged(judged);
    }

    fn suppressed(&self, suppression: &Suppression, peer: Option<IpAddr>) {
        self.log.suppressed(suppression, peer);
    }

    fn alarm(&self, message: Option<MessageId>, text: &str) {
        self.log.alarm(message, text);
    }
}

/// Takes over what was counted before this start.
pub async fn load(registry: &SqlRegistry, uses: &Uses, relay: &Relay) {
    match registry.book().meters().await {
        Ok(kept) => relay.load_meters(uses.load(kept)),
        Err(trouble) => tracing::error!("what tenants and keys have sent is not known, and counted from nothing: {trouble}"),
    }
}

/// Keeps counts, and brakes those that jump, until the task is ended.
pub async fn watch(registry: Arc<SqlRegistry>, uses: Arc<Uses>, relay: Arc<Relay>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        look(&registry, &uses, &relay).await;
    }
}

/// One look: brakes what jumps, and keeps what was counted.
pub async fn look(registry: &SqlRegistry, uses: &Uses, relay: &Relay) {
    let mut counted = relay.changed_meters();
    for (user, jump, text) in uses.looked_at() {
        if let Some(why) = jump
            && brake(registry, &user, &why).await
        {
            uses.told(&user);
        }
        counted.push((format!("{USE}{user}"), text));
    }
    if !counted.is_empty()
        && let Err(trouble) = registry.book().keep_meters(&counted).await
    {
        tracing::warn!("what tenants and keys have sent could not be kept: {trouble}; a restart forgets it");
    }
}

/// Whether a person was told, and need not be again.
async fn brake(registry: &SqlRegistry, user: &CredentialName, why: &str) -> bool {
    let cannot =
        |trouble: &dyn std::fmt::Display| tracing::error!("ALARM the key {user} should be braked ({why}), and cannot be: {trouble}");
    match registry.renew(user.as_str()).await {
        Err(trouble) => {
            cannot(&trouble);
            return false;
        }
        // The registry does not know it: the configuration file does.
        Ok(None) if registry.braked(user).is_some() => {}
        Ok(None) => {
            if let Err(trouble) = registry.book().brake_of_file(user, why).await {
                cannot(&trouble);
                return false;
            }
            let _ = registry.refresh().await;
            tracing::error!(
                "ALARM the credential {user} of the configuration is braked to a message a second: {why}. `postrider key release {user}` lets it go on; to end it, \
                 take it out of the configuration and reload"
            );
        }
        // A person has not looked yet.
        Ok(Some(principal)) if principal.allowances.as_ref().is_some_and(|allowances| allowances.braked.is_some()) => {}
        Ok(Some(_)) => {
            if let Err(trouble) = registry.book().set_credential(user, CredentialState::Braked, why).await {
                cannot(&trouble);
                return false;
            }
            let _ = registry.refresh().await;
            tracing::error!(
                "ALARM the key {user} is braked to a message a second: {why}. `postrider key release {user}` lets it go on, `postrider key revoke {user}` ends it"
            );
        }
    }
    true
}
