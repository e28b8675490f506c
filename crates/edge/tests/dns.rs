//! Look-ups against a server of the test's own on loopback, with a literal zone and failures one can ask for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use postrider_edge::{DnsResolver, ResolverSettings};
use postrider_model::doors::{AddressAnswer, DnsTrouble, MxAnswer, MxRecord, Resolver};
use postrider_model::limits::{POINTERS_MAX, TEXT_RECORD_OCTETS_MAX, TEXT_RECORDS_MAX};
use postrider_smtp::Domain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn soa(ttl: u32) -> Record {
    Record::from_rdata(name("example."), ttl, RData::SOA(SOA::new(name("ns.example."), name("h.example."), 1, 1, 1, 1, ttl)))
}

fn mx(owner: &Name, ttl: u32, preference: u16, host: Name) -> Record {
    Record::from_rdata(owner.clone(), ttl, RData::MX(MX::new(preference, host)))
}

fn alias(owner: &Name, ttl: u32, target: &str) -> Record {
    Record::from_rdata(owner.clone(), ttl, RData::CNAME(CNAME(name(target))))
}

fn v4(owner: &str, ttl: u32) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A::new(192, 0, 2, 1)))
}

fn v6(owner: &str, ttl: u32) -> Record {
    Record::from_rdata(name(owner), ttl, RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)))
}

fn text(owner: &Name, ttl: u32, strings: &[&[u8]]) -> Record {
    Record::from_rdata(owner.clone(), ttl, RData::TXT(TXT::from_bytes(strings.to_vec())))
}

fn pointer(owner: &Name, ttl: u32, host: Name) -> Record {
    Record::from_rdata(owner.clone(), ttl, RData::PTR(PTR(host)))
}

/// A TXT record of so many octets, in strings of 255.
fn long_text(owner: &Name, octets: usize) -> Record {
    let octets = vec![b'x'; octets];
    text(owner, 60, &octets.chunks(255).collect::<Vec<_>>())
}

/// What the zone has for those who ask for text, names of addresses and aliases; `None` where it is not asked for these.
fn text_zone(owner: &Name, kind: RecordType, over_tcp: bool, answer: &mut Message) -> Option<Vec<Record>> {
    let whole = owner.to_ascii();
    let large =
        ["most", "toomany", "longest", "toolong", "all", "named"].iter().any(|label| whole.starts_with(label)) || whole.starts_with("4.");
    if large && !over_tcp && matches!(kind, RecordType::TXT | RecordType::PTR) {
        answer.metadata.truncation = true;
        return Some(vec![]);
    }
    Some(match (whole.split('.').next()?, kind) {
        ("_dmarc", RecordType::TXT) => vec![text(owner, 70, &[b"v=DMARC1; ", b"", b"p=none"]), text(owner, 50, &[b"\xff\0 other"])],
        ("s1", RecordType::TXT) => vec![alias(owner, 20, "_dmarc.example.")],
        ("s1", RecordType::CNAME) => vec![alias(owner, 20, "_dmarc.example.")],
        ("root", RecordType::CNAME) => vec![alias(owner, 20, ".")],
        ("most", RecordType::TXT) => (0..TEXT_RECORDS_MAX).map(|nth| text(owner, 60, &[nth.to_string().as_bytes()])).collect(),
        ("toomany", RecordType::TXT) => (0..=TEXT_RECORDS_MAX).map(|nth| text(owner, 60, &[nth.to_string().as_bytes()])).collect(),
        ("longest", RecordType::TXT) => vec![long_text(owner, TEXT_RECORD_OCTETS_MAX)],
        ("toolong", RecordType::TXT) => vec![text(owner, 60, &[b"v=spf1 -all"]), long_text(owner, TEXT_RECORD_OCTETS_MAX + 1)],
        // As much as one message holds.
        ("all", RecordType::TXT) => vec![long_text(owner, 65_000)],
        ("1" | "f", RecordType::PTR) => vec![pointer(owner, 80, name("Mail.Example.")), pointer(owner, 90, name("other.example."))],
        ("2", RecordType::PTR) => vec![pointer(owner, 80, Name::from_labels([&b"a b\r\n"[..], b"example"]).unwrap())],
        ("4", RecordType::PTR) => (0..1000).map(|nth| pointer(owner, 80, name(&format!("h{nth}.example.")))).collect(),
        _ => return None,
    })
}

