//! Who has the mail of a name in a domain of ours: mailboxes, aliases, sub-addresses, the catch-all.
//!
//! **Promises.** A name is looked up as it stands, then without its detail (`user+detail`), then it is the catch-all's. An alias is followed to its end,
//! over all domains of ours; each mailbox comes once, in the order of the aliases. Case does not matter. A name that is both a mailbox and an alias that leads to
//! itself keeps a copy. Chains that go round are found by [`faults`] when the configuration is read; should one be met all the same, it ends there.
//!
//! **Never** delivers, and never says whether a foreign mailbox exists.

use std::collections::BTreeSet;

use postrider_model::policy::{LocalDomain, Routing};
use postrider_smtp::{Host, Mailbox};

/// Mailboxes that one name may lead to: a longer list is a mailing list, and wants a list manager.
pub const MAILBOXES_MAX: usize = 1_000;

/// What a mailbox is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// In no domain of ours.
    Foreign,
    /// Delivered to these: of ours (with its detail, for a mailbox server to see), or foreign ones that aliases name. Never empty.
    To(Vec<Mailbox>),
    /// In a domain of ours, where nobody has that name.
    Unknown,
}

/// Who has the mail of this mailbox.
pub fn resolve(routing: &Routing, mailbox: &Mailbox) -> Resolved {
    let Some(domain) = domain_of(routing, mailbox) else { return Resolved::Foreign };
    match look_up(domain, mailbox.local_part()) {
        Found::Nobody => Resolved::Unknown,
        Found::Mailbox | Found::Others(_) => {
            let mut walk = Walk { routing, ends: Vec::new(), known: BTreeSet::new(), path: Vec::new(), round: None };
            walk.follow(mailbox);
            if walk.ends.is_empty() { Resolved::Unknown } else { Resolved::To(walk.ends) }
        }
    }
}

/// The user whose mailbox it is: the local part in lower case, without its detail. `None` when it is not one of ours.
pub fn user_of(routing: &Routing, mailbox: &Mailbox) -> Option<Box<str>> {
    let domain = domain_of(routing, mailbox)?;
    names(domain, mailbox.local_part()).find(|name| domain.mailboxes.contains(name.as_str())).map(Into::into)
}

/// The folder that a template (`/var/mail/{domain}/{user}`) means for a mailbox. In a domain of ours only users have one. Elsewhere any local part may come:
/// what could lead out of the folder is written as `%2f`.
pub fn folder(routing: &Routing, template: &str, mailbox: &Mailbox) -> Option<String> {
    let (user, domain) = match domain_of(routing, mailbox) {
        Some(domain) => (user_of(routing, mailbox)?.into_string(), domain.name.to_ascii().into_owned()),
        None => (mailbox.local_part().trim_matches('"').to_lowercase(), mailbox.host().to_string()),
    };
    Some(template.replace("{user}", &tame(&user)).replace("{domain}", &tame(&domain)))
}

/// A name that is one name in a path, and no hidden one.
fn tame(name: &str) -> String {
    let mut tame = String::with_capacity(name.len());
    for (nth, letter) in name.char_indices() {
        let plain = letter.is_ascii_alphanumeric() || "-_+=@,~".contains(letter) || letter == '.' && nth > 0 || !letter.is_ascii();
        if plain && !letter.is_control() {
            tame.push(letter);
        } else {
            let mut octets = [0; 4];
            letter.encode_utf8(&mut octets).bytes().for_each(|octet| tame.push_str(&format!("%{octet:02x}")));
        }
    }
    tame
}

/// What is wrong with the aliases of our domains, one sentence each.
pub fn faults(routing: &Routing) -> Vec<String> {
    let mut faults = BTreeSet::new();
    for domain in routing.local.values() {
        let starts = domain.aliases.keys().filter_map(|name| Mailbox::parse(&format!("{name}@{}", domain.name)).ok());
        for start in starts.chain(domain.catch_all.clone()) {
            let mut walk = Walk { routing, ends: Vec::new(), known: BTreeSet::new(), path: Vec::new(), round: None };
            walk.follow(&start);
            if let Some(round) = walk.round {
                faults.insert(format!("the alias {start} goes round in a circle: {round}"));
            } else if let Some(lost) = walk.ends.iter().find(|end| is_nobody(routing, end)) {
                faults.insert(format!("{start} leads to {lost}, and nobody has that name there"));
            } else if walk.ends.len() > MAILBOXES_MAX {
                faults.insert(format!("the alias {start} leads to more than {MAILBOXES_MAX} mailboxes"));
            }
        }
    }
    faults.into_iter().collect()
}

