//! The names of a Source in the DNS: large providers refuse an address whose name does not lead back to it (forward-confirmed reverse DNS).

use std::net::IpAddr;

use postrider_model::doors::pointer_name;
use postrider_smtp::Domain;

use super::asking::{Asking, Served};
use super::check::{Finding, State, plain};
use super::{Face, Hidden, What, is_of_the_internet};

/// Checks the names of a Source: PTR, the way back, and what it says in EHLO (RFC 5321 §4.1.4).
pub fn source(face: &Face, asking: &mut Asking<'_>) -> Finding {
    let what = What::Source(face.source.clone());
    let Ok(hello) = Domain::parse(&face.hello) else {
        return Finding::new(what, face.hello.to_string(), State::Differs)
            .says(format!("it says {:?} in EHLO, which is no domain name", plain(face.hello.as_bytes())))
            .do_this("set ehlo_name to a name that leads to the address");
    };
    let (why, private) = match face.address {
        Ok(address) => return named(what, address, &hello, asking),
        Err(Hidden::Unnamed) => ("the system chooses its address; name it with [[source]] address".to_owned(), false),
        Err(Hidden::Proxied) => ("a proxy chooses its address".to_owned(), false),
        Err(Hidden::Private(address)) => {
            (format!("{address} is not an address of the open Internet: receivers see another one, or none"), true)
        }
    };
    let hidden = format!("{why}. Which address receivers see cannot be known here; those of {hello} are checked instead");
    match asking.addresses(&hello) {
        Served::Here(addresses) => match addresses.iter().find(|address| is_of_the_internet(**address)) {
            Some(_) => {
                let public = addresses.iter().filter(|address| is_of_the_internet(**address));
                let found: Vec<Finding> = public.map(|address| named(what.clone(), *address, &hello, asking)).collect();
                let worst = found.into_iter().max_by_key(|finding| (finding.state.is_wrong(), finding.state));
                worst.map_or_else(|| Finding::new(what, hello.as_str(), State::Fine), |finding| finding.says(hidden))
            }
            None => Finding::new(what, hello.as_str(), State::Fine)
                .says(format!("{hello} leads to addresses that nobody on the Internet sees"))
                .says(hidden),
        },
        Served::Unknown(reason) => Finding::unknown(what, hello.as_str(), &reason).says(hidden),
        Served::Absent if private => Finding::new(what, hello.as_str(), State::Fine).says(format!("{hello} has no address")).says(hidden),
        Served::Absent => Finding::new(what, hello.as_str(), State::Missing)
            .says(format!("it says {hello} in EHLO, and that name has no address"))
            .says(hidden)
            .do_this(format!("publish the address receivers see: {hello}. IN A ...; or set ehlo_name to a name that leads to it")),
    }
}

/// Checks the names of a known address.
fn named(what: What, address: IpAddr, hello: &Domain, asking: &mut Asking<'_>) -> Finding {
    let place = pointer_name(address);
    let family = if address.is_ipv4() { "A" } else { "AAAA" };
    let set_pointer = format!("let the company that gave you the address set its PTR: {place}. IN PTR {hello}.");
    // Asked in any case, so that one round of questions tells all.
    let forward = asking.addresses(hello);
    let names = match asking.pointers(address) {
        Served::Here(names) => names,
        Served::Unknown(why) => return Finding::unknown(what, place, &why),
        Served::Absent => {
            let or = if address.is_ipv6() { "; or send over IPv4 only (dns.ipv6 = false)" } else { "" };
            return Finding::new(what, place, State::Missing)
                .says(format!("{address} has no name (PTR): Gmail, Yahoo, Outlook, Apple and Orange refuse mail from it"))
                .do_this(format!("{set_pointer}{or}"));
        }
    };
    let shown: Vec<String> = names.iter().map(|name| plain(name.as_str().as_bytes())).collect();
    let mut unknown = None;
    let mut confirmed = false;
    for name in names {
        match asking.addresses(name) {
            Served::Here(found) => confirmed |= found.iter().any(|found| found.to_canonical() == address.to_canonical()),
            Served::Absent => {}
            Served::Unknown(why) => unknown = Some(why),
        }
    }
    let finding = |state| Finding::new(what.clone(), place.clone(), state).served(shown.clone());
    if !confirmed {
        if let Some(why) = unknown {
            return Finding::unknown(what, place, &why).served(shown);
        }
        return finding(State::Differs)
            .says(format!("{address} is called {}, and that name does not lead back to it", shown.join(", ")))
            .do_this(format!("publish {hello}. IN {family} {address}, and {set_pointer}"));
    }
    match forward {
        Served::Unknown(why) => return Finding::unknown(what, place, &why).served(shown),
        Served::Here(found) if found.iter().any(|found| found.to_canonical() == address.to_canonical()) => {}
        Served::Here(_) | Served::Absent => {
            return finding(State::Differs).says(format!("it says {hello} in EHLO, and that name does not lead to {address}")).do_this(
                format!("publish {hello}. IN {family} {address}; or set ehlo_name = {:?}", shown.first().cloned().unwrap_or_default()),
            );
        }
    }
    if !names.iter().any(|name| name.to_ascii() == hello.to_ascii()) {
        return finding(State::Differs)
            .says(format!("it says {hello} in EHLO, and {address} is called {}: strict receivers want one name", shown.join(", ")))
            .do_this(format!("set ehlo_name = {:?}; or {set_pointer}", shown.first().cloned().unwrap_or_default()));
    }
    finding(State::Fine).says(format!("{address} is called {hello}, and {hello} leads to it"))
}
