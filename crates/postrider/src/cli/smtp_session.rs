//! One submission by SMTP, said line by line: EHLO, STARTTLS when offered, AUTH, one transaction, QUIT.
//!
//! **Never** for delivery: it takes any certificate, tries once, and stops at the first refusal.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postrider_edge::{ClientTls, TcpNet};
use postrider_model::doors::{Connection, Net, TlsDemand};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::shown::Clean;

/// How long each reply may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// Octets of one reply.
const REPLY_OCTETS_MAX: usize = 64 * 1024;

/// What AUTH says.
pub struct Login {
    /// The user name.
    pub user: String,
    /// The secret.
    pub secret: String,
}

/// Submits; gives the reply to the end of data.
pub async fn submit(
    address: SocketAddr,
    hello: &str,
    login: Option<&Login>,
    from: &str,
    to: &[String],
    content: &[u8],
) -> anyhow::Result<String> {
    let net = TcpNet::new(ClientTls::with_system_roots()?, None);
    let connection = net.dial(None, address, Duration::from_secs(10)).await.with_context(|| format!("cannot connect to {address}"))?;
    let mut session = Session { connection, read: Vec::new() };
    session.reply("the greeting", 220).await?;
    let mut offered = session.say(&format!("EHLO {hello}"), 250).await?;
    if offered.lines().any(|line| line.get(4..).is_some_and(|word| word.eq_ignore_ascii_case("STARTTLS"))) {
        session.say("STARTTLS", 220).await?;
        if !session.read.is_empty() {
            bail!("octets came in the clear behind the reply to STARTTLS");
        }
        session.connection = net.secure(session.connection, &address.ip().to_string(), TlsDemand::Opportunistic).await?.connection;
        offered = session.say(&format!("EHLO {hello}"), 250).await?;
    }
    if let Some(login) = login {
        let plain = STANDARD.encode(format!("\0{}\0{}", login.user, login.secret));
        session.say_quietly(&format!("AUTH PLAIN {plain}"), "AUTH PLAIN", 235).await?;
    }
    let offers = |keyword: &str| offered.lines().any(|line| line.get(4..).is_some_and(|word| word.eq_ignore_ascii_case(keyword)));
    let eight_bit = if content.is_ascii() || !offers("8BITMIME") { "" } else { " BODY=8BITMIME" };
    let addresses = from.is_ascii() && to.iter().all(|to| to.is_ascii());
    let utf8 = if addresses || !offers("SMTPUTF8") { "" } else { " SMTPUTF8" };
    session.say(&format!("MAIL FROM:<{from}>{eight_bit}{utf8}"), 250).await?;
    for to in to {
        session.say(&format!("RCPT TO:<{to}>"), 250).await?;
    }
    session.say("DATA", 354).await?;
    session.write(&stuffed(content)).await?;
    let taken = session.reply("the message", 250).await?;
    // The message is theirs now; how the session ends changes nothing.
    let _ = session.say("QUIT", 221).await;
    Ok(Clean(taken.trim_end()).to_string())
}

/// The content with its dots doubled and its end (RFC 5321 §4.5.2).
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 64);
    let mut line_start = true;
    for octet in content {
        if line_start && *octet == b'.' {
            out.push(b'.');
        }
        out.push(*octet);
        line_start = *octet == b'\n';
    }
    if !line_start {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

struct Session {
    connection: Box<dyn Connection>,
    read: Vec<u8>,
}

impl Session {
    async fn say(&mut self, command: &str, expected: u16) -> anyhow::Result<String> {
        self.say_quietly(command, command, expected).await
    }

    /// `named` is what an error calls the command.
    async fn say_quietly(&mut self, command: &str, named: &str, expected: u16) -> anyhow::Result<String> {
        if command.contains(['\r', '\n', '\0']) {
            bail!("a command cannot hold a line end");
        }
        self.write(format!("{command}\r\n").as_bytes()).await?;
        self.reply(named, expected).await
    }

    async fn write(&mut self, octets: &[u8]) -> anyhow::Result<()> {
        self.connection.write_all(octets).await.context("the connection broke")?;
        self.connection.flush().await.context("the connection broke")
    }

    async fn reply(&mut self, to: &str, expected: u16) -> anyhow::Result<String> {
        let reply = match tokio::time::timeout(REPLY_TIMEOUT, self.read_reply()).await {
            Ok(reply) => reply?,
            Err(_) => bail!("no reply to {to} within {} s", REPLY_TIMEOUT.as_secs()),
        };
        if reply.starts_with(&expected.to_string()) {
            return Ok(reply);
        }
        bail!("the reply to {to} was: {}", Clean(reply.trim_end()))
    }

    async fn read_reply(&mut self) -> anyhow::Result<String> {
        let mut checked = 0;
        loop {
            while let Some(end) = self.read[checked..].iter().position(|octet| *octet == b'\n') {
                let line = &self.read[checked..checked + end];
                checked += end + 1;
                if line.get(3) != Some(&b'-') {
                    let rest = self.read.split_off(checked);
                    let reply = std::mem::replace(&mut self.read, rest);
                    return Ok(String::from_utf8_lossy(&reply).into_owned());
                }
            }
            if self.read.len() > REPLY_OCTETS_MAX {
                bail!("a reply of more than {REPLY_OCTETS_MAX} octets");
            }
            if self.connection.read_buf(&mut self.read).await.context("the connection broke")? == 0 {
                bail!("the connection was closed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn dots_are_doubled_and_the_end_is_a_line() {
        for (content, wire) in [("a\r\n", "a\r\n.\r\n"), (".\r\n..b", "..\r\n...b\r\n.\r\n"), ("", ".\r\n")] {
            assert_eq!(super::stuffed(content.as_bytes()), wire.as_bytes(), "{content:?}");
        }
    }
}
