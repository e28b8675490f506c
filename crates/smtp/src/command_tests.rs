use super::*;

fn parse(line: &str) -> Result<Command, CommandTrouble> {
    Command::parse(line.as_bytes())
}

#[test]
fn verbs() {
    for (line, command) in [
        ("EHLO client.example", Command::Hello { esmtp: true, name: "client.example".into() }),
        ("helo [192.0.2.1]", Command::Hello { esmtp: false, name: "[192.0.2.1]".into() }),
        ("Ehlo MY_PC", Command::Hello { esmtp: true, name: "MY_PC".into() }),
        ("DATA", Command::Data),
        ("data  ", Command::Data),
        ("RSET", Command::Reset),
        ("NOOP anything", Command::Noop),
        ("QUIT", Command::Quit),
        ("HELP me", Command::Help),
        ("VRFY a b", Command::Verify("a b".into())),
        ("EXPN list", Command::Expand),
        ("StartTLS", Command::StartTls),
        ("AUTH PLAIN", Command::Auth { mechanism: "PLAIN".into(), initial: None }),
        ("AUTH PLAIN =", Command::Auth { mechanism: "PLAIN".into(), initial: Some("=".into()) }),
        ("BDAT 0 LAST", Command::Chunk { octets: 0, last: true }),
        ("BDAT 18446744073709551615", Command::Chunk { octets: u64::MAX, last: false }),
        ("bdat 5  last", Command::Chunk { octets: 5, last: true }),
        ("GET / HTTP/1.1", Command::Foreign),
        ("PRI * HTTP/2.0", Command::Foreign),
        ("post /", Command::Foreign),
    ] {
        assert_eq!(parse(line), Ok(command), "{line}");
    }
}

#[test]
fn no_commands() {
    for (line, trouble) in [
        ("", CommandTrouble::Unknown),
        (" QUIT", CommandTrouble::Unknown),
        ("FROBNICATE", CommandTrouble::Unknown),
        ("QUITQUITQUITQUIT", CommandTrouble::Unknown),
        ("MAIL\tFROM:<a@b.example>", CommandTrouble::Characters),
        ("NOOP \u{85}", CommandTrouble::Characters),
        ("DATA now", CommandTrouble::Syntax("DATA")),
        ("QUIT now", CommandTrouble::Syntax("QUIT")),
        ("STARTTLS now", CommandTrouble::Syntax("STARTTLS")),
        ("EHLO", CommandTrouble::Syntax("EHLO hostname")),
        ("EHLO a b", CommandTrouble::Syntax("EHLO hostname")),
        ("HELO a(b)", CommandTrouble::Syntax("HELO hostname")),
        ("EHLO bücher.example", CommandTrouble::Syntax("EHLO hostname")),
        ("VRFY", CommandTrouble::Syntax("VRFY address")),
        ("AUTH", CommandTrouble::Syntax("AUTH mechanism")),
        ("AUTH PLAIN a b", CommandTrouble::Syntax("AUTH mechanism")),
        ("BDAT", CommandTrouble::ChunkSize),
        ("BDAT -1", CommandTrouble::ChunkSize),
        ("BDAT +1", CommandTrouble::ChunkSize),
        ("BDAT 0x10", CommandTrouble::ChunkSize),
        ("BDAT 18446744073709551616", CommandTrouble::ChunkSize),
        ("BDAT 5 LASTING", CommandTrouble::ChunkSize),
        ("BDAT 5 LAST LAST", CommandTrouble::ChunkSize),
        ("BDAT 5\u{2028}", CommandTrouble::ChunkSize),
        ("bdat\t5", CommandTrouble::ChunkSize),
        ("BDATA 5", CommandTrouble::Unknown),
    ] {
        assert_eq!(parse(line), Err(trouble), "{line}");
    }
    assert_eq!(Command::parse(b"NOOP \xff"), Err(CommandTrouble::Characters));
    assert_eq!(Command::parse(b"BDAT 5\xff"), Err(CommandTrouble::ChunkSize));
}

#[test]
fn mail_and_rcpt() {
    let path_of = |line: &str| match parse(line) {
        Ok(Command::Mail(path, _)) => path.to_string(),
        Ok(Command::Recipient(path, _)) => path.to_string(),
        other => format!("{other:?}"),
    };
    for (line, path) in [
        ("MAIL FROM:<>", "<>"),
        ("mail from:<a@b.example>", "<a@b.example>"),
        ("MAIL FROM: <a@b.example>", "<a@b.example>"),
        ("MAIL FROM:<a@b.example> SIZE=1  BODY=7BIT", "<a@b.example>"),
        ("MAIL FROM:<\"a>b\\\">\"@c.example> SIZE=1", "<\"a>b\\\">\"@c.example>"),
        ("RCPT TO:<postmaster>", "<Postmaster>"),
        ("RCPT TO: <@r.example:a@b.example>", "<a@b.example>"),
    ] {
        assert_eq!(path_of(line), path, "{line}");
    }
    let mail = CommandTrouble::Syntax("MAIL FROM:<address>");
    let rcpt = CommandTrouble::Syntax("RCPT TO:<address>");
    for (line, trouble) in [
        ("MAIL", mail),
        ("MAIL FROM", mail),
        ("MAIL FROM:", mail),
        ("MAIL TO:<a@b.example>", mail),
        ("MAIL FROM:a@b.example", mail),
        ("MAIL FROM:<a@b.example", mail),
        ("MAIL FROM:<a@b.example>SIZE=1", mail),
        ("MAIL FROM:<a@b.example>>", mail),
        ("MAIL FRÖM:<a@b.example>", mail),
        ("MAIL FROM:<a b@c.example>", CommandTrouble::ReversePath(AddressTrouble::LocalPart)),
        ("MAIL FROM:<\"a>", mail),
        ("MAIL FROM:<a>", CommandTrouble::ReversePath(AddressTrouble::NoDomain)),
        ("MAIL FROM:<a@b.example> X", CommandTrouble::UnknownParameter),
        ("RCPT TO:<>", CommandTrouble::ForwardPath(AddressTrouble::Empty)),
        ("RCPT TO:", rcpt),
        ("RCPT FROM:<a@b.example>", rcpt),
    ] {
        assert_eq!(parse(line), Err(trouble), "{line}");
    }
}
