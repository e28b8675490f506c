//! May an address send for a domain, and what does the domain's record cost: `mail::spf`'s word, which is what receivers say, over the questions of a look at a domain.

use std::net::IpAddr;

use postrider_mail::lookup::{Answer, Known, Question};
use postrider_mail::spf::{self, Cost, Identity, Outcome, Verdict};
use postrider_smtp::Domain;

use super::asking::{Asking, Served};

/// Whether an address may send for a domain. `hello` is what it says in EHLO.
pub fn judge(asking: &mut Asking<'_>, domain: &Domain, address: IpAddr, hello: &str) -> Verdict {
    let mail_from = format!("postmaster@{}", domain.to_ascii());
    // What refusals say is nobody's question here.
    let identity = Identity { client: address, hello, mail_from: &mail_from, receiver: "unknown", now: 0, explain: false };
    let (mut known, mut silence) = (Known::new(), None);
    loop {
        match spf::check(&identity, &known) {
            Ok(verdict) if verdict.outcome == Outcome::TempError => return Verdict { reason: silence.or(verdict.reason), ..verdict },
            Ok(verdict) => return verdict,
            Err(questions) => known.extend(questions.into_iter().map(|question| {
                let answer = answer(asking, &question).unwrap_or_else(|why| {
                    silence = Some(why.into());
                    Answer::Failed
                });
                (question, answer)
            })),
        }
    }
}

/// What a domain's record costs. Questions that were not asked yet leave it unknown, and are named.
pub fn cost(asking: &mut Asking<'_>, domain: &Domain) -> Cost {
    let mut known = Known::new();
    loop {
        let (cost, wanting) = spf::cost(&domain.to_ascii(), &known);
        if wanting.is_empty() {
            return cost;
        }
        for question in wanting {
            let answer = answer(asking, &question).unwrap_or(Answer::Failed);
            known.insert(question, answer);
        }
    }
}

/// An answer of the look's; `Err` says why there is none. A name that is none has nothing.
fn answer(asking: &mut Asking<'_>, question: &Question) -> Result<Answer, Box<str>> {
    let named = |name: &str| Domain::parse(name).ok();
    let ascii = |host: &Domain| host.to_ascii().into_owned();
    match question {
        Question::Texts(name) => {
            let Some(name) = named(name) else { return Ok(Answer::Nothing) };
            found(asking.text(&name), |texts| Answer::Texts(texts.iter().map(|text| text.to_vec()).collect()))
        }
        Question::Addresses { name, ipv6 } => {
            let Some(name) = named(name) else { return Ok(Answer::Nothing) };
            found(asking.addresses(&name), |addresses| {
                let of_family = addresses.iter().copied().filter(|address| address.is_ipv6() == *ipv6);
                Answer::Addresses(of_family.collect())
            })
        }
        Question::Exchangers(name) => {
            let Some(name) = named(name) else { return Ok(Answer::Nothing) };
            found(asking.mx(&name), |records| Answer::Names(records.iter().filter_map(|record| record.host.as_ref()).map(ascii).collect()))
        }
        Question::Pointers(address) => found(asking.pointers(*address), |names| Answer::Names(names.iter().map(ascii).collect())),
    }
}