/// The zone: fills the answer in; false for no answer at all.
fn zone(owner: &Name, kind: RecordType, over_tcp: bool, answer: &mut Message) -> bool {
    use RecordType::{A, AAAA};
    let text = owner.to_ascii().to_lowercase();
    let label = text.split('.').next().unwrap_or_default().to_owned();
    if let Some(answers) = text_zone(owner, kind, over_tcp, answer) {
        answer.add_answers(answers);
        return true;
    }
    let (answers, authority, code): (Vec<Record>, Vec<Record>, ResponseCode) = match (label.as_str(), kind) {
        ("plain", RecordType::MX) => {
            (vec![mx(owner, 300, 20, name("b.example.")), mx(owner, 200, 10, name("A.Example."))], vec![], ResponseCode::NoError)
        }
        ("null", RecordType::MX) => (vec![mx(owner, 60, 0, Name::root())], vec![], ResponseCode::NoError),
        ("short", RecordType::MX) => (vec![mx(owner, 1, 10, name("a.example."))], vec![], ResponseCode::NoError),
        ("never", RecordType::MX) => (vec![mx(owner, 0, 10, name("a.example."))], vec![], ResponseCode::NoError),
        ("long", RecordType::MX) => (vec![mx(owner, u32::MAX, 10, name("a.example."))], vec![], ResponseCode::NoError),
        ("chain1", _) => (vec![alias(owner, 500, "chain2.example.")], vec![], ResponseCode::NoError),
        ("chain2", _) => (vec![alias(owner, 40, "plain.example.")], vec![], ResponseCode::NoError),
        ("whole", RecordType::MX) => (
            vec![alias(owner, 30, "plain.example."), mx(&name("plain.example."), 300, 10, name("a.example."))],
            vec![],
            ResponseCode::NoError,
        ),
        ("loop1", _) => (vec![alias(owner, 60, "loop2.example.")], vec![], ResponseCode::NoError),
        ("loop2", _) => (vec![alias(owner, 60, "loop1.example.")], vec![], ResponseCode::NoError),
        ("toabsent", _) => (vec![alias(owner, 60, "absent.example.")], vec![], ResponseCode::NoError),
        ("toabsent2", _) => (vec![alias(owner, 60, "absent.example.")], vec![soa(7)], ResponseCode::NXDomain),
        ("absent", _) => (vec![], vec![soa(33)], ResponseCode::NXDomain),
        ("nodata", RecordType::TXT | RecordType::CNAME) => (vec![], vec![soa(44)], ResponseCode::NoError),
        ("3", RecordType::PTR) => (vec![], vec![soa(33)], ResponseCode::NXDomain),
        ("nodata" | "nov4", RecordType::MX) => (vec![], vec![soa(44)], ResponseCode::NoError),
        ("bare", _) => (vec![], vec![], ResponseCode::NoError),
        ("referral", _) => {
            (vec![], vec![Record::from_rdata(name("example."), 60, RData::NS(NS(name("ns.example."))))], ResponseCode::NoError)
        }
        ("servfail", _) => (vec![], vec![], ResponseCode::ServFail),
        ("refused", _) => (vec![], vec![], ResponseCode::Refused),
        ("formerr", _) => (vec![], vec![], ResponseCode::FormErr),
        ("notimp", _) => (vec![], vec![], ResponseCode::NotImp),
        ("unknown", _) => (vec![], vec![], ResponseCode::Unknown(12)),
        ("silent", _) => return false,
        ("garbage", _) => (vec![], vec![], ResponseCode::NoError),
        ("odd", RecordType::MX) => {
            let odd = Name::from_labels([&b"a b\0\xff\r\n"[..], b"example"]).unwrap();
            (vec![mx(owner, 60, 10, odd), mx(owner, 60, 20, name("a.example."))], vec![], ResponseCode::NoError)
        }
        ("allodd", RecordType::MX) => (vec![mx(owner, 60, 10, name("192.0.2.1."))], vec![], ResponseCode::NoError),
        ("xn--bcher-kva", RecordType::MX) => (vec![mx(owner, 60, 10, name("xn--mx-eka.example."))], vec![], ResponseCode::NoError),
        ("large", RecordType::MX) if !over_tcp => {
            answer.metadata.truncation = true;
            (vec![], vec![], ResponseCode::NoError)
        }
        ("large", RecordType::MX) => ((0..200).map(|nth| mx(owner, 60, nth, name("a.example."))).collect(), vec![], ResponseCode::NoError),
        ("both" | "nov6" | "v6fails", A) => (vec![v4(&text, 300)], vec![], ResponseCode::NoError),
        ("both" | "nov4", AAAA) => (vec![v6(&text, 100)], vec![], ResponseCode::NoError),
        ("v6fails", AAAA) => (vec![], vec![], ResponseCode::ServFail),
        ("nodata" | "nov4" | "nov6", A | AAAA) => (vec![], vec![soa(44)], ResponseCode::NoError),
        ("half", A) => (vec![], vec![soa(44)], ResponseCode::NoError),
        ("half", AAAA) => (vec![], vec![], ResponseCode::ServFail),
        ("tohost", _) => (vec![alias(owner, 20, "both.example.")], vec![], ResponseCode::NoError),
        (_, kind) => panic!("the zone has no {text} {kind}"),
    };
    answer.metadata.response_code = code;
    answer.add_answers(answers);
    answer.add_authorities(authority);
    true
}

