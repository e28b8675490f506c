//! The first start: a commented configuration, a certificate, a credential shown once, and how to send a first mail.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use postrider_edge::{SystemClock, SystemEntropy, tls};
use postrider_model::doors::{Clock, Entropy};

use crate::config::{Config, FirstCredential, commented_file, system_host_name};
use crate::data::write_new;
use crate::handing_in::WayIn;
use crate::registry::{hex, sha256};

/// How long a self-signed certificate is valid. Nobody trusts it, so nothing is gained by making it short.
const CERTIFICATE_VALID: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The user of the first credential.
const FIRST_USER: &str = "app";

/// What is told once.
pub struct FirstStart {
    secret: String,
    told: AtomicBool,
}

impl FirstStart {
    /// Shows the secret alone, unless everything was told already.
    pub fn tell_secret(&self, data: &Path) {
        if !self.told.swap(true, Ordering::Relaxed) {
            let secret = &self.secret;
            say(&format!(
                "\nThe configuration in {} holds a first credential; this once it is shown: user {FIRST_USER}, secret {secret}\n\n",
                data.display()
            ));
        }
    }

    /// Tells what was made and how a first mail is sent.
    pub fn tell(&self, data: &Path, submission: Option<SocketAddr>, host_name: &str, capture: bool) {
        if !self.told.swap(true, Ordering::Relaxed) {
            // The line works as it stands where this program was started.
            let program = std::env::args().next().unwrap_or_else(|| "postrider".to_owned());
            say(&text(&self.secret, &program, data, submission, host_name, capture));
        }
    }
}

/// On standard error, whatever the log's form. Nobody to tell is no reason not to run.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Writes the commented configuration with a first credential.
pub fn make_config(file: &Path) -> anyhow::Result<FirstStart> {
    let mut octets = [0; 32];
    SystemEntropy::new().fill(&mut octets);
    let secret = hex(&octets);
    let credential = FirstCredential { user: FIRST_USER.to_owned(), secret_sha256: hex(&sha256(secret.as_bytes())) };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    write_new(file, commented_file(&system_host_name(), workers, Some(&credential)).as_bytes())?;
    Ok(FirstStart { secret, told: AtomicBool::new(false) })
}

/// Makes a self-signed certificate when there is neither certificate nor key.
pub fn make_certificate(config: &Config) -> anyhow::Result<()> {
    let (certificate, key) = (&config.certificate, &config.key);
    match (certificate.exists(), key.exists()) {
        (true, true) => return Ok(()),
        (false, false) => {}
        (true, false) => bail!("there is a certificate ({}) but no key at {}: put the key there", certificate.display(), key.display()),
        (false, true) => bail!("there is a key ({}) but no certificate at {}: put the chain there", key.display(), certificate.display()),
    }
    for directory in [certificate.parent(), key.parent()].into_iter().flatten() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let mut names = vec![config.snapshot.host_name.clone(), "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.dedup();
    let (chain, secret) = tls::generate(&names, SystemClock.now(), CERTIFICATE_VALID).context("cannot make a self-signed certificate")?;
    write_new(key, secret.as_bytes())?;
    write_new(certificate, chain.as_bytes())
}

fn text(secret: &str, program: &str, data: &Path, submission: Option<SocketAddr>, host_name: &str, capture: bool) -> String {
    let data = data.display();
    let mut text = format!(
        "\nFirst start: {data} now holds a commented configuration (postrider.toml), a self-signed certificate, and one credential.\n\n  \
         user    {FIRST_USER}\n  secret  {secret}\n\nThe secret is shown this once; only its SHA-256 is kept.\n\n\
         Send a first mail through the relay (put your own address for you@example.com):\n\n  \
         {program} --data {data} send --to you@example.com\n"
    );
    if let Some(address) = submission {
        let (ip, port) = (address.ip(), address.port());
        let server = if address.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        let from = format!("postmaster@{host_name}");
        let swaks = WayIn { server, port, tls: "starttls" }.swaks(FIRST_USER, secret, &from);
        text.push_str(&format!(
            "\n  {swaks}\n\n  python3 -c \"import smtplib; s = smtplib.SMTP('{ip}', {port}); s.starttls(); s.login('{FIRST_USER}', '{secret}'); \
             s.sendmail('{from}', ['you@example.com'], 'From: {from}\\r\\nTo: you@example.com\\r\\nSubject: A first mail\\r\\n\\r\\nIt works.\\r\\n')\"\n"
        ));
    }
    text.push_str(&match capture {
        true => format!("\nMail is kept, not sent (--capture): `{program} --data {data} capture list` shows it.\n\n"),
        false => format!(
            "\nMail goes to its recipients' mail servers on port 25, which many networks block: `{program} --data {data} check` tries it,\n\
             and `{program} --data {data} serve --capture` keeps each mail and shows it instead.\n\n"
        ),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_start_says_how_to_send() {
        let secret = "5e".repeat(32);
        let address = Some(([127, 0, 0, 1], 2587).into());
        let said = text(&secret, "postrider", Path::new("data"), address, "mx.shop.example", false);
        for part in [
            "secret  5e5e",
            "postrider --data data send --to you@example.com",
            "swaks --server 127.0.0.1 --port 2587 --tls --auth PLAIN --auth-user app --auth-password 5e5e",
            "smtplib.SMTP('127.0.0.1', 2587)",
            "`postrider --data data check` tries it",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
        assert!(text(&secret, "p", Path::new("data"), None, "h", true).contains("capture list"));
    }
}
