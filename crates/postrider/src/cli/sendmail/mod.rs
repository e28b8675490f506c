//! `sendmail`, `mailq`, `newaliases`: the commands that cron, PHP and old software know, over the control socket.
//!
//! **Promises.** Exit status 0 means that the relay took custody. Otherwise the status is one of sysexits.h, and 75 (EX_TEMPFAIL) where trying again helps:
//! the relay is not there, or cannot take mail now. Options that have no meaning here are taken as Postfix takes them. The message is kept as
//! it came but for line ends, Bcc and its like; From, Date and Message-ID are added by the relay where they are missing.
//!
//! **Does badly.** A message is held in memory until the relay has it.

mod content;
mod mailq;
mod options;
mod session;

use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use postrider_http::{encode_submission, wire};
use postrider_mail::mailboxes;
use postrider_smtp::Mailbox;

use super::client::{Client, TroubleKind, path_with};
use content::Author;
use options::{Mode, Options};

/// Where a packaged relay keeps its data.
pub const PACKAGED_DATA: &str = "/var/lib/postrider";

/// Where a packaged relay lets every user hand mail over; POSTRIDER_SENDMAIL names another place.
pub const PACKAGED_SOCKET: &str = "/run/postrider/sendmail.sock";

/// Octets of one message. The relay has its own limit, and tells it.
const MESSAGE_OCTETS_MAX: u64 = 1 << 30;

/// The words of sysexits.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Usage = 64,
    Data = 65,
    Software = 70,
    Temporary = 75,
    NotAllowed = 77,
}

/// Why it ended, and what the caller's exit status is.
struct Failure {
    exit: Exit,
    sentence: String,
}

fn failure(exit: Exit, sentence: impl std::fmt::Display) -> Failure {
    Failure { exit, sentence: sentence.to_string() }
}

impl From<anyhow::Error> for Failure {
    fn from(trouble: anyhow::Error) -> Self {
        let exit = match TroubleKind::of(&trouble) {
            Some(TroubleKind::Refused) => Exit::Data,
            Some(TroubleKind::NotAllowed) => Exit::NotAllowed,
            // What broke off may or may not have been taken; whoever must know tries again.
            Some(TroubleKind::NotThere | TroubleKind::NotNow) | None => Exit::Temporary,
        };
        failure(exit, format!("{trouble:#}"))
    }
}

/// The name that this process was called by, when it is one of ours.
pub fn called_as(argument: Option<&str>) -> Option<&'static str> {
    let name = Path::new(argument?).file_name()?;
    ["sendmail", "mailq", "newaliases"].into_iter().find(|known| name == *known)
}

/// Does what the words say. `data` is what was said before them.
pub fn run(name: &str, words: Vec<String>, data: Option<PathBuf>) -> ExitCode {
    match act(name, words, data) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { exit, sentence }) => {
            // Nobody to tell is no reason for another status.
            let _ = writeln!(io::stderr().lock(), "{name}: {sentence}");
            ExitCode::from(exit as u8)
        }
    }
}

fn act(name: &str, words: Vec<String>, data: Option<PathBuf>) -> Result<(), Failure> {
    let options = options::parse(name, words).map_err(|sentence| failure(Exit::Usage, sentence))?;
    if options.mode == Mode::Nothing {
        return Ok(());
    }
    let named = options.data.clone().or(data).or_else(|| std::env::var_os("POSTRIDER_DATA").map(PathBuf::from));
    let handover = Handover::new(named.unwrap_or_else(|| PathBuf::from(PACKAGED_DATA)))?;
    match &options.mode {
        Mode::Deliver => deliver(&handover, &options),
        Mode::Session => Ok(session::run(&handover)?),
        Mode::Queue => Ok(handover.list()?),
        Mode::Flush => Ok(handover.flush(&wire::Retry::default())?),
        Mode::FlushHost(host) => Ok(handover.flush(&wire::Retry { host: Some(host.clone()), ..wire::Retry::default() })?),
        Mode::FlushMessage(id) => Ok(handover.flush(&wire::Retry { message: Some(id.clone()), ..wire::Retry::default() })?),
        Mode::Nothing => Ok(()),
    }
}

