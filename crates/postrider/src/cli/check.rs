//! `check`: all that is wrong in the configuration, and whether mail can leave.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use postrider_edge::SystemClock;
use postrider_edge::tls::Certified;
use postrider_model::doors::Clock as _;
use postrider_model::policy::{MilterServer, ProviderMatch, Remote, Target};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};

use super::arguments::CheckArguments;
use super::domain;
use crate::config::{Config, provider_in_toml};
use crate::data::DataDirectory;
use crate::publishing;
use crate::registry::open_book;
use crate::serve::certificate::ends_soon;
use crate::shown::{Clean, say};

/// How long the probe may take, for each address, and for the greeting.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Streams with a missing pool that are told.
const MISSING_TOLD_MAX: usize = 100;

/// The exit status when only port 25 is blocked.
const BLOCKED: u8 = 3;

/// `check`
pub fn run(data: &Path, arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    if arguments.reference {
        say(crate::config::reference().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let directory = DataDirectory::new(data);
    let file = arguments.config.clone().unwrap_or_else(|| directory.config_file());
    let config = if !file.exists() && arguments.config.is_none() {
        say(format_args!("configuration  none yet: the first `postrider serve` makes {}; checking the defaults", file.display()))?;
        Config::defaults(data)
    } else {
        match Config::load(&file, data) {
            Ok(config) => config,
            Err(trouble) => {
                say(trouble)?;
                return Ok(ExitCode::FAILURE);
            }
        }
    };
    if arguments.providers {
        let built = config.snapshot.providers.iter().filter(|provider| !matches!(provider.matches, ProviderMatch::Site(_)));
        for provider in built {
            say(format_args!("{}\n", provider_in_toml(provider)))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut sound = tell(&config, &file)?;
    for fault in super::surroundings::faults(&config, &directory, arguments.offline) {
        say(format_args!("WRONG          {fault}"))?;
        sound = false;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for fault in runtime.block_on(missing_pools(&config, data, arguments.offline)) {
        say(format_args!("WRONG          {fault}"))?;
        sound = false;
    }
    if !sound {
        return Ok(ExitCode::FAILURE);
    }
    if arguments.offline {
        return Ok(ExitCode::SUCCESS);
    }
    for milter in &config.snapshot.checking.milters {
        // No fault of the configuration: it may be started later.
        match runtime.block_on(reach(&milter.server)) {
            Ok(()) => say(format_args!("milter         {}: {} listens", milter.name, milter.server))?,
            Err(why) => say(format_args!(
                "warning        milter {}: {} cannot be reached ({why}); see whether it runs",
                milter.name, milter.server
            ))?,
        }
    }
    runtime.block_on(names(&config))?;
    let open = runtime.block_on(probe(&config.probe));
    match open {
        Ok(said) => say(format_args!("port 25        open: {said}"))?,
        Err(why) => {
            say(blocked(&config.probe, &why))?;
            return Ok(ExitCode::from(BLOCKED));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Streams of the registry that name a pool which the configuration has not: their mail would wait. A registry that is not there yet has none.
async fn missing_pools(config: &Config, data: &Path, offline: bool) -> Vec<String> {
    let is_there = match &config.registry.postgresql {
        Some(_) => !offline,
        None => data.join(&config.registry.file).exists(),
    };
    if !is_there {
        return Vec::new();
    }
    let pooled = match open_book(&config.registry, data).await {
        Ok(book) => book.pooled().await.map_err(anyhow::Error::from),
        Err(trouble) => Err(trouble),
    };
    let pooled = match pooled {
        Ok(pooled) => pooled,
        Err(trouble) => return vec![format!("{trouble:#}")],
    };
    let missing = pooled.into_iter().filter(|(_, _, pool)| !config.snapshot.routing.pools.contains_key(&**pool));
    let told = missing.map(|(tenant, stream, pool)| {
        format!(
            "the stream {stream} of {tenant} is sent by the pool {pool}, which is not in the configuration: its mail would wait. Add a [[pool]] of this name, \
             or name another: postrider stream set {tenant} {stream} --pool NAME"
        )
    });
    told.take(MISSING_TOLD_MAX).collect()
}

/// What the configuration amounts to. Whether all of it can work.
fn tell(config: &Config, file: &Path) -> anyhow::Result<bool> {
    let (listeners, tenants, credentials) = (config.listeners.len(), config.tenants.len(), config.credentials.len());
    say(format_args!("configuration  {}: {listeners} listeners, {tenants} tenants, {credentials} credentials", file.display()))?;
    say(format_args!("host name      {}", config.snapshot.host_name))?;
    for note in &config.notes {
        say(format_args!("note           {note}"))?;
    }
    if config.credentials.is_empty() {
        say("note           there is no [[credential]], so nobody can submit by SMTP")?;
    }
    for listener in &config.listeners {
        say(format_args!("listener       {}", crate::serve::listener_line(listener, listener.address, config)))?;
    }
    routes(config)?;
    if !config.certificate.exists() && !config.key.exists() {
        say(format_args!("certificate    none yet: `serve` makes a self-signed one at {}", config.certificate.display()))?;
        return Ok(true);
    }
    let certified = Certified::from_files(&config.certificate, &config.key);
    let ends = certified.as_ref().ok().and_then(Certified::ends_at);
    match certified.and_then(postrider_edge::ServerTls::new) {
        Ok(_) => {
            let until = ends.map(|ends| format!(", until {ends}")).unwrap_or_default();
            say(format_args!("certificate    {}{until}", config.certificate.display()))?;
            if let Some(said) = ends_soon(&config.certificate, ends, SystemClock.now()) {
                say(format_args!("note           {said}"))?;
            }
        }
        Err(trouble) => {
            say(format_args!("certificate    WRONG: {trouble}"))?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where mail goes that does not go to the exchangers of its domain.
fn routes(config: &Config) -> anyhow::Result<()> {
    let routing = &config.snapshot.routing;
    for domain in routing.local.values() {
        let site = domain.target.site().map(|site| site.to_string()).unwrap_or_default();
        let (mailboxes, aliases) = (domain.mailboxes.len(), domain.aliases.len());
        say(format_args!("local domain   {}: {mailboxes} mailboxes, {aliases} aliases, to {site}", domain.name))?;
    }
    for rule in &routing.rules {
        let to = match &rule.target {
            Target::Mx => "the mail exchangers of the domain".to_owned(),
            Target::Reject(_) => "nowhere, refused".to_owned(),
            other => other.site().map(|site| site.to_string()).unwrap_or_default(),
        };
        say(format_args!("route          {}: to {to}", rule.name))?;
    }
    Ok(())
}

/// The names of the Sources in the DNS. No fault of the configuration: others have to set them.
async fn names(config: &Config) -> anyhow::Result<()> {
    let resolver = match domain::resolver(config) {
        Ok(resolver) => resolver,
        Err(why) => return Ok(say(format_args!("warning        {why:#}"))?),
    };
    for finding in domain::names_of(&resolver, &publishing::faces(&config.snapshot), PROBE_TIMEOUT).await {
        let source = finding.what.word().replace("source:", "Source ");
        let said = finding.said.join("; ");
        match &finding.remedy {
            Some(remedy) => say(format_args!("warning        {source}: {said}; {remedy}"))?,
            None => say(format_args!("names          {source}: {said}"))?,
        }
    }
    Ok(())
}

/// Dials a milter, and hangs up.
async fn reach(server: &MilterServer) -> Result<(), String> {
    let dialled = async {
        match server {
            MilterServer::Unix(path) => UnixStream::connect(path).await.map(drop),
            MilterServer::Tcp(Remote::Address(address), port) => TcpStream::connect((*address, *port)).await.map(drop),
            MilterServer::Tcp(Remote::Name(name), port) => TcpStream::connect((name.as_str(), *port)).await.map(drop),
        }
    };
    match tokio::time::timeout(PROBE_TIMEOUT, dialled).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(trouble)) => Err(trouble.to_string()),
        Err(_) => Err(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
    }
}

/// Dials as a delivery would, and waits for a greeting.
async fn probe(target: &str) -> Result<String, String> {
    let looked_up = tokio::time::timeout(PROBE_TIMEOUT, tokio::net::lookup_host(target)).await;
    let addresses: Vec<_> = match looked_up {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(trouble)) => return Err(format!("{target} cannot be looked up: {trouble}")),
        Err(_) => return Err(format!("{target} cannot be looked up: no answer within {} s", PROBE_TIMEOUT.as_secs())),
    };
    let mut why = format!("{target} has no address");
    for address in addresses {
        match tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return greeting(stream).await.map(|said| format!("{target} ({address}) said {said:?}")),
            Ok(Err(trouble)) => why = format!("{target} ({address}): {trouble}"),
            Err(_) => why = format!("{target} ({address}): no answer within {} s", PROBE_TIMEOUT.as_secs()),
        }
    }
    Err(why)
}

/// A connection alone proves little: some networks take it and answer nothing, or answer themselves.
async fn greeting(mut stream: TcpStream) -> Result<String, String> {
    let mut octets = [0; 512];
    match tokio::time::timeout(PROBE_TIMEOUT, stream.read(&mut octets)).await {
        Ok(Ok(0)) => Err("the connection was taken and closed at once".to_owned()),
        Ok(Ok(count)) => {
            let text = String::from_utf8_lossy(&octets[..count]);
            let line = Clean(text.lines().next().unwrap_or_default()).to_string();
            if line.starts_with("220") { Ok(line) } else { Err(format!("the connection was taken, and answered {line:?}")) }
        }
        Ok(Err(trouble)) => Err(format!("the connection was taken and broke: {trouble}")),
        Err(_) => Err("the connection was taken, and nothing was said".to_owned()),
    }
}

fn blocked(target: &str, why: &str) -> String {
    format!(
        "port 25        BLOCKED outward: {why}
  Mail servers take mail on port 25, and most hosting companies and home networks block it. What helps:
  - ask your provider to open port 25 outward (many do for a server, once asked; home lines rarely), or
  - send through an account elsewhere that takes mail on port 587 or 465 ([[smart_host]] in the configuration; docs/routing.md), or
  - run the relay on a machine where it is open, or
  - try everything out without it: `postrider serve --capture` keeps each mail, and `postrider capture list` shows it.
  What is dialled is check.probe in the configuration, now {target}."
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::probe;

    #[tokio::test]
    async fn a_probe_wants_a_greeting() {
        for (said, expected) in [
            ("220 mx.example ESMTP\r\n", Ok("220 mx.example ESMTP")),
            ("554 no\r\n", Err("the connection was taken, and answered \"554 no\"")),
            ("", Err("the connection was taken and closed at once")),
            ("220 \u{1b}[2Jx\r\n", Ok("220 \\\\u{1b}[2Jx")),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(said.as_bytes()).await.unwrap();
            };
            let (found, ()) = tokio::join!(probe(&address), server);
            match expected {
                Ok(part) => assert!(found.as_ref().is_ok_and(|found| found.contains(part)), "{found:?}"),
                Err(why) => assert_eq!(found, Err(why.to_owned())),
            }
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        assert!(probe(&free).await.unwrap_err().contains("refused"));
    }
}