fn found<T>(served: Served<T>, answer: impl Fn(T) -> Answer) -> Result<Answer, Box<str>> {
    match served {
        Served::Here(found) => Ok(match answer(found) {
            Answer::Addresses(none) if none.is_empty() => Answer::Nothing,
            Answer::Names(none) if none.is_empty() => Answer::Nothing,
            answer => answer,
        }),
        Served::Absent => Ok(Answer::Nothing),
        Served::Unknown(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use postrider_mail::spf::LOOKUPS_MAX;

    use super::super::asking::Zone;
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    const ZONE: &str = "
        a.example TXT v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all
        b.example TXT v=spf1 include:a.example ?all
        c.example TXT v=spf1 redirect=a.example
        d.example TXT v=spf1 a:host.example mx -all
        d.example MX 10 host2.example
        host.example A 198.51.100.1
        host2.example A 2001:db8:1::1
        host2.example A 198.51.100.2
        e.example TXT v=spf1 exists:%{i}.list.example ~all
        203.0.113.9.list.example A 127.0.0.2
        f.example TXT v=spf1 include:none.example -all
        g.example TXT v=spf1 -all
        g.example TXT v=spf1 +all
        h.example TXT v=spf1 nonsense -all
        i.example TXT v=spf1 include:i.example -all
        j.example TXT v=spf1 a:no1.example a:no2.example a:no3.example ip4:192.0.2.1 -all
        k.example TXT v=spf1 include:dark.example -all
        l.example TXT v=spf1 ptr -all
        192.0.2.7 PTR mx.l.example
        mx.l.example A 192.0.2.7
        m.example TXT google-site-verification=x
        n.example TXT v=spf1 a:%{d}.%{x}
        o.example TXT v=spf1 ip4:192.0.2.1 a a a a a a a a a a a -all
        o.example A 198.51.100.9
        p.example TXT v=spf1 redirect=none.example
        q.example TXT v=spf1 a:host.example/24 -all";

    #[test]
    fn addresses_are_judged_as_receivers_do() {
        let mut zone = Zone::new(ZONE);
        zone.dark.push("dark.example".into());
        for (name, address, said) in [
            ("a.example", "192.0.2.9", "pass"),
            ("a.example", "::ffff:192.0.2.9", "pass"),
            ("a.example", "2001:db8:9::1", "pass"),
            ("a.example", "198.51.100.9", "Fail"),
            ("b.example", "192.0.2.9", "pass"),
            ("b.example", "198.51.100.9", "Neutral"),
            ("c.example", "192.0.2.9", "pass"),
            ("c.example", "198.51.100.9", "Fail"),
            ("d.example", "198.51.100.1", "pass"),
            ("d.example", "198.51.100.2", "pass"),
            ("d.example", "2001:db8:1::1", "pass"),
            ("d.example", "198.51.100.3", "Fail"),
            ("e.example", "203.0.113.9", "pass"),
            ("e.example", "203.0.113.8", "SoftFail"),
            ("f.example", "192.0.2.1", "broken: none.example is included, and has no record"),
            ("g.example", "192.0.2.1", "broken: g.example has more than one record"),
            ("h.example", "192.0.2.1", "broken: an unknown term \"nonsense\" in the record of h.example"),
            ("i.example", "192.0.2.1", "broken: more than 10 look-ups"),
            ("j.example", "192.0.2.1", "broken: more than 2 look-ups in vain"),
            ("k.example", "192.0.2.1", "unknown"),
            ("l.example", "192.0.2.7", "pass"),
            ("l.example", "192.0.2.8", "Fail"),
            ("m.example", "192.0.2.1", "no record"),
            ("nowhere.example", "192.0.2.1", "no record"),
            ("dark.example", "192.0.2.1", "unknown"),
            ("n.example", "192.0.2.1", "broken: a macro that is none in a: in the record of n.example"),
            ("o.example", "192.0.2.1", "pass"),
            ("o.example", "192.0.2.2", "broken: more than 10 look-ups"),
            ("p.example", "192.0.2.2", "broken: redirect to none.example, which has no record"),
            ("q.example", "198.51.100.77", "pass"),
        ] {
            let verdict = zone.run(|asking| judge(asking, &domain(name), address.parse().unwrap(), "mail.example"));
            let found = match verdict.outcome {
                Outcome::Pass => "pass".to_owned(),
                outcome @ (Outcome::Fail | Outcome::SoftFail | Outcome::Neutral) => format!("{outcome:?}"),
                Outcome::None => "no record".to_owned(),
                Outcome::PermError => format!("broken: {}", verdict.reason.unwrap_or_default()),
                Outcome::TempError => "unknown".to_owned(),
            };
            assert!(found.starts_with(said), "{name} {address}: {found}");
        }
    }

    #[test]
    fn what_a_record_costs() {
        let mut zone = Zone::new(ZONE);
        zone.dark.push("dark.example".into());
        for (name, lookups, voids, unknown, faults) in [
            ("a.example", 0, 0, false, 0),
            ("b.example", 1, 0, false, 0),
            ("d.example", 2, 0, false, 0),
            ("f.example", 1, 0, false, 1),
            ("i.example", 12, 0, false, 1),
            ("j.example", 3, 3, false, 1),
            ("k.example", 1, 0, true, 0),
            ("o.example", 11, 0, false, 1),
        ] {
            let cost = zone.run(|asking| cost(asking, &domain(name)));
            assert_eq!(
                (cost.lookups, cost.voids, cost.unknown, cost.faults().len()),
                (lookups, voids, unknown, faults),
                "{name}: {cost:?}"
            );
        }
        let cost = zone.run(|asking| cost(asking, &domain("d.example")));
        assert_eq!(cost.tree, [" 1 a:host.example", " 2 mx"]);
    }

    #[test]
    fn records_that_spread_without_end_cost_bounded_work() {
        let mut lines: Vec<String> = Vec::new();
        for nth in 0..200 {
            let includes: String = (1..=50).map(|more| format!(" include:s{}.example", (nth * 7 + more) % 200)).collect();
            lines.push(format!("s{nth}.example TXT v=spf1{includes} -all"));
        }
        let mut zone = Zone::new(&lines.join("\n"));
        let cost = zone.run(|asking| cost(asking, &domain("s0.example")));
        assert!(cost.lookups <= 64 && cost.lookups > LOOKUPS_MAX, "{}", cost.lookups);
        assert!(zone.asked <= super::super::asking::QUESTIONS_MAX, "{}", zone.asked);
    }
}
