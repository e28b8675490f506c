//! The suite of RFC 7208 (`rfc7208-tests.yml`, by the authors of pyspf), every case of it. The suite is not ours, and is read from the folder
//! `POSTRIDER_CORPORA`; `POSTRIDER_CORPORA_DEMANDED=1` makes its absence a failure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use postrider_mail::lookup::{Answer, Known, Question};
use postrider_mail::spf::{self, Identity};
use yaml_rust2::{Yaml, YamlLoader};

/// A name's records, by type; `None` where the name never answers.
#[derive(Default)]
struct Name {
    records: BTreeMap<String, Vec<Yaml>>,
    times_out: bool,
}

type Zone = BTreeMap<String, Name>;

#[test]
fn the_suite_of_rfc_7208_passes() {
    let demanded = std::env::var_os("POSTRIDER_CORPORA_DEMANDED").is_some();
    let Some(folder) = std::env::var_os("POSTRIDER_CORPORA") else {
        assert!(!demanded, "POSTRIDER_CORPORA_DEMANDED is set, and POSTRIDER_CORPORA is not");
        eprintln!("skipped: POSTRIDER_CORPORA names no folder with spf/rfc7208-tests.yml");
        return;
    };
    let text = std::fs::read_to_string(Path::new(&folder).join("spf/rfc7208-tests.yml")).expect("the suite");
    let (mut ran, mut wrong) = (0, Vec::new());
    for scenario in YamlLoader::load_from_str(&text).expect("YAML") {
        let zone = zone(&scenario["zonedata"]);
        let comment = scenario["description"].as_str().unwrap_or_default().to_owned();
        for (name, case) in scenario["tests"].as_hash().expect("tests") {
            ran += 1;
            let name = name.as_str().expect("a name");
            if let Some(fault) = judge(case, &zone) {
                wrong.push(format!("{comment}, {name}: {fault}"));
            }
        }
    }
    eprintln!("RFC 7208 suite: {ran} cases, {} passed", ran - wrong.len());
    assert!(wrong.is_empty(), "{} of {ran}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(ran, 203, "the release of 2014.04");
}

fn judge(case: &Yaml, zone: &Zone) -> Option<String> {
    let identity = Identity {
        client: case["host"].as_str().expect("a host").parse().expect("an address"),
        hello: case["helo"].as_str().expect("a HELO"),
        mail_from: case["mailfrom"].as_str().expect("a sender"),
        receiver: "receiver.example",
        now: 0,
        explain: true,
    };
    let mut known = Known::new();
    let verdict = loop {
        match spf::check(&identity, &known) {
            Ok(verdict) => break verdict,
            Err(questions) => {
                for question in questions {
                    let answer = answer(zone, &question);
                    assert!(known.insert(question.clone(), answer).is_none(), "{question:?} is asked twice");
                }
                assert!(known.len() < 150, "so many questions");
            }
        }
    };
    let expected: Vec<&str> = match &case["result"] {
        Yaml::Array(several) => several.iter().filter_map(Yaml::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    if !expected.contains(&verdict.outcome.word()) {
        return Some(format!("{} ({:?}) instead of {expected:?}", verdict.outcome.word(), verdict.reason));
    }
    let explanation = case["explanation"].as_str().filter(|words| *words != "DEFAULT");
    let has_one = !case["explanation"].is_badvalue();
    (has_one && verdict.explanation.as_deref() != explanation).then(|| format!("{:?} instead of {explanation:?}", verdict.explanation))
}

fn zone(data: &Yaml) -> Zone {
    let mut zone = Zone::new();
    for (name, records) in data.as_hash().expect("a zone") {
        let mut entry = Name::default();
        for record in records.as_vec().expect("records") {
            match record {
                Yaml::String(word) if word == "TIMEOUT" => entry.times_out = true,
                Yaml::Hash(record) => {
                    for (kind, value) in record {
                        entry.records.entry(kind.as_str().expect("a type").to_owned()).or_default().push(value.clone());
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        // The suite says SPF where it means both types; `TXT: NONE` says that there is none of this one.
        if !entry.records.contains_key("TXT")
            && let Some(texts) = entry.records.get("SPF").cloned()
        {
            entry.records.insert("TXT".into(), texts);
        }
        zone.insert(lower(name.as_str().expect("a name")), entry);
    }
    zone
}

fn lower(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase()
}

fn answer(zone: &Zone, question: &Question) -> Answer {
    let (name, kind) = match question {
        Question::Texts(name) => (name.clone(), "TXT"),
        Question::Addresses { name, ipv6 } => (name.clone(), if *ipv6 { "AAAA" } else { "A" }),
        Question::Exchangers(name) => (name.clone(), "MX"),
        Question::Pointers(address) => (reverse(*address), "PTR"),
    };
    let mut entry = zone.get(&name);
    for _ in 0..8 {
        let Some(alias) = entry.and_then(|entry| entry.records.get("CNAME")).and_then(|aliases| aliases[0].as_str()) else { break };
        entry = zone.get(&lower(alias));
    }
    let Some(entry) = entry else { return Answer::Nothing };
    if entry.records.contains_key("CNAME") {
        return Answer::Failed;
    }
    let Some(records) = entry.records.get(kind) else { return if entry.times_out { Answer::Failed } else { Answer::Nothing } };
    let texts = || records.iter().filter(|record| record.as_str() != Some("NONE"));
    match question {
        Question::Texts(_) => match texts().map(text).collect::<Vec<_>>() {
            none if none.is_empty() && entry.times_out => Answer::Failed,
            none if none.is_empty() => Answer::Nothing,
            texts => Answer::Texts(texts),
        },
        Question::Addresses { .. } => {
            Answer::Addresses(records.iter().map(|record| record.as_str().expect("an address").parse().expect("an address")).collect())
        }
        Question::Exchangers(_) => Answer::Names(
            records.iter().map(|record| lower(record[1].as_str().expect("an exchanger"))).filter(|name| !name.is_empty()).collect(),
        ),
        Question::Pointers(_) => Answer::Names(records.iter().map(|record| lower(record.as_str().expect("a name"))).collect()),
    }
}

fn text(record: &Yaml) -> Vec<u8> {
    match record {
        Yaml::Array(strings) => strings.iter().flat_map(text).collect(),
        one => one.as_str().expect("a text").as_bytes().to_vec(),
    }
}

fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}
