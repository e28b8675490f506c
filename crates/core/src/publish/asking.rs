//! Questions to the DNS, asked by a pure judge: what it finds no answer to in its [`Book`] it notes, and it is run again when that was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use postrider_model::doors::{DnsTrouble, MxRecord};
use postrider_smtp::Domain;

/// Questions of one judge, over all of its runs: an SPF record may cost ten look-ups, each of ten exchangers, and a relay has some Sources.
pub const QUESTIONS_MAX: usize = 400;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// TXT records.
    Text(Domain),
    /// MX records.
    Mx(Domain),
    /// Addresses of both families.
    Addresses(Domain),
    /// Names of an address.
    Pointers(IpAddr),
    /// What a name is an alias of.
    Alias(Domain),
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Text`].
    Text(Vec<Box<[u8]>>),
    /// To [`Question::Mx`].
    Mx(Vec<MxRecord>),
    /// To [`Question::Addresses`].
    Addresses(Vec<IpAddr>),
    /// To [`Question::Pointers`].
    Pointers(Vec<Domain>),
    /// To [`Question::Alias`].
    Alias(Domain),
}

/// What was asked, and answered.
#[derive(Debug, Clone, Default)]
pub struct Book(BTreeMap<Question, Result<Answer, DnsTrouble>>);

impl Book {
    /// Writes an answer down.
    pub fn put(&mut self, question: Question, answer: Result<Answer, DnsTrouble>) {
        self.0.insert(question, answer);
    }

    /// How many questions may still be asked.
    pub fn room(&self) -> usize {
        QUESTIONS_MAX.saturating_sub(self.0.len())
    }
}

/// What the DNS has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served<T> {
    /// This.
    Here(T),
    /// Nothing, by a server's word.
    Absent,
    /// Nobody knows: it was not asked yet, or nobody answered with sense. Never a fault of the domain's.
    Unknown(Box<str>),
}

/// One run of a judge.
#[derive(Debug)]
pub struct Asking<'a> {
    book: &'a Book,
    wanting: BTreeSet<Question>,
}

impl<'a> Asking<'a> {
    /// A run that knows what is in the book.
    pub fn new(book: &'a Book) -> Self {
        Self { book, wanting: BTreeSet::new() }
    }

    /// What it had no answer to.
    pub fn wanting(self) -> BTreeSet<Question> {
        self.wanting
    }

    /// The TXT records of a name.
    pub fn text(&mut self, name: &Domain) -> Served<&'a [Box<[u8]>]> {
        self.ask(Question::Text(name.clone()), |answer| if let Answer::Text(records) = answer { Some(&records[..]) } else { None })
    }

    /// The MX records of a domain.
    pub fn mx(&mut self, name: &Domain) -> Served<&'a [MxRecord]> {
        self.ask(Question::Mx(name.clone()), |answer| if let Answer::Mx(records) = answer { Some(&records[..]) } else { None })
    }

    /// The addresses of a host.
    pub fn addresses(&mut self, name: &Domain) -> Served<&'a [IpAddr]> {
        self.ask(Question::Addresses(name.clone()), |answer| if let Answer::Addresses(found) = answer { Some(&found[..]) } else { None })
    }

    /// The names of an address.
    pub fn pointers(&mut self, address: IpAddr) -> Served<&'a [Domain]> {
        self.ask(Question::Pointers(address), |answer| if let Answer::Pointers(names) = answer { Some(&names[..]) } else { None })
    }

    /// What a name is an alias of.
    pub fn alias(&mut self, name: &Domain) -> Served<&'a Domain> {
        self.ask(Question::Alias(name.clone()), |answer| if let Answer::Alias(target) = answer { Some(target) } else { None })
    }

    fn ask<T>(&mut self, question: Question, read: impl Fn(&'a Answer) -> Option<T>) -> Served<T> {
        match self.book.0.get(&question) {
            Some(Ok(answer)) => read(answer).map_or_else(|| Served::Unknown("an answer to another question".into()), Served::Here),
            Some(Err(DnsTrouble::NoName { .. } | DnsTrouble::NoData { .. })) => Served::Absent,
            Some(Err(DnsTrouble::Failed(why))) => Served::Unknown(why.as_str().into()),
            None => {
                self.wanting.insert(question);
                Served::Unknown("there were more questions than one domain is worth".into())
            }
        }
    }
}

/// A DNS of a test's own: what it does not have is absent, and names in `dark` fail.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Zone {
    /// (name, `TXT`, `MX`, `A`, `PTR` or `CNAME`, value).
    pub records: Vec<(String, &'static str, String)>,
    /// Names for which nobody answers.
    pub dark: Vec<String>,
    /// Questions that were asked.
    pub asked: usize,
}

#[cfg(test)]
impl Zone {
    /// Lines of `NAME TYPE VALUE`.
    pub fn new(text: &str) -> Self {
        let records = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
            let mut parts = line.splitn(3, ' ');
            let (name, kind, value) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or_default());
            let kind = ["TXT", "MX", "A", "PTR", "CNAME"].into_iter().find(|known| *known == kind).unwrap();
            (name.to_owned(), kind, value.to_owned())
        });
        Self { records: records.collect(), dark: Vec::new(), asked: 0 }
    }

    /// Runs a judge until it has no more questions.
    pub fn run<T>(&mut self, judge: impl Fn(&mut Asking<'_>) -> T) -> T {
        let mut book = Book::default();
        loop {
            let mut asking = Asking::new(&book);
            let said = judge(&mut asking);
            let wanting: Vec<Question> = asking.wanting().into_iter().take(book.room()).collect();
            if wanting.is_empty() {
                return said;
            }
            for question in wanting {
                self.asked += 1;
                let answer = self.answer(&question, 0);
                book.put(question, answer);
            }
        }
    }

    fn answer(&self, question: &Question, depth: usize) -> Result<Answer, DnsTrouble> {
        let (name, kind) = match question {
            Question::Text(name) => (name.to_string(), "TXT"),
            Question::Mx(name) => (name.to_string(), "MX"),
            Question::Addresses(name) => (name.to_string(), "A"),
            Question::Pointers(address) => (address.to_string(), "PTR"),
            Question::Alias(name) => (name.to_string(), "CNAME"),
        };
        if self.dark.contains(&name) || depth > 8 {
            return Err(DnsTrouble::Failed("SERVFAIL".into()));
        }
        let domain = |text: &str| Domain::parse(text).unwrap();
        let found: Vec<&str> =
            self.records.iter().filter(|(owner, of, _)| *owner == name && *of == kind).map(|(_, _, value)| &**value).collect();
        let alias = self.records.iter().find(|(owner, of, _)| *owner == name && *of == "CNAME").map(|(_, _, target)| domain(target));
        match (question, alias) {
            (Question::Alias(_), Some(target)) => return Ok(Answer::Alias(target)),
            (Question::Text(_), Some(target)) => return self.answer(&Question::Text(target), depth + 1),
            (Question::Mx(_), Some(target)) => return self.answer(&Question::Mx(target), depth + 1),
            (Question::Addresses(_), Some(target)) => return self.answer(&Question::Addresses(target), depth + 1),
            _ => {}
        }
        if found.is_empty() {
            return Err(DnsTrouble::NoName { ttl: std::time::Duration::ZERO });
        }
        Ok(match question {
            Question::Text(_) => Answer::Text(found.into_iter().map(|text| text.as_bytes().into()).collect()),
            Question::Mx(_) => Answer::Mx(
                found
                    .into_iter()
                    .map(|text| {
                        let (preference, host) = text.split_once(' ').unwrap();
                        MxRecord { preference: preference.parse().unwrap(), host: (host != ".").then(|| domain(host)) }
                    })
                    .collect(),
            ),
            Question::Addresses(_) => Answer::Addresses(found.into_iter().map(|text| text.parse().unwrap()).collect()),
            Question::Pointers(_) => Answer::Pointers(found.into_iter().map(domain).collect()),
            Question::Alias(_) => unreachable!("answered above"),
        })
    }
}
