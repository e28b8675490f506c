//! What a domain publishes, compared with what it should: record by record, by meaning.

use postrider_mail::records::KeyRecord;
use postrider_mail::spf::is_record;
use postrider_mail::suffix;
use postrider_smtp::Domain;

use super::asking::{Asking, Served};
use super::{Data, Facts, Wanted, What, check_policy, wanted};

/// Letters of a served record that are shown.
const SHOWN_LETTERS_MAX: usize = 600;

/// How it stands with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It does what it should.
    Fine,
    /// It is not there.
    Missing,
    /// It is there, and says something else.
    Differs,
    /// There is more than there may be, or something is in the way.
    Conflict,
    /// The DNS did not say; never a fault of the domain's.
    Unknown,
}

impl State {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            State::Fine => "ok",
            State::Missing => "missing",
            State::Differs => "differs",
            State::Conflict => "conflict",
            State::Unknown => "unknown",
        }
    }

    /// Whether something has to be done.
    pub fn is_wrong(self) -> bool {
        matches!(self, State::Missing | State::Differs | State::Conflict)
    }
}

/// What was found out about one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub what: What,
    /// Where it stands.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// What differs, or what is worth knowing, each a sentence.
    pub said: Vec<String>,
    /// The record that is wanted.
    pub wanted: Option<Wanted>,
    /// What the DNS serves.
    pub served: Vec<String>,
    /// What to do.
    pub remedy: Option<String>,
    /// The look-ups that an SPF record costs.
    pub tree: Vec<String>,
}

impl Finding {
    pub(super) fn new(what: What, name: impl Into<String>, state: State) -> Self {
        Self { what, name: name.into(), state, said: Vec::new(), wanted: None, served: Vec::new(), remedy: None, tree: Vec::new() }
    }

    pub(super) fn says(mut self, sentence: impl Into<String>) -> Self {
        self.said.push(sentence.into());
        self
    }