fn deliver(handover: &Handover, options: &Options) -> Result<(), Failure> {
    let input = BufReader::new(io::stdin().lock());
    let content = content::read(input, options.dot_ends, MESSAGE_OCTETS_MAX)
        .map_err(|trouble| failure(Exit::Data, format!("cannot read the message: {trouble}")))?;
    let mut to: Vec<String> = options.recipients.iter().flat_map(|word| mailboxes(word.as_bytes())).collect();
    if options.from_header {
        to.extend(content::recipients(&content));
    }
    if to.is_empty() {
        let sentence = match options.from_header {
            true => "no recipients in the header",
            false => "recipients must be named on the command line, or in the header with -t",
        };
        return Err(failure(Exit::Usage, sentence));
    }
    let about = handover.about()?;
    let whole = |text: &str| {
        let mailbox = qualified(text, &about.host_name);
        match Mailbox::parse(&mailbox) {
            Ok(_) => Ok(mailbox),
            Err(trouble) => Err(failure(Exit::Data, format!("{text:?} is not a mailbox such as you@example.com: {trouble}"))),
        }
    };
    let mut recipients = Vec::with_capacity(to.len());
    for mailbox in &to {
        let mailbox = whole(mailbox)?;
        if !recipients.contains(&mailbox) {
            recipients.push(mailbox);
        }
    }
    let from = match &options.sender {
        Some(text) => mailboxes(text.as_bytes()).first().map(|mailbox| whole(mailbox)).transpose()?.unwrap_or_default(),
        None => whole(&user_name())?,
    };
    let author = options.full_name.as_deref().filter(|name| !name.trim().is_empty() && !from.is_empty());
    let author = author.map(|full_name| Author { mailbox: &from, full_name });
    let content = content::cleaned(&content, author.as_ref());
    let Options { notify, ret, envid, .. } = options.clone();
    let envelope = wire::Submission { from, to: recipients, notify, ret, envid, ..wire::Submission::default() };
    handover.submit(&envelope, &content)?;
    Ok(())
}

/// A local name gets the relay's own domain.
fn qualified(text: &str, host_name: &str) -> String {
    match text.rsplit_once('@') {
        // A quoted local part may hold the sign and still lack a domain.
        Some((_, domain)) if !domain.is_empty() && !domain.ends_with('"') => text.to_owned(),
        _ => format!("{}@{host_name}", text.trim_end_matches('@')),
    }
}

/// The user who runs this, as the system knows him; where it does not, as his environment says.
fn user_name() -> String {
    let known = uzers::get_user_by_uid(uzers::get_current_uid()).map(|user| user.name().to_string_lossy().into_owned());
    known.or_else(|| std::env::var("LOGNAME").ok()).unwrap_or_else(|| "postmaster".to_owned())
}

/// The way to the relay, for code that waits in place.
struct Handover {
    data: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Handover {
    fn new(data: PathBuf) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|trouble| failure(Exit::Software, format!("cannot start: {trouble}")))?;
        Ok(Self { data, runtime })
    }

    /// The control socket; for who may not open it, or sees none, the one that is open to all.
    async fn connect(&self) -> anyhow::Result<Client> {
        let refused = match Client::connect(&self.data).await {
            Ok(client) => return Ok(client),
            Err(trouble) if TroubleKind::of(&trouble).is_some() => trouble,
            Err(trouble) => return Err(trouble),
        };
        let public = std::env::var_os("POSTRIDER_SENDMAIL").map_or_else(|| PathBuf::from(PACKAGED_SOCKET), PathBuf::from);
        // When neither answers, the first one's sentence tells more.
        Client::connect_to(&self.data, &public).await.map_err(|_| refused)
    }

    /// What the relay is called, and what it takes.
    fn about(&self) -> anyhow::Result<wire::Intake> {
        self.runtime.block_on(async { self.connect().await?.get("/v1/intake").await })
    }

    /// Hands one message over; its id.
    fn submit(&self, envelope: &wire::Submission, content: &[u8]) -> anyhow::Result<String> {
        let body = encode_submission(envelope, content).context("the envelope cannot be written")?;
        let accepted: wire::Accepted = self.runtime.block_on(async { self.connect().await?.post("/v1/submit", body).await })?;
        Ok(accepted.id)
    }

    fn list(&self) -> anyhow::Result<()> {
        self.runtime.block_on(async { mailq::list(&mut Client::connect(&self.data).await?).await })
    }

    fn flush(&self, which: &wire::Retry) -> anyhow::Result<()> {
        let body = serde_json::to_vec(which)?;
        let path = path_with("/v1/retry", &[]);
        let _: wire::Altered = self.runtime.block_on(async { Client::connect(&self.data).await?.post(&path, body).await })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_names_get_the_relays_domain() {
        for (text, whole) in [("root", "root@relay.x"), ("a@b.example", "a@b.example"), ("\"a@b\"", "\"a@b\"@relay.x"), ("a@", "a@relay.x")]
        {
            assert_eq!(qualified(text, "relay.x"), whole);
        }
    }

    #[test]
    fn names_of_the_program_are_known() {
        for (argument, name) in
            [("/usr/sbin/sendmail", Some("sendmail")), ("mailq", Some("mailq")), ("/usr/bin/postrider", None), ("sendmail2", None)]
        {
            assert_eq!(called_as(Some(argument)), name);
        }
    }
}
