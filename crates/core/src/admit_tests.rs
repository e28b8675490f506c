use super::*;

use postrider_model::{Priority, StreamName, TenantName};

fn rules(role: ListenerRole) -> Rules {
    Rules {
        role,
        tls_required: false,
        postmaster: Some(Mailbox::parse("person@far.example").unwrap()),
        own_names: [Domain::parse("us.example").unwrap(), Domain::parse("mx.ours.example").unwrap()].into_iter().collect(),
        local_domains: [Domain::parse("ours.example").unwrap()].into_iter().collect(),
        relay_domains: [Domain::parse("customer.example").unwrap(), Domain::parse("bücher.example").unwrap()].into_iter().collect(),
    }
}

fn principal() -> Principal {
    Principal {
        tenant: TenantName::new("shop"),
        stream: StreamName::new("main"),
        credential: None,
        priority: Priority::Normal,
        own_domains_only: false,
        give_up_after: None,
        allowances: None,
    }
}

const STRANGER: Client<'_> =
    Client { principal: None, trusted: false, tls: false, reached: Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7))) };
const TRUSTED: Client<'_> = Client { trusted: true, ..STRANGER };

fn to(rules: &Rules, client: &Client<'_>, path: &str) -> Result<String, Refusal> {
    recipient(rules, client, &ForwardPath::parse(path).unwrap()).map(|mailbox| mailbox.to_string())
}

#[test]
fn a_relay_listener_is_never_an_open_relay() {
    for (path, taken) in [
        ("<a@ours.example>", true),
        ("<a@OURS.example>", true),
        ("<a@customer.example>", true),
        ("<a@bücher.example>", true),
        ("<a@xn--bcher-kva.example>", true),
        ("<a@other.example>", false),
        ("<a@sub.ours.example>", false),
        ("<a@ours.example.evil.example>", false),
        ("<a@evilours.example>", false),
        ("<a@[192.0.2.1]>", false),
        ("<a@[127.0.0.1]>", false),
        ("<a@[IPv6:::1]>", false),
        ("<@ours.example:a@other.example>", false),
        ("<@other.example:a@ours.example>", true),
        ("<a%other.example@elsewhere.example>", false),
        ("<\"a@other.example\"@elsewhere.example>", false),
    ] {
        let expected = if taken { Ok(()) } else { Err(Refusal::RelayDenied) };
        assert_eq!(to(&rules(ListenerRole::Relay), &STRANGER, path).map(|_| ()), expected, "{path}");
    }
}

#[test]
fn by_default_nothing_is_relayed() {
    let bare = Rules { local_domains: Domains::default(), relay_domains: Domains::default(), ..rules(ListenerRole::Relay) };
    for path in ["<a@ours.example>", "<a@customer.example>", "<a@us.example>", "<postmaster@other.example>"] {
        assert_eq!(to(&bare, &STRANGER, path), Err(Refusal::RelayDenied), "{path}");
    }
}

#[test]
fn a_route_in_a_local_part_is_only_a_name() {
    let rules = rules(ListenerRole::Relay);
    for local in ["a%other.example", "other.example!a", "\"a@other.example\""] {
        let path = format!("<{local}@ours.example>");
        assert_eq!(to(&rules, &STRANGER, &path), Ok(format!("{local}@ours.example")), "it is ours, and stays ours");
        let path = format!("<{local}@customer.example>");
        assert_eq!(to(&rules, &STRANGER, &path), Err(Refusal::RelayDenied), "the next server might read it the old way");
    }
    assert!(ForwardPath::parse("<a@b.example@ours.example>").is_err(), "two hosts are no mailbox");
}

#[test]
fn submission_is_for_those_who_proved_themselves_or_are_trusted() {
    let rules = rules(ListenerRole::Submission);
    let principal = principal();
    let known = Client { principal: Some(&principal), ..STRANGER };
    let from = ReversePath::parse("<a@ours.example>").unwrap();
    for (client, expected) in [(&STRANGER, Err(Refusal::AuthenticationRequired)), (&known, Ok(())), (&TRUSTED, Ok(()))] {
        assert_eq!(mail(&rules, client, &from), expected);
        assert_eq!(mail(&rules, client, &ReversePath::Null), expected);
        for path in ["<x@other.example>", "<x@ours.example>", "<Postmaster>", "<x@[192.0.2.1]>", "<x%y@other.example>"] {
            assert_eq!(to(&rules, client, path).map(|_| ()), expected, "{path}");
        }
    }
}