enum Found<'a> {
    Mailbox,
    Others(&'a [Mailbox]),
    Nobody,
}

struct Walk<'a> {
    routing: &'a Routing,
    ends: Vec<Mailbox>,
    known: BTreeSet<Mailbox>,
    /// The names between the start and here.
    path: Vec<Mailbox>,
    round: Option<String>,
}

impl Walk<'_> {
    fn follow(&mut self, mailbox: &Mailbox) {
        let domain = domain_of(self.routing, mailbox);
        match domain.map(|domain| (domain, look_up(domain, mailbox.local_part()))) {
            Some((domain, Found::Others(others))) => {
                if let Some(at) = self.path.iter().position(|before| same(before, mailbox)) {
                    let own_copy = at + 1 == self.path.len() && has_mailbox(domain, mailbox);
                    if own_copy {
                        self.end(mailbox);
                    } else {
                        let names = self.path[at..].iter().chain([mailbox]).map(Mailbox::to_string);
                        self.round = Some(names.collect::<Vec<_>>().join(" -> "));
                    }
                    return;
                }
                self.path.push(mailbox.clone());
                for other in others {
                    if self.ends.len() <= MAILBOXES_MAX && self.round.is_none() {
                        self.follow(other);
                    }
                }
                self.path.pop();
            }
            Some((_, Found::Mailbox | Found::Nobody)) | None => self.end(mailbox),
        }
    }

    fn end(&mut self, mailbox: &Mailbox) {
        if self.known.insert(mailbox.clone()) {
            self.ends.push(mailbox.clone());
        }
    }
}

fn domain_of<'a>(routing: &'a Routing, mailbox: &Mailbox) -> Option<&'a LocalDomain> {
    routing.local.get(&*mailbox.domain()?.to_ascii()).map(AsRef::as_ref)
}

/// The name as it stands, and without its detail.
fn names(domain: &LocalDomain, local_part: &str) -> impl Iterator<Item = String> + use<> {
    let whole = local_part.trim_matches('"').to_lowercase();
    let user = domain.delimiter.and_then(|delimiter| whole.split_once(delimiter)).map(|(user, _)| user.to_owned());
    std::iter::once(whole).chain(user.filter(|user| !user.is_empty()))
}

fn look_up<'a>(domain: &'a LocalDomain, local_part: &str) -> Found<'a> {
    for name in names(domain, local_part) {
        if let Some(others) = domain.aliases.get(name.as_str()) {
            return Found::Others(others);
        }
        if domain.mailboxes.contains(name.as_str()) {
            return Found::Mailbox;
        }
    }
    domain.catch_all.as_ref().map_or(Found::Nobody, |mailbox| Found::Others(std::slice::from_ref(mailbox)))
}

fn has_mailbox(domain: &LocalDomain, mailbox: &Mailbox) -> bool {
    names(domain, mailbox.local_part()).any(|name| domain.mailboxes.contains(name.as_str()))
}

fn is_nobody(routing: &Routing, mailbox: &Mailbox) -> bool {
    domain_of(routing, mailbox).is_some_and(|domain| matches!(look_up(domain, mailbox.local_part()), Found::Nobody))
}