    pub(super) fn do_this(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(super) fn served(mut self, served: Vec<String>) -> Self {
        self.served = served;
        self
    }

    pub(super) fn unknown(what: What, name: impl Into<String>, why: &str) -> Self {
        Self::new(what, name, State::Unknown)
            .says(format!("the DNS does not say: {}", plain(why.as_bytes())))
            .do_this("ask again later; if it stays so, see whether the domain's name servers answer")
    }
}

/// Compares all records of a domain.
pub fn domain(facts: &Facts, asking: &mut Asking<'_>) -> Vec<Finding> {
    let records = wanted(facts);
    records.into_iter().map(|record| one(facts, record, asking)).collect()
}

/// Compares those records of a domain that somebody asks about.
pub fn some(facts: &Facts, is_asked: impl Fn(&What) -> bool, asking: &mut Asking<'_>) -> Vec<Finding> {
    let records = wanted(facts).into_iter().filter(|record| is_asked(&record.what));
    records.map(|record| one(facts, record, asking)).collect()
}

fn one(facts: &Facts, record: Wanted, asking: &mut Asking<'_>) -> Finding {
    let mut finding = match (&record.what, &record.data) {
        (What::Proof, Data::Text(text)) => proof(facts, &record, text, asking),
        (What::Key(_), Data::Text(text)) => key(facts, &record, text, asking),
        (What::ReturnMx, Data::Mx(_, host)) => exchanger(&record, host, asking),
        (What::ReturnSpf, _) => check_policy::spf(facts, &record, true, asking),
        (What::Spf, _) => check_policy::spf(facts, &record, facts.return_path.is_none(), asking),
        (What::Dmarc, _) => check_policy::dmarc(facts, &record, asking),
        (What::Proof | What::Key(_) | What::ReturnMx | What::Source(_), _) => Finding::new(record.what.clone(), "", State::Fine),
    };
    if finding.state != State::Fine {
        alias_in_the_way(&record.name, &mut finding, asking);
    }
    finding.wanted = Some(record);
    finding
}

fn proof(facts: &Facts, record: &Wanted, text: &str, asking: &mut Asking<'_>) -> Finding {
    let (what, name) = (record.what.clone(), record.name.to_string());
    if suffix::is_public(&facts.domain.to_ascii()) {
        let domain = &facts.domain;
        return Finding::new(what, name, State::Conflict)
            .says(format!("{domain} is a public suffix: what is below it belongs to many, and nobody may send as all of them"))
            .do_this(format!("take it away (`postrider domain remove {domain}`), and add the domain below it that is yours"));
    }
    match asking.text(&record.name) {
        Served::Unknown(why) => Finding::unknown(what, name, &why),
        Served::Absent => missing(record, asking).says("without it nobody may send as this domain"),
        Served::Here(texts) if texts.iter().any(|served| served.trim_ascii() == text.as_bytes()) => Finding::new(what, name, State::Fine),
        Served::Here(texts) => Finding::new(what, name, State::Differs)
            .served(shown(texts))
            .says("none of its TXT records is the proof that was asked for")
            .do_this("publish the wanted record beside them, letter by letter"),
    }
}

fn key(facts: &Facts, record: &Wanted, text: &str, asking: &mut Asking<'_>) -> Finding {
    let (what, name) = (record.what.clone(), record.name.to_string());
    let texts = match asking.text(&record.name) {
        Served::Unknown(why) => return Finding::unknown(what, name, &why),
        Served::Absent => return missing(record, asking).says("signatures with this key count for nothing: receivers cannot verify them"),
        Served::Here(texts) => texts,
    };
    let finding = |state| Finding::new(what.clone(), name.clone(), state).served(shown(texts));
    let replace = "replace it with the wanted record";
    let [served] = texts else {
        return finding(State::Conflict)
            .says(format!("there are {} TXT records, and which one verifiers take is chance (RFC 6376 §3.6.2.2)", texts.len()))
            .do_this("leave the wanted record there, and remove the others");
    };
    let read = match KeyRecord::parse(served) {
        Ok(read) => read,
        Err(trouble) => {
            let mut found = finding(State::Differs).says(format!("verifiers cannot read it: {trouble}")).do_this(replace);
            found.said.extend(mangled(served).map(str::to_owned));
            return found;
        }
    };
    // What we wrote ourselves can be read.
    let Ok(ours) = KeyRecord::parse(text.as_bytes()) else { return finding(State::Fine) };
    if read.is_revoked() {
        return finding(State::Conflict).says("the key is revoked: p= is empty (RFC 6376 §3.6.1)").do_this(format!(
            "{replace}; if the key was revoked on purpose, make a new one with `postrider dkim new {} --selector ...`",
            facts.domain
        ));
    }
    let mut faults = Vec::new();
    if read.kind != ours.kind {
        faults.push(format!("it is said to be a key of the kind k={}, and is one of k={}", read.kind, ours.kind));
    }
    if read.key != ours.key {
        let cut = ours.key.starts_with(&*read.key);
        faults
            .push(if cut { "the key breaks off: a part of p= is missing" } else { "it is another key than the one that signs" }.to_owned());
    }
    if !read.takes_sha256() {
        faults.push("h= leaves out sha256, with which mail is signed".to_owned());
    }
    if !read.is_for_mail() {
        faults.push("s= leaves out email".to_owned());
    }
    if !faults.is_empty() {
        let mut found = finding(State::Differs).do_this(replace);
        found.said = faults;
        return found;
    }
    let fine = finding(State::Fine);
    if read.is_a_test() {
        return fine
            .says("t=y says that the domain is only trying: receivers may take its signatures for none. Remove it when all is well");
    }
    fine
}

/// What providers' forms do to a record.
fn mangled(served: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(served);
    if text.contains("\\;") {
        return Some("there are backslashes before its semicolons: the form took them as they are");
    }
    text.contains('"').then_some("there are quotation marks in it: give the value to the form without them")
}

fn exchanger(record: &Wanted, host: &Domain, asking: &mut Asking<'_>) -> Finding {
    let (what, name) = (record.what.clone(), record.name.to_string());
    let records = match asking.mx(&record.name) {
        Served::Unknown(why) => return Finding::unknown(what, name, &why),
        Served::Absent => return missing(record, asking).says("failures do not come back to the relay"),
        Served::Here(records) => records,
    };
    let shown = |host: Option<&Domain>| host.map_or_else(|| ".".to_owned(), |host| plain(host.as_str().as_bytes()));
    let served = records.iter().map(|record| format!("{} {}", record.preference, shown(record.host.as_ref()))).collect();
    let is_ours = |found: &Option<Domain>| found.as_ref().is_some_and(|found| found.to_ascii() == host.to_ascii());
    let first = records.iter().map(|record| record.preference).min();
    let finding = |state| Finding::new(what.clone(), name.clone(), state).served(served);
    if records.iter().all(|record| record.host.is_none()) {
        return finding(State::Conflict).says("a null MX says that it takes no mail").do_this("replace it with the wanted record");
    }
    if !records.iter().any(|record| is_ours(&record.host)) {
        return finding(State::Differs)
            .says("its mail goes to other servers, and failures with it")
            .do_this("replace it with the wanted record; or set return_path to a name whose mail comes here");
    }
    if records.iter().any(|record| Some(record.preference) == first && !is_ours(&record.host)) {
        return finding(State::Differs)
            .says("its mail goes to another server first")
            .do_this("remove the others, or raise their preference");
    }
    match asking.addresses(host) {
        Served::Here(_) => finding(State::Fine),
        Served::Absent => finding(State::Differs)
            .says(format!("{host} has no address: its mail finds no way here"))
            .do_this(format!("publish an A record for {host}, or correct relay.host_name")),
        Served::Unknown(why) => Finding::unknown(what.clone(), name.clone(), &why),
    }
}

/// A record that is not there; perhaps it is where a provider put it that adds the domain by itself.
pub(super) fn missing(record: &Wanted, asking: &mut Asking<'_>) -> Finding {
    let finding = Finding::new(record.what.clone(), record.name.to_string(), State::Missing).do_this("publish the wanted record");
    let ascii = record.name.to_ascii();
    let Some((first, rest)) = ascii.split_once('.') else { return finding };
    // From the longest domain on: "s1._domainkey.brand.example" was entered in full in a form that adds "brand.example".
    let mut above = rest;
    while above.contains('.') {
        let doubled = Domain::parse(&format!("{first}.{rest}.{above}"));
        if let Ok(doubled) = doubled
            && let Served::Here(_) = asking.text(&doubled)
        {
            return finding
                .says(format!("there is a record at {doubled}: the form added the domain to a name that had it already"))
                .do_this("move it: give the form the name without the domain");
        }
        above = above.split_once('.').map_or("", |(_, above)| above);
    }
    finding
}

/// A name that is an alias has no records of its own: whoever adds one beside the alias is refused by the zone, or ignored.
fn alias_in_the_way(name: &Domain, finding: &mut Finding, asking: &mut Asking<'_>) {
    if finding.state == State::Unknown {
        return;
    }
    if let Served::Here(target) = asking.alias(name) {
        finding.state = State::Conflict;
        finding.said.push(format!("{name} is an alias (CNAME) of {target}, so nothing else can stand there (RFC 1034 §3.6.2)"));
        finding.remedy = Some(format!("remove the CNAME and publish the wanted record, or publish it at {target}"));
    }
}

/// Records as lines for people.
pub(super) fn shown(texts: &[Box<[u8]>]) -> Vec<String> {
    texts.iter().map(|text| plain(text)).collect()
}

/// A stranger's octets as a text that is only a text.
pub(super) fn plain(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let letters = text.chars().map(|letter| if letter.is_control() || ('\u{200b}'..='\u{202e}').contains(&letter) { '?' } else { letter });
    let mut short: String = letters.take(SHOWN_LETTERS_MAX + 1).collect();
    if short.chars().count() > SHOWN_LETTERS_MAX {
        short.pop();
        short.push_str("...");
    }
    short
}

/// The SPF records among TXT records.
pub(super) fn spf_among(texts: &[Box<[u8]>]) -> Vec<String> {
    texts.iter().filter(|text| is_record(text)).map(|text| plain(text)).collect()
}
