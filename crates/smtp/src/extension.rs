//! The answer to EHLO: what a server offers (RFC 5321 §4.1.1.1 and the extensions' own RFCs).
//!
//! **Promises.** [`Extensions`] is what we offer, [`Hello`] what a peer offered. An unknown keyword is passed over; a malformed one counts as not
//! offered, so that a broken answer never makes us send more than was promised.

use crate::reply::Reply;
use crate::sasl::Mechanisms;

/// Extensions a server of ours offers. STARTTLS and AUTH depend on the session's state and are the machine's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870.
    pub size: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 3030 §3: offered with CHUNKING. A promise of whoever has to pass such content on.
    pub binary_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3030 §2.
    pub chunking: bool,
    /// RFC 2034. Replies carry their status in any case.
    pub enhanced_status_codes: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 2852, without a shortest time.
    pub deliver_by: bool,
    /// RFC 4865: offered, with the longest hold in seconds. Its latest date is the driver's to tell: [`crate::server::Server::set_clock`].
    pub hold_seconds_max: Option<u32>,
    /// RFC 6710, without a profile.
    pub priority: bool,
    /// RFC 9422: the recipients of one transaction are told beforehand.
    pub limits: bool,
}

impl Default for Extensions {
    /// What every listener offers. BINARYMIME, DSN, DELIVERBY, FUTURERELEASE and MT-PRIORITY are promises of whoever keeps the mail, so the driver offers them.
    fn default() -> Extensions {
        Extensions {
            pipelining: true,
            size: true,
            eight_bit_mime: true,
            binary_mime: false,
            smtputf8: true,
            chunking: true,
            enhanced_status_codes: true,
            dsn: false,
            deliver_by: false,
            hold_seconds_max: None,
            priority: false,
            limits: true,
        }
    }
}

/// What the answer to EHLO depends on besides what is offered.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The largest content.
    pub message_bytes_max: u64,
    /// The most recipients of one transaction.
    pub recipients_max: usize,
    /// STARTTLS is possible now.
    pub starttls: bool,
    /// AUTH is possible now, by these.
    pub mechanisms: Mechanisms,
    /// Now, in seconds since 1970-01-01T00:00:00Z, when the driver said so.
    pub now_seconds: u64,
}

impl Extensions {
    /// The lines of an EHLO reply behind the name.
    pub fn keywords(&self, said: &Offer) -> Vec<String> {
        let (starttls, mechanisms) = (said.starttls, said.mechanisms);
        let mut lines = Vec::with_capacity(16);
        let hold =
            self.hold_seconds_max.map(|seconds| format!("FUTURERELEASE {seconds} {}", date_time(said.now_seconds + u64::from(seconds))));
        let mut offer = |offered: bool, keyword: &str| {
            if offered {
                lines.push(keyword.to_owned());
            }
        };
        offer(self.pipelining, "PIPELINING");
        offer(self.size, &format!("SIZE {}", said.message_bytes_max));
        offer(starttls, "STARTTLS");
        offer(!mechanisms.is_empty(), &format!("AUTH{mechanisms}"));
        offer(self.enhanced_status_codes, "ENHANCEDSTATUSCODES");
        offer(self.eight_bit_mime, "8BITMIME");
        offer(self.binary_mime && self.chunking, "BINARYMIME");
        offer(self.dsn, "DSN");
        offer(self.smtputf8, "SMTPUTF8");
        offer(self.chunking, "CHUNKING");
        offer(self.deliver_by, "DELIVERBY");
        offer(self.priority, "MT-PRIORITY");
        offer(hold.is_some(), hold.as_deref().unwrap_or_default());
        offer(self.limits, &format!("LIMITS RCPTMAX={}", said.recipients_max));
        lines
    }
}

