//! Our commands against those of smtp-proto 0.2.5, one line at a time.
//!
//! What we take, it must take, and mean the same. What it takes and we do not must fall under a known difference:
//!
//! - LHLO, ETRN, ATRN, BURL and the mechanisms of AUTH: other protocols and extensions, which we do not speak;
//! - parameters of extensions we do not speak (DELIVERBY, MT-PRIORITY, RRVS, ...), unknown names of HELO, and values we hold to their grammar;
//! - addresses: it takes any octets between the brackets, we take RFC 5321 §4.1.2 and its limits;
//! - white space before a verb;
//! - text that is not UTF-8 or holds control characters;
//! - a source route: it refuses or keeps it, we drop it; an IPv6 literal: it refuses it; the bare postmaster: it gives an empty address.

use std::borrow::Cow;

use postrider_smtp::ForwardPath;
use postrider_smtp::command::{Command, CommandTrouble};
use postrider_smtp::parameters::{Body, MailParameters, Ret};
use smtp_proto::{
    MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_BODY_BINARYMIME, MAIL_RET_FULL, MAIL_RET_HDRS, MAIL_SMTPUTF8, MailFrom, Request,
};

/// Compares the two on one line.
pub fn check(input: &[u8]) {
    if input.contains(&b'\n') || input.contains(&b'\r') {
        return;
    }
    let line = [input, b"\r\n"].concat();
    let theirs = Request::parse(&mut line.iter());
    match (Command::parse(input), theirs) {
        (Ok(ours), Ok(theirs)) => agree(&ours, &theirs, input),
        (Ok(ours), Err(trouble)) => {
            assert!(only_ours(&ours, input), "we take {} as {ours:?}, they do not: {trouble:?}", input.escape_ascii())
        }
        (Err(trouble), Ok(theirs)) => {
            assert!(only_theirs(trouble, &theirs, input), "they take {} as {theirs:?}, we do not: {trouble}", input.escape_ascii())
        }
        (Err(_), Err(_)) => {}
    }
}

/// Known differences in what only we take.
fn only_ours(ours: &Command, input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    if text.contains("  ") {
        return true;
    }
    match ours {
        // EXPN is refused in any case, so its argument is not looked at.
        Command::Foreign | Command::Auth { .. } | Command::Expand | Command::XClient(_) => true,
        // Source routes; address literals; quoted strings; a space behind the colon; parameters whose values they hold to another form.
        Command::Mail(..) | Command::Recipient(..) => {
            text.contains("<@")
                || text.contains('[')
                || text.contains('"')
                || text.contains(": ")
                || text.contains('=')
                || text.ends_with(' ')
        }
        Command::Chunk { octets, .. } => *octets > i64::MAX as u64 / 10,
        // VRFY is answered 252 whatever it names, so quotes in its argument are not looked at.
        Command::Verify(argument) => argument.contains('"'),
        _ => false,
    }
}

/// Known differences in what only they take.
fn only_theirs(trouble: CommandTrouble, theirs: &Request<Cow<'_, str>>, input: &[u8]) -> bool {
    if input.first().is_some_and(u8::is_ascii_whitespace) {
        return true;
    }
    match theirs {
        Request::Lhlo { .. } | Request::Etrn { .. } | Request::Atrn { .. } | Request::Burl { .. } | Request::Auth { .. } => true,
        Request::Ehlo { .. } | Request::Helo { .. } => matches!(trouble, CommandTrouble::Syntax(_) | CommandTrouble::Characters),
        Request::Mail { .. } | Request::Rcpt { .. } => !matches!(trouble, CommandTrouble::Unknown | CommandTrouble::ChunkSize),
        Request::Vrfy { value } => value.is_empty() || trouble == CommandTrouble::Characters,
        // Tabs between words, and what stands behind commands that take no argument.
        _ => matches!(trouble, CommandTrouble::Characters | CommandTrouble::Syntax(_) | CommandTrouble::ChunkSize),
    }
}

fn agree(ours: &Command, theirs: &Request<Cow<'_, str>>, input: &[u8]) {
    let line = input.escape_ascii();
    match (ours, theirs) {
        (Command::Hello { esmtp: true, name }, Request::Ehlo { host })
        | (Command::Hello { esmtp: false, name }, Request::Helo { host }) => {
            assert_eq!(name, host, "{line}");
        }
        (Command::Mail(path, parameters), Request::Mail { from }) => {
            same_address(&path.to_string(), &from.address, &line);
            same_parameters(parameters, from, &line);
        }
        // They give the bare postmaster as an empty address.
        (Command::Recipient(ForwardPath::Postmaster, _), Request::Rcpt { to }) if to.address.is_empty() => {}
        (Command::Recipient(path, _), Request::Rcpt { to }) => same_address(&path.to_string(), &to.address, &line),
        (Command::Chunk { octets, last }, Request::Bdat { chunk_size, is_last }) => {
            assert_eq!((*octets, last), (*chunk_size as u64, is_last), "{line}")
        }
        (Command::Data, Request::Data)
        | (Command::Reset, Request::Rset)
        | (Command::Quit, Request::Quit)
        | (Command::StartTls, Request::StartTls)
        | (Command::Noop, Request::Noop { .. })
        | (Command::Help, Request::Help { .. })
        | (Command::Expand, Request::Expn { .. })
        | (Command::Auth { .. }, Request::Auth { .. })
        | (Command::Verify(_), Request::Vrfy { .. }) => {}
        (ours, theirs) => panic!("{line}: {ours:?} is not {theirs:?}"),
    }
}

/// Ours is in lower case behind the `@`, in A- or U-labels as written, without needless quotes; so only plain addresses are compared.
fn same_address(ours: &str, theirs: &str, line: &impl std::fmt::Display) {
    let ours = ours.trim_matches(['<', '>']);
    let plain = theirs.is_ascii() && !ours.contains('"') && !theirs.contains(['"', '\\', '[', ':']);
    if plain {
        assert!(ours.eq_ignore_ascii_case(theirs), "{line}: {ours} is not {theirs}");
    }
}

fn same_parameters(ours: &MailParameters, theirs: &MailFrom<Cow<'_, str>>, line: &impl std::fmt::Display) {
    let has = |flag: u64| theirs.flags & flag != 0;
    if let Some(size) = ours.size.filter(|size| *size < i64::MAX as u64 / 10) {
        assert_eq!(size, theirs.size as u64, "{line}");
    }
    assert_eq!(ours.smtputf8, has(MAIL_SMTPUTF8), "{line}");
    assert_eq!(ours.body == Some(Body::SevenBit), has(MAIL_BODY_7BIT), "{line}");
    assert_eq!(ours.body == Some(Body::EightBitMime), has(MAIL_BODY_8BITMIME), "{line}");
    assert_eq!(ours.body == Some(Body::BinaryMime), has(MAIL_BODY_BINARYMIME), "{line}");
    assert_eq!(ours.ret == Some(Ret::Full), has(MAIL_RET_FULL), "{line}");
    assert_eq!(ours.ret == Some(Ret::Headers), has(MAIL_RET_HDRS), "{line}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_agrees() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/differential");
        let mut replayed = 0;
        for entry in std::fs::read_dir(folder).expect("the corpus is there") {
            super::check(&std::fs::read(entry.expect("readable").path()).expect("readable"));
            replayed += 1;
        }
        assert!(replayed >= 20);
    }
}
