//! AUTH: never in the clear, the same answer to every wrong guess, and who guesses on is made to wait.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use socket2::{Domain, Socket, Type};

use crate::harness::{Relay, Session, config};

/// A session from another network.
fn from_elsewhere(address: SocketAddr) -> Session {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.9:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect_timeout(&address.into(), Duration::from_secs(10)).unwrap();
    let mut session = Session::over(TcpStream::from(socket));
    session.say("EHLO client.test");
    session
}

fn auth(session: &mut Session, user: &str, secret: &str) -> String {
    session.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{secret}")))).trim_end().to_owned()
}

const WRONG: &str = "535 5.7.8 authentication credentials invalid";
const LOCKED: &str = "454 4.7.0 too many failed attempts, try again later";

#[test]
fn who_guesses_is_locked_out_from_where_he_guesses_and_it_is_logged() {
    let mut relay = Relay::start(&config(1));
    let address = relay.address("submission");
    let mut guesser = Session::open(address);
    for guess in 0..5 {
        assert_eq!(auth(&mut guesser, "app", &format!("guess {guess}")), WRONG);
    }
    assert_eq!(auth(&mut guesser, "app", "secret"), LOCKED, "not even the right secret is looked at");
    let mut again = Session::open(address);
    assert_eq!(auth(&mut again, "app", "secret"), LOCKED, "nor in another session");
    assert_eq!(auth(&mut again, "nobody", "secret"), WRONG, "another user is not locked");
    assert!(auth(&mut from_elsewhere(address), "app", "secret").starts_with("235"), "nor the same from elsewhere");
    // A user that does not exist is locked like one that does.
    for _ in 0..4 {
        assert_eq!(auth(&mut again, "nobody", "x"), WRONG);
    }
    assert_eq!(auth(&mut again, "nobody", "x"), LOCKED);
    relay.mail.wait("refused client=127.0.0.1 what=\"AUTH app\" reply=\"535 5.7.8");
    relay.mail.wait("refused client=127.0.0.1 what=\"AUTH app\" reply=\"454 4.7.0");
    // The lock ends by itself: the first lasts a second.
    let opened = (0..20_000).any(|_| auth(&mut Session::open(address), "app", "secret").starts_with("235"));
    assert!(opened, "the lock never ended");
}

#[test]
fn guessing_on_ends_the_session() {
    let relay = Relay::start(&config(1));
    let mut session = Session::open(relay.address("submission"));
    let replies: Vec<String> = (0..20).map(|_| auth(&mut session, "app", "wrong")).collect();
    assert!(replies[..5].iter().all(|reply| reply == WRONG) && replies[5..].iter().all(|reply| reply == LOCKED), "{replies:?}");
    assert_eq!(session.rest(), "421 4.7.0 Too many errors\r\n", "a lock is no leave to go on");
}

#[test]
fn an_unknown_user_and_a_wrong_secret_hear_the_same() {
    let relay = Relay::start(&config(1));
    let mut session = Session::open(relay.address("submission"));
    let heard: Vec<String> = [("app", "wrong"), ("nobody", "secret"), ("", "secret"), ("APP", "secret"), ("app", ""), ("root", "root")]
        .into_iter()
        .map(|(user, secret)| auth(&mut session, user, secret))
        .collect();
    // RFC 4616 §2: an empty name or secret is no message of PLAIN.
    let judged: Vec<&String> = heard.iter().filter(|reply| !reply.starts_with("501")).collect();
    assert!(judged.len() >= 4 && judged.iter().all(|reply| *reply == WRONG), "{heard:?}");
    for (command, reply) in [("VRFY app", "252 "), ("EXPN app", "502 ")] {
        assert!(session.say(command).starts_with(reply), "{command} tells nothing");
    }
}

#[test]
fn no_auth_in_the_clear() {
    let relay = Relay::start(&config(1).replace("auth_in_clear = true\n", ""));
    let mut session = Session::open(relay.address("submission"));
    assert!(auth(&mut session, "app", "secret").starts_with("538 5.7.11"));
    assert!(session.say("AUTH LOGIN").starts_with("538 5.7.11"));
    assert!(session.say("MAIL FROM:<a@b.example>").starts_with("530 5.7.0"));
    let mut session = Session::open(relay.address("relay"));
    assert!(auth(&mut session, "app", "secret").starts_with("502 5.5.1"), "a relay listener offers none at all");
}
