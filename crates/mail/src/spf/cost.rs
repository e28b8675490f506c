//! What a domain's record costs those who ask: every term of it and of those it leads to, as an address that nothing matches makes them look (RFC 7208 §4.6.4).

use crate::lookup::{Answer, Known, Question, ask, is_possible};

use super::macros::Macros;
use super::record::Mechanism;
use super::{LOOKUPS_MAX, Stop, VOIDS_MAX, printable, record_of};

/// Lines of a tree that is shown, and so the look-ups that are counted in one that never ends.
const TREE_LINES_MAX: usize = 64;
/// How deep the tree is looked into.
const DEPTH_MAX: usize = 12;
/// Letters of a term that are shown.
const TERM_LETTERS_MAX: usize = 300;

/// What a record costs an address that nothing in it matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cost {
    /// Terms that look up.
    pub lookups: u32,
    /// Of them without an answer; what a macro makes is different for each message, and is not counted.
    pub voids: u32,
    /// Each term that looks up, below the one that led to it.
    pub tree: Vec<String>,
    /// The DNS did not say all.
    pub unknown: bool,
    /// What is broken further down, which receivers take for broken as a whole.
    pub broken: Vec<String>,
}

impl Cost {
    /// What is wrong with it, in words.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.broken.clone();
        if self.lookups > LOOKUPS_MAX {
            faults.push(format!("it costs {} look-ups, and receivers give up after {LOOKUPS_MAX} (RFC 7208 §4.6.4)", self.lookups));
        }
        if self.voids > VOIDS_MAX {
            faults.push(format!("{} of its look-ups find nothing, and receivers give up after {VOIDS_MAX} (RFC 7208 §4.6.4)", self.voids));
        }
        faults
    }
}

/// Counts what a domain's record costs, by what `known` knows, and gives the questions that it has no answer to. All of a record's are named at once.
pub fn cost(domain: &str, known: &Known) -> (Cost, Vec<Question>) {
    let mut walk = Walk { known, cost: Cost::default(), wanting: Vec::new() };
    walk.record(domain, 0);
    walk.cost.unknown |= !walk.wanting.is_empty();
    (walk.cost, walk.wanting)
}

struct Walk<'a> {
    known: &'a Known,
    cost: Cost,
    wanting: Vec<Question>,
}

impl Walk<'_> {
    fn record(&mut self, domain: &str, depth: usize) {
        let record = match record_of(self.known, domain) {
            Ok(Some(record)) => record,
            Ok(None) if depth > 0 => {
                return self.cost.broken.push(format!("{} has no SPF record, and is named as if it had one", printable(domain)));
            }
            Ok(None) => return,
            Err(Stop::Perm(why)) => return self.cost.broken.push(why),
            Err(Stop::Temp(_)) => return self.cost.unknown = true,
            Err(Stop::Ask(questions)) => return self.wanting.extend(questions),
        };
        // RFC 7208 §6.1: a redirect behind `all` is never followed.
        let ends = record.directives.iter().any(|directive| directive.mechanism == Mechanism::All);
        let redirect = record.redirect.as_ref().filter(|_| !ends);
        let terms = record.directives.iter().map(|directive| (directive.term, Term::Directive(&directive.mechanism)));
        let terms = terms.chain(redirect.map(|target| (record.redirect_term, Term::Redirect(target))));
        for (text, term) in terms {
            if matches!(term, Term::Directive(Mechanism::All | Mechanism::Ip4(..) | Mechanism::Ip6(..))) {
                continue;
            }
            if self.cost.tree.len() == TREE_LINES_MAX || depth == DEPTH_MAX {
                return;
            }
            self.cost.lookups += 1;
            let shown = text.get(..TERM_LETTERS_MAX).unwrap_or(text);
            self.cost.tree.push(format!("{:>2} {}{shown}", self.cost.lookups, "  ".repeat(depth)));
            self.term(term, domain, depth);
        }
    }

    fn term(&mut self, term: Term<'_>, domain: &str, depth: usize) {
        let host = |target: &Option<Macros>| target.as_ref().map_or_else(|| Some(domain.to_owned()), Macros::fixed);
        match term {
            Term::Redirect(target) | Term::Directive(Mechanism::Include(target)) => {
                if let Some(target) = target.fixed() {
                    self.record(&target, depth + 1);
                }
            }
            Term::Directive(Mechanism::A(target, _)) => {
                if let Some(name) = host(target) {
                    let of = |ipv6| Question::Addresses { name: name.clone(), ipv6 };
                    self.looks_at(&name, [of(false), of(true)]);
                }
            }
            Term::Directive(Mechanism::Mx(target, _)) => {
                if let Some(name) = host(target) {
                    self.looks_at(&name, [Question::Exchangers(name.clone())]);
                }
            }
            Term::Directive(Mechanism::Exists(_) | Mechanism::Ptr(_) | Mechanism::All | Mechanism::Ip4(..) | Mechanism::Ip6(..)) => {}
        }
    }

    /// Counts a look-up that finds nothing, whichever of its questions is asked.
    fn looks_at<const N: usize>(&mut self, name: &str, questions: [Question; N]) {
        if !is_possible(name) {
            return;
        }
        let mut finds_nothing = true;
        for question in questions {
            match ask(self.known, question) {
                Ok(Answer::Nothing) => {}
                Ok(Answer::Failed) => (self.cost.unknown, finds_nothing) = (true, false),
                Ok(Answer::Texts(_) | Answer::Addresses(_) | Answer::Names(_)) => finds_nothing = false,
                Err(question) => {
                    self.wanting.push(question);
                    finds_nothing = false;
                }
            }
        }
        self.cost.voids += u32::from(finds_nothing);
    }
}

enum Term<'a> {
    Directive(&'a Mechanism),
    Redirect(&'a Macros),
}