fn same(one: &Mailbox, other: &Mailbox) -> bool {
    let host = |mailbox: &Mailbox| match mailbox.host() {
        Host::Domain(domain) => domain.to_ascii().into_owned(),
        literal => literal.to_string(),
    };
    host(one) == host(other) && one.local_part().to_lowercase() == other.local_part().to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use postrider_model::policy::Target;
    use postrider_smtp::Domain;

    use super::*;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    /// `ann,bob;info=ann@here.example,boss@far.example;*=ann@here.example`
    fn domain(name: &str, text: &str) -> (Box<str>, Arc<LocalDomain>) {
        let mut domain = LocalDomain {
            name: Domain::parse(name).unwrap(),
            mailboxes: BTreeSet::new(),
            aliases: BTreeMap::new(),
            catch_all: None,
            delimiter: Some('+'),
            target: Target::Maildir(String::new()),
        };
        for part in text.split(';') {
            match part.split_once('=') {
                None => domain.mailboxes.extend(part.split(',').filter(|name| !name.is_empty()).map(Into::into)),
                Some(("*", to)) => domain.catch_all = Some(mailbox(to)),
                Some((name, to)) => drop(domain.aliases.insert(name.into(), to.split(',').map(mailbox).collect())),
            }
        }
        (name.into(), Arc::new(domain))
    }

    fn routing(domains: &[(&str, &str)]) -> Routing {
        Routing { local: domains.iter().map(|(name, text)| domain(name, text)).collect(), ..Routing::default() }
    }

    fn check(routing: &Routing, asked: &str, expected: &str) {
        let said = match resolve(routing, &mailbox(asked)) {
            Resolved::Foreign => "foreign".to_owned(),
            Resolved::Unknown => "unknown".to_owned(),
            Resolved::To(ends) => ends.iter().map(Mailbox::to_string).collect::<Vec<_>>().join(" "),
        };
        assert_eq!(said, expected, "{asked}");
    }

    #[test]
    fn names_are_found() {
        let routing = routing(&[
            (
                "here.example",
                "ann,bob,a+b;info=ann@here.example,boss@far.example;all=info@here.example,bob@here.example,ann@here.example;bob=bob@here.example,boss@far.example",
            ),
            ("there.example", "zoe;sales=all@here.example;*=zoe@there.example"),
        ]);
        for (asked, expected) in [
            ("ann@here.example", "ann@here.example"),
            ("Ann@HERE.example", "Ann@here.example"),
            ("ann+shop@here.example", "ann+shop@here.example"),
            ("a+b@here.example", "a+b@here.example"),
            ("+shop@here.example", "unknown"),
            ("carl@here.example", "unknown"),
            ("carl+ann@here.example", "unknown"),
            ("\"ann\"@here.example", "ann@here.example"),
            ("../ann@here.example", "unknown"),
            ("info@here.example", "ann@here.example boss@far.example"),
            ("info+x@here.example", "ann@here.example boss@far.example"),
            ("bob@here.example", "bob@here.example boss@far.example"),
            ("all@here.example", "ann@here.example boss@far.example bob@here.example"),
            ("sales@there.example", "ann@here.example boss@far.example bob@here.example"),
            ("anybody@there.example", "zoe@there.example"),
            ("ann@far.example", "foreign"),
            ("ann@x.here.example", "foreign"),
            ("ann@[192.0.2.1]", "foreign"),
        ] {
            if let Ok(asked_mailbox) = Mailbox::parse(asked) {
                check(&routing, &asked_mailbox.to_string(), expected);
            }
        }
        assert_eq!(faults(&routing), [""; 0]);
        assert_eq!(user_of(&routing, &mailbox("Ann+shop@here.example")).as_deref(), Some("ann"));
        assert_eq!(user_of(&routing, &mailbox("info@here.example")), None);
    }

    #[test]
    fn a_folder_is_one_place_whatever_a_name_holds() {
        let routing = routing(&[("here.example", "ann")]);
        for (asked, expected) in [
            ("Ann+x@HERE.example", Some("/m/here.example/ann/Maildir")),
            ("bob@here.example", None),
            ("Bob@far.example", Some("/m/far.example/bob/Maildir")),
            ("\"../../etc\"@far.example", Some("/m/far.example/%2e.%2f..%2fetc/Maildir")),
            ("\"a/../b\"@far.example", Some("/m/far.example/a%2f..%2fb/Maildir")),
            ("\"{domain}\"@far.example", Some("/m/far.example/%7bdomain%7d/Maildir")),
        ] {
            let found = folder(&routing, "/m/{domain}/{user}/Maildir", &mailbox(asked));
            assert_eq!(found.as_deref(), expected, "{asked}");
        }
    }

    #[test]
    fn circles_and_dead_ends_are_told() {
        for (text, said) in [
            (
                "a=b@here.example;b=a@here.example",
                "the alias a@here.example goes round in a circle: a@here.example -> b@here.example -> a@here.example",
            ),
            ("a=a@here.example", "the alias a@here.example goes round in a circle: a@here.example -> a@here.example"),
            ("ann;a=x@here.example", "a@here.example leads to x@here.example, and nobody has that name there"),
            ("a=b+x@here.example;b=A@here.example", "the alias a@here.example goes round in a circle: "),
            ("ann;*=x@here.example", "the alias x@here.example goes round in a circle: x@here.example -> x@here.example"),
        ] {
            let routing = routing(&[("here.example", text)]);
            let found = faults(&routing);
            assert!(found.first().is_some_and(|first| first.starts_with(said)), "{text}: {found:?}");
            // What is met all the same ends.
            let _ = resolve(&routing, &mailbox("a@here.example"));
        }
        assert_eq!(faults(&routing(&[("here.example", "ann;ann=ann@here.example,b@far.example")])), [""; 0]);
    }
}
