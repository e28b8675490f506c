//! What changed in what domains publish, between two looks.
//!
//! **Promises.** A change is told once. A look that the DNS did not answer is no look: what was known before stays known.

use std::collections::BTreeMap;

use super::What;
use super::check::{Finding, State};

/// What was last known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<Box<str>, BTreeMap<What, State>>);

/// Something changed, or was wrong when it was first looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How it stood before; `None`: nobody had looked.
    pub was: Option<State>,
    /// How it stands now.
    pub now: Finding,
}

impl Seen {
    /// Takes the findings of a look at a domain; gives what is worth telling.
    pub fn look(&mut self, domain: &str, findings: &[Finding]) -> Vec<Change> {
        let before = self.0.remove(domain).unwrap_or_default();
        let mut after = BTreeMap::new();
        let mut changes = Vec::new();
        for finding in findings {
            let was = before.get(&finding.what).copied();
            if finding.state == State::Unknown {
                after.extend(was.map(|was| (finding.what.clone(), was)));
                continue;
            }
            after.insert(finding.what.clone(), finding.state);
            let told = match was {
                None => finding.state.is_wrong(),
                Some(was) => was != finding.state,
            };
            if told {
                changes.push(Change { was, now: finding.clone() });
            }
        }
        self.0.insert(domain.into(), after);
        changes
    }

    /// Forgets the domains that are not among these.
    pub fn keep(&mut self, domains: &[&str]) {
        self.0.retain(|domain, _| domains.contains(&&**domain));
    }
}

/// What a look at a domain proves; `None` is not known, and changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether the proof of ownership is there.
    pub owned: Option<bool>,
    /// Whether its failures come back to the relay, and the relay may send with its return path.
    pub return_path_ready: Option<bool>,
    /// Each key's selector, and whether its record is there.
    pub selectors: Vec<(Box<str>, Option<bool>)>,
}

impl Standing {
    /// From the findings of a look.
    pub fn of(findings: &[Finding]) -> Self {
        let holds = |finding: &Finding| match finding.state {
            State::Fine => Some(true),
            State::Missing | State::Differs | State::Conflict => Some(false),
            State::Unknown => None,
        };
        let of = |what: &What| findings.iter().find(|finding| finding.what == *what).map(holds);
        let ready = match (of(&What::ReturnMx), of(&What::ReturnSpf)) {
            (Some(Some(false)), _) | (_, Some(Some(false))) => Some(false),
            (Some(Some(true)), Some(Some(true))) => Some(true),
            _ => None,
        };
        let selectors = findings.iter().filter_map(|finding| match &finding.what {
            What::Key(selector) => Some((selector.clone(), holds(finding))),
            _ => None,
        });
        Self { owned: of(&What::Proof).flatten(), return_path_ready: ready, selectors: selectors.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_and_silence_is_no_change() {
        use State::{Differs, Fine, Missing, Unknown};
        let mut seen = Seen::default();
        for (state, told) in [
            (Unknown, None),
            (Missing, Some(None)),
            (Missing, None),
            (Unknown, None),
            (Missing, None),
            (Differs, Some(Some(Missing))),
            (Fine, Some(Some(Differs))),
            (Unknown, None),
            (Fine, None),
            (Missing, Some(Some(Fine))),
        ] {
            let changes = seen.look("a.example", &[Finding::new(What::Dmarc, "_dmarc.a.example", state)]);
            assert_eq!(changes.first().map(|change| change.was), told, "{state:?}");
        }
        assert!(seen.look("b.example", &[Finding::new(What::Dmarc, "", Fine)]).is_empty(), "what was always well is not told");
        seen.keep(&["b.example"]);
        assert_eq!(seen.look("a.example", &[Finding::new(What::Dmarc, "", Missing)])[0].was, None, "forgotten");
    }

    #[test]
    fn what_is_not_known_proves_nothing() {
        use State::{Fine, Missing, Unknown};
        let of = |proof, mx, spf, key| {
            let findings = [
                Finding::new(What::Proof, "", proof),
                Finding::new(What::ReturnMx, "", mx),
                Finding::new(What::ReturnSpf, "", spf),
                Finding::new(What::Key("s1".into()), "", key),
            ];
            let Standing { owned, return_path_ready, selectors } = Standing::of(&findings);
            (owned, return_path_ready, selectors[0].1)
        };
        assert_eq!(of(Fine, Fine, Fine, Fine), (Some(true), Some(true), Some(true)));
        assert_eq!(of(Unknown, Fine, Unknown, Unknown), (None, None, None));
        assert_eq!(of(Missing, Unknown, Missing, Missing), (Some(false), Some(false), Some(false)));
        assert_eq!(Standing::of(&[]), Standing::default());
    }
}