type Asked = Arc<Mutex<Vec<(String, RecordType)>>>;

/// Fills an answer in; false for none at all.
type Zone = fn(&Name, RecordType, bool, &mut Message) -> bool;

fn answer(zone: Zone, question: &[u8], over_tcp: bool, asked: &Asked) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries.first().unwrap().clone();
    asked.lock().unwrap().push((query.name().to_ascii(), query.query_type()));
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let known = zone(query.name(), query.query_type(), over_tcp, &mut answer);
    let mut octets = answer.to_vec().unwrap();
    if query.name().to_ascii().starts_with("garbage") {
        // An answer that promises records and has none of them.
        octets[7] = 9;
    }
    known.then_some(octets)
}

/// The server, and what it was asked.
async fn serve() -> (SocketAddr, Asked) {
    serve_with(zone).await
}

async fn serve_with(zone: Zone) -> (SocketAddr, Asked) {
    let asked = Asked::default();
    // A port that is free for one protocol may be taken for the other.
    let (address, udp, tcp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        if let Ok(udp) = UdpSocket::bind(address).await {
            break (address, udp, tcp);
        }
    };
    let (seen, seen_too) = (Arc::clone(&asked), Arc::clone(&asked));
    tokio::spawn(async move {
        let mut octets = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut octets).await {
            if let Some(answer) = answer(zone, &octets[..length], false, &seen) {
                udp.send_to(&answer, from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let Ok(length) = stream.read_u16().await else { continue };
            let mut octets = vec![0; length.into()];
            stream.read_exact(&mut octets).await.unwrap();
            let answer = answer(zone, &octets, true, &seen_too).unwrap();
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    (address, asked)
}

fn resolver(server: SocketAddr, ipv6: bool) -> DnsResolver {
    let timeout = Duration::from_millis(300);
    DnsResolver::new(&ResolverSettings { servers: vec![server], ipv6, timeout, retries: 0, ..ResolverSettings::default() }).unwrap()
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

async fn ask_mx(text: &str) -> Result<MxAnswer, DnsTrouble> {
    let (server, _) = serve().await;
    resolver(server, true).mx(&domain(text)).await
}

async fn ask_addresses(text: &str) -> Result<AddressAnswer, DnsTrouble> {
    let (server, _) = serve().await;
    resolver(server, true).addresses(&domain(text)).await
}

fn hosts(answer: &MxAnswer) -> Vec<(u16, Option<String>)> {
    let text = |record: &MxRecord| (record.preference, record.host.as_ref().map(ToString::to_string));
    answer.records.iter().map(text).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn mx_records_with_their_shortest_time_to_live() {
    for (text, expected, ttl) in [
        ("plain.example", vec![(20, Some("b.example")), (10, Some("a.example"))], 200),
        ("null.example", vec![(0, None)], 60),
        ("short.example", vec![(10, Some("a.example"))], 1),
        ("never.example", vec![(10, Some("a.example"))], 0),
        ("long.example", vec![(10, Some("a.example"))], 86_400),
        ("chain1.example", vec![(20, Some("b.example")), (10, Some("a.example"))], 40),
        ("whole.example", vec![(10, Some("a.example"))], 30),
        ("odd.example", vec![(20, Some("a.example"))], 60),
        ("Bücher.example", vec![(10, Some("xn--mx-eka.example"))], 60),
    ] {
        let answer = ask_mx(text).await.unwrap_or_else(|trouble| panic!("{text}: {trouble}"));
        let expected: Vec<_> = expected.into_iter().map(|(preference, host)| (preference, host.map(str::to_owned))).collect();
        assert_eq!(hosts(&answer), expected, "{text}");
        assert_eq!(answer.ttl, seconds(ttl), "{text}");
    }
}

#[tokio::test]
async fn absence_is_told_from_failure() {
    assert_eq!(ask_mx("absent.example").await, Err(DnsTrouble::NoName { ttl: seconds(33) }));
    assert_eq!(ask_mx("toabsent.example").await, Err(DnsTrouble::NoName { ttl: seconds(33) }));
    assert!(matches!(ask_mx("toabsent2.example").await, Err(DnsTrouble::NoName { .. })));
    assert_eq!(ask_mx("nodata.example").await, Err(DnsTrouble::NoData { ttl: seconds(44) }));
    assert_eq!(ask_mx("bare.example").await, Err(DnsTrouble::NoData { ttl: seconds(0) }));
    for text in ["servfail", "refused", "formerr", "notimp", "unknown", "silent", "garbage", "referral", "loop1", "allodd"] {
        let answer = ask_mx(&format!("{text}.example")).await;
        assert!(matches!(answer, Err(DnsTrouble::Failed(_))), "{text}: {answer:?}");
    }
}

#[tokio::test]
async fn nobody_at_the_server_is_failure() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(matches!(resolver(closed, true).mx(&domain("plain.example")).await, Err(DnsTrouble::Failed(_))));
}

#[tokio::test]
async fn addresses_of_both_families() {
    let (four, six) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
    for (text, expected, ttl) in [
        ("both.example", vec![six, four], 100),
        ("nov6.example", vec![four], 300),
        ("nov4.example", vec![six], 100),
        ("v6fails.example", vec![four], 30),
        ("tohost.example", vec![six, four], 20),
    ] {
        assert_eq!(ask_addresses(text).await, Ok(AddressAnswer { addresses: expected, ttl: seconds(ttl) }), "{text}");
    }
    assert_eq!(ask_addresses("nodata.example").await, Err(DnsTrouble::NoData { ttl: seconds(44) }));
    assert_eq!(ask_addresses("absent.example").await, Err(DnsTrouble::NoName { ttl: seconds(33) }));
    for text in ["half.example", "servfail.example", "silent.example"] {
        assert!(matches!(ask_addresses(text).await, Err(DnsTrouble::Failed(_))), "{text}");
    }
}

async fn ask_text(text: &str) -> Result<postrider_model::doors::TextAnswer, DnsTrouble> {
    let (server, _) = serve().await;
    resolver(server, true).text(&domain(text)).await
}

#[tokio::test]
async fn text_of_any_octets_with_its_strings_joined() {
    for (text, ttl) in [("_dmarc.example", 50), ("s1._domainkey.example", 20)] {
        let answer = ask_text(text).await.unwrap();
        let expected: [&[u8]; 2] = [b"v=DMARC1; p=none", b"\xff\0 other"];
        assert_eq!(answer.records.iter().map(|record| &**record).collect::<Vec<_>>(), expected, "{text}");
        assert_eq!(answer.ttl, seconds(ttl), "{text}");
    }
    assert_eq!(ask_text("nodata.example").await, Err(DnsTrouble::NoData { ttl: seconds(44) }));
    assert_eq!(ask_text("absent.example").await, Err(DnsTrouble::NoName { ttl: seconds(33) }));
}

#[tokio::test]
async fn text_is_bounded_and_never_cut() {
    assert_eq!(ask_text("most.example").await.unwrap().records.len(), TEXT_RECORDS_MAX);
    assert_eq!(ask_text("longest.example").await.unwrap().records[0].len(), TEXT_RECORD_OCTETS_MAX);
    for text in ["toomany", "toolong", "all", "servfail", "silent", "garbage", "loop1", "refused"] {
        let answer = ask_text(&format!("{text}.example")).await;
        assert!(matches!(answer, Err(DnsTrouble::Failed(_))), "{text}: {answer:?}");
    }
}

#[tokio::test]
async fn names_of_addresses() {
    let (server, asked) = serve().await;
    let resolver = resolver(server, true);
    let ask = async |address: &str| resolver.pointers(address.parse().unwrap()).await;
    for address in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::f"] {
        let answer = ask(address).await.unwrap();
        assert_eq!(answer.names, [domain("mail.example"), domain("other.example")], "{address}");
        assert_eq!(answer.ttl, seconds(80));
    }
    assert!(matches!(ask("192.0.2.2").await, Err(DnsTrouble::Failed(_))), "no host has such a name");
    assert_eq!(ask("192.0.2.3").await, Err(DnsTrouble::NoName { ttl: seconds(33) }));
    assert_eq!(ask("192.0.2.4").await.unwrap().names.len(), POINTERS_MAX);
    assert_eq!(asked.lock().unwrap()[0], ("1.2.0.192.in-addr.arpa.".to_owned(), RecordType::PTR));
}

#[tokio::test]
async fn aliases_are_told_one_step_at_a_time() {
    let (server, _) = serve().await;
    let resolver = resolver(server, true);
    let ask = async |text: &str| resolver.alias(&domain(text)).await;
    let answer = ask("s1._domainkey.example").await.unwrap();
    assert_eq!((answer.target, answer.ttl), (domain("_dmarc.example"), seconds(20)));
    assert_eq!(ask("loop1.example").await.unwrap().target, domain("loop2.example"));
    assert_eq!(ask("nodata.example").await, Err(DnsTrouble::NoData { ttl: seconds(44) }));
    assert_eq!(ask("absent.example").await, Err(DnsTrouble::NoName { ttl: seconds(33) }));
    for text in ["servfail", "silent", "root"] {
        assert!(matches!(ask(&format!("{text}.example")).await, Err(DnsTrouble::Failed(_))), "{text}");
    }
}

#[tokio::test]
async fn without_ipv6_no_aaaa_is_asked_for() {
    let (server, asked) = serve().await;
    let answer = resolver(server, false).addresses(&domain("both.example")).await.unwrap();
    assert_eq!(answer.addresses, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(*asked.lock().unwrap(), [("both.example.".to_owned(), RecordType::A)]);
}

#[tokio::test]
async fn a_large_answer_comes_over_tcp() {
    assert_eq!(ask_mx("large.example").await.unwrap().records.len(), 200);
}

#[tokio::test]
async fn dead_servers_in_front_keep_no_answer_back() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (good, _) = serve().await;
    let (refusing, refused) = serve_with(|_, _, _, answer| {
        answer.metadata.response_code = ResponseCode::Refused;
        true
    })
    .await;
    for text in ["plain.example", "large.example", "absent.example"] {
        let servers = vec![silent.local_addr().unwrap(), closed, refusing, good];
        let timeout = Duration::from_millis(300);
        let resolver = DnsResolver::new(&ResolverSettings { servers, timeout, retries: 0, ..ResolverSettings::default() }).unwrap();
        let answer = resolver.mx(&domain(text)).await;
        assert!(matches!(answer, Ok(_) | Err(DnsTrouble::NoName { .. })), "{text}: {answer:?}");
        // Whoever answered is asked first from now on, whatever he answers.
        refused.lock().unwrap().clear();
        for again in ["chain1.example", "nodata.example", "null.example", "toabsent2.example"] {
            let answer = resolver.mx(&domain(again)).await;
            assert!(!matches!(answer, Err(DnsTrouble::Failed(_))), "{again}: {answer:?}");
        }
        assert!(refused.lock().unwrap().is_empty());
        assert!(matches!(resolver.mx(&domain("servfail.example")).await, Err(DnsTrouble::Failed(_))));
    }
}

#[tokio::test]
async fn answers_and_absences_are_cached_and_failures_and_ttl_zero_are_not() {
    let (server, asked) = serve().await;
    let resolver = resolver(server, true);
    for (text, questions) in [("plain", 1), ("absent", 1), ("nodata", 1), ("never", 2), ("servfail", 2)] {
        asked.lock().unwrap().clear();
        let first = resolver.mx(&domain(&format!("{text}.example"))).await;
        let second = resolver.mx(&domain(&format!("{text}.EXAMPLE"))).await;
        assert_eq!(asked.lock().unwrap().len(), questions, "{text}");
        // A second may begin between the two, and what remains is counted down.
        assert_eq!(std::mem::discriminant(&first), std::mem::discriminant(&second));
        if let (Ok(first), Ok(second)) = (first, second) {
            assert_eq!(first.records, second.records);
            assert!(second.ttl <= first.ttl && second.ttl + seconds(2) > first.ttl);
        }
    }
}

#[tokio::test]
async fn look_ups_under_way_are_bounded() {
    let (server, asked) = serve().await;
    let timeout = Duration::from_millis(200);
    let settings = ResolverSettings { servers: vec![server], timeout, retries: 0, lookups_max: 2, ..ResolverSettings::default() };
    let resolver = DnsResolver::new(&settings).unwrap();
    let (one, two, three) = (domain("silent.one.example"), domain("silent.two.example"), domain("silent.three.example"));
    let waiting = async { tokio::join!(resolver.mx(&one), resolver.mx(&two), resolver.mx(&three)) };
    let mut waiting = std::pin::pin!(waiting);
    let mut most_at_first = 0;
    let results = tokio::select! {
        biased;
        results = &mut waiting => results,
        () = async { loop {
            tokio::task::yield_now().await;
            let asked = asked.lock().unwrap();
            let different: std::collections::BTreeSet<_> = asked.iter().map(|(name, _)| name.clone()).collect();
            most_at_first = different.len();
            if most_at_first >= 2 { break }
        } } => {
            assert_eq!(most_at_first, 2, "the third waits for a place");
            waiting.await
        }
    };
    assert!(matches!(results, (Err(DnsTrouble::Failed(_)), Err(DnsTrouble::Failed(_)), Err(DnsTrouble::Failed(_)))));
    assert!(asked.lock().unwrap().iter().any(|(name, _)| name == "silent.three.example."), "and gets one");
}