/// `2026-11-23T20:37:00Z` (RFC 3339 §5.6), from seconds since 1970; the end of the year 9999 is the end of time.
fn date_time(unix_seconds: u64) -> String {
    let seconds = i64::try_from(unix_seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    seconds.unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// What a peer said in answer to EHLO, or that it knows HELO only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// How the server calls itself: the first word of its answer, clean, perhaps empty.
    pub name: String,
    /// EHLO was answered; else HELO was.
    pub esmtp: bool,
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870: offered, with the limit in octets; 0 means offered without a fixed limit. See [`Hello::message_bytes_max`].
    pub size: Option<u64>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 3030 §3.
    pub binary_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3030 §2.
    pub chunking: bool,
    /// RFC 2034.
    pub enhanced_status_codes: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 4954: the mechanisms that we speak, too.
    pub auth: Mechanisms,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 2852: offered, with the shortest time in seconds that is taken.
    pub deliver_by: Option<u32>,
    /// RFC 6710.
    pub priority: bool,
    /// RFC 8689.
    pub require_tls: bool,
    /// RFC 9422: transactions in one session.
    pub limit_mails: Option<u32>,
    /// RFC 9422: recipients in one transaction.
    pub limit_recipients: Option<u32>,
}

impl Hello {
    /// Reads the reply to EHLO (`esmtp`) or HELO.
    pub fn parse(reply: &Reply, esmtp: bool) -> Hello {
        let mut lines = reply.lines().iter();
        let name = lines.next().and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
        let mut hello = Hello { name, esmtp, ..Hello::default() };
        if esmtp {
            lines.for_each(|line| hello.take(line));
        }
        hello
    }

    /// The largest message the server says it takes, in octets, if it says so.
    pub fn message_bytes_max(&self) -> Option<u64> {
        self.size.filter(|size| *size > 0)
    }

    fn take(&mut self, line: &str) {
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let Some(keyword) = words.next() else { return };
        let keyword = keyword.to_ascii_uppercase();
        match keyword.as_str() {
            "PIPELINING" => self.pipelining = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "BINARYMIME" => self.binary_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "CHUNKING" => self.chunking = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "STARTTLS" => self.starttls = true,
            "DSN" => self.dsn = true,
            "REQUIRETLS" => self.require_tls = true,
            "DELIVERBY" => self.deliver_by = words.next().map_or(Some(0), |shortest| shortest.parse().ok()),
            "MT-PRIORITY" => self.priority = true,
            "SIZE" => self.size = words.next().map_or(Some(0), |limit| limit.parse().ok()),
            "AUTH" => words.for_each(|mechanism| self.auth.add(mechanism)),
            "LIMITS" => words.for_each(|limit| self.limit(limit)),
            // The form of servers older than RFC 2554, still seen.
            _ => {
                if let Some(first) = keyword.strip_prefix("AUTH=") {
                    self.auth.add(first);
                    words.for_each(|mechanism| self.auth.add(mechanism));
                }
            }
        }
    }

    fn limit(&mut self, limit: &str) {
        match limit.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("MAILMAX") => self.limit_mails = value.parse().ok(),
            Some((name, value)) if name.eq_ignore_ascii_case("RCPTMAX") => self.limit_recipients = value.parse().ok(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_offer_a_client_understands() {
        let offered = Extensions { dsn: true, deliver_by: true, priority: true, hold_seconds_max: Some(86_400), ..Extensions::default() };
        let now_seconds = 1_795_466_220;
        let said = Offer { message_bytes_max: 1000, recipients_max: 100, starttls: true, mechanisms: Mechanisms::SERVED, now_seconds };
        let keywords = offered.keywords(&said);
        assert!(keywords.contains(&"FUTURERELEASE 86400 2026-11-24T20:37:00Z".to_owned()), "{keywords:?}");
        let text = format!("mx.example\n{}", keywords.join("\n"));
        let hello = Hello::parse(&Reply::new(250, None, text), true);
        let expected = Hello {
            name: "mx.example".into(),
            esmtp: true,
            pipelining: true,
            size: Some(1000),
            eight_bit_mime: true,
            smtputf8: true,
            chunking: true,
            enhanced_status_codes: true,
            starttls: true,
            auth: Mechanisms::SERVED,
            dsn: true,
            deliver_by: Some(0),
            priority: true,
            limit_recipients: Some(100),
            ..Hello::default()
        };
        assert_eq!(hello, expected);
    }

    #[test]
    fn what_others_say() {
        let parse = |text: &str| Hello::parse(&Reply::new(250, None, format!("mx hello\n{text}")), true);
        assert_eq!(parse("size").size, Some(0));
        assert_eq!(parse("SIZE 0").message_bytes_max(), None);
        assert_eq!(parse("SIZE 18446744073709551616").size, None);
        assert_eq!(parse("SIZE -1").size, None);
        assert_eq!(parse("AUTH=LOGIN plain CRAM-MD5").auth, Mechanisms { cram_md5: true, ..Mechanisms::SERVED });
        assert_eq!(parse("auth XOAUTH2").auth, Mechanisms::default());
        assert_eq!(parse("LIMITS MAILMAX=20 rcptmax=10 X=y").limit_recipients, Some(10));
        assert!(!parse("PIPELININGX").pipelining);
        assert_eq!(Hello::parse(&Reply::new(250, None, "mx\nPIPELINING"), false), Hello { name: "mx".into(), ..Hello::default() });
    }
}