#[test]
fn who_is_known_may_relay_by_either_listener() {
    let principal = principal();
    let known = Client { principal: Some(&principal), ..STRANGER };
    for client in [&known, &TRUSTED] {
        assert!(to(&rules(ListenerRole::Relay), client, "<x@other.example>").is_ok());
    }
}

#[test]
fn there_is_somebody_to_talk_to_or_it_is_said_that_there_is_not() {
    let named = rules(ListenerRole::Relay);
    let nobody = Rules { postmaster: None, ..rules(ListenerRole::Relay) };
    for path in [
        "<Postmaster>",
        "<POSTMASTER>",
        "<postmaster@us.example>",
        "<Postmaster@US.example>",
        "<abuse@us.example>",
        "<postmaster@mx.ours.example>",
        "<postmaster@[192.0.2.7]>",
        "<postmaster@[IPv6:::ffff:192.0.2.7]>",
    ] {
        assert_eq!(to(&named, &STRANGER, path).as_deref(), Ok("person@far.example"), "{path}");
        assert_eq!(to(&nobody, &STRANGER, path), Err(Refusal::NoPostmaster), "{path}");
    }
    for (path, taken) in [
        // Domains with mail have people of their own.
        ("<postmaster@ours.example>", Ok("postmaster@ours.example")),
        ("<abuse@customer.example>", Ok("abuse@customer.example")),
        ("<postmaster@other.example>", Err(Refusal::RelayDenied)),
        ("<postmaster@[192.0.2.8]>", Err(Refusal::RelayDenied)),
        ("<webmaster@us.example>", Err(Refusal::RelayDenied)),
        ("<a@[192.0.2.7]>", Err(Refusal::RelayDenied)),
    ] {
        assert_eq!(to(&named, &STRANGER, path).as_deref().map_err(|refusal| *refusal), taken, "{path}");
    }
    let unreached = Client { reached: None, ..STRANGER };
    assert_eq!(to(&named, &unreached, "<postmaster@[192.0.2.7]>"), Err(Refusal::RelayDenied));
    assert_eq!(to(&named, &TRUSTED, "<postmaster@us.example>").as_deref(), Ok("person@far.example"));
    assert_eq!(to(&nobody, &TRUSTED, "<postmaster@us.example>").as_deref(), Ok("postmaster@us.example"));
    assert_eq!(to(&nobody, &TRUSTED, "<Postmaster>"), Err(Refusal::NoPostmaster));
}

#[test]
fn tls_comes_first_where_it_must() {
    let strict = Rules { tls_required: true, ..rules(ListenerRole::Submission) };
    let from = ReversePath::Null;
    assert_eq!(mail(&strict, &TRUSTED, &from), Err(Refusal::TlsRequired));
    assert_eq!(mail(&strict, &Client { tls: true, ..TRUSTED }, &from), Ok(()));
    assert_eq!(mail(&strict, &Client { tls: true, ..STRANGER }, &from), Err(Refusal::AuthenticationRequired));
    let relay = Rules { tls_required: true, ..rules(ListenerRole::Relay) };
    assert_eq!(mail(&relay, &STRANGER, &from), Err(Refusal::TlsRequired));
}

#[test]
fn hops_are_counted() {
    assert_eq!(hops(0), Ok(()));
    assert_eq!(hops(HOPS_MAX), Ok(()));
    assert_eq!(hops(HOPS_MAX + 1), Err(Refusal::TooManyHops));
}

#[test]
fn what_is_said() {
    for (refusal, said) in [
        (Refusal::TlsRequired, "530 5.7.0 Must issue a STARTTLS command first"),
        (Refusal::AuthenticationRequired, "530 5.7.0 Authentication required"),
        (Refusal::RelayDenied, "554 5.7.1 Relay access denied"),
        (Refusal::TooManyHops, "554 5.4.6 Too many hops, this message is looping"),
    ] {
        assert_eq!(refusal.reply().to_string(), said);
    }
}

#[test]
fn a_return_path_is_for_who_holds_a_token_and_for_nothing_else_beside() {
    for (known, others, word) in [
        (None, false, Err(Refusal::NoSuchReturn)),
        (None, true, Err(Refusal::NoSuchReturn)),
        (Some(7), false, Ok(7)),
        (Some(7), true, Err(Refusal::OneKindAtATime)),
    ] {
        assert_eq!(returned(known, others), word);
    }
    assert!(Refusal::NoSuchReturn.reply().is_permanent() && Refusal::OneKindAtATime.reply().is_transient());
}
