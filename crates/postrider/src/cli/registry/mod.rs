//! `tenant`, `stream`, `key`, `limit` and `apply`: the registry in a person's hands. It is written directly, whether a relay runs or not; one that runs is told, and follows
//! before the command ends.

mod apply;
pub mod arguments;
mod keys;
mod limits;
mod streams;
mod tenants;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use postrider_model::TenantName;
use postrider_records::Book;

use super::client::Client;
use crate::config::Config;
use crate::data::DataDirectory;
use crate::handing_in::WayIn;
use crate::registry::open_book;

/// How long a relay may take to look.
const RELAY_TOLD_WITHIN: Duration = Duration::from_secs(2);

/// One of the commands.
pub enum RegistryCommand {
    /// `tenant`
    Tenant(arguments::TenantCommand),
    /// `stream`
    Stream(arguments::StreamCommand),
    /// `key`
    Key(arguments::KeyCommand),
    /// `limit`
    Limit(arguments::LimitCommand),
    /// `apply`
    Apply(arguments::ApplyArguments),
}

/// Does what was asked.
pub async fn run(data: &Path, command: RegistryCommand) -> anyhow::Result<ExitCode> {
    let desk = Desk::open(data).await?;
    let before = desk.book.version().await?;
    let mut status = ExitCode::SUCCESS;
    let done = match command {
        RegistryCommand::Tenant(command) => tenants::run(&desk, command).await,
        RegistryCommand::Stream(command) => streams::run(&desk, command).await,
        RegistryCommand::Key(command) => keys::run(&desk, command).await,
        RegistryCommand::Limit(command) => limits::run(&desk, command).await,
        RegistryCommand::Apply(wanted) => apply::run(&desk, &wanted).await.map(|said| status = said),
    };
    if desk.book.version().await? != before {
        tell_relay(data).await;
    }
    done.map(|()| status)
}

/// A relay that runs on this directory looks at once. One that cannot be told looks by itself within a second.
pub(super) async fn tell_relay(data: &Path) {
    let told = async { Client::connect(data).await?.post::<postrider_http::wire::Reloaded>("/v1/registry/look", "").await };
    let _ = tokio::time::timeout(RELAY_TOLD_WITHIN, told).await;
}

/// The registry, and the configuration it stands below.
pub struct Desk {
    /// The registry.
    pub book: Book,
    /// The configuration file.
    pub config: Config,
    /// Where both stand.
    data: PathBuf,
}

impl Desk {
    /// Opens what the data directory names.
    pub async fn open(data: &Path) -> anyhow::Result<Self> {
        if !data.is_dir() {
            bail!("the data directory {} is not there; `postrider serve` makes it, or name another with --data", data.display());
        }
        let file = DataDirectory::new(data).config_file();
        let config = if file.exists() { Config::load(&file, data)? } else { Config::defaults(data) };
        Ok(Self { book: open_book(&config.registry, data).await?, config, data: data.to_owned() })
    }

    /// Where clients hand mail in: as a relay that runs listens, or else as the configuration says.
    pub async fn ways_in(&self) -> Vec<WayIn> {
        let asked = async { Client::connect(&self.data).await?.get::<postrider_http::wire::Status>("/v1/status").await };
        let running = tokio::time::timeout(RELAY_TOLD_WITHIN, asked).await;
        let listens = running.ok().and_then(Result::ok).map(|status| status.listeners).unwrap_or_default();
        let ways = self.config.listeners.iter().filter_map(|listener| {
            let name = &listener.settings.name;
            let bound = listens.iter().find(|view| *view.name == **name).and_then(|view| view.address.parse().ok());
            WayIn::of(&listener.settings, bound.unwrap_or(listener.address), &self.config.snapshot.host_name)
        });
        // A port that the system chooses is known of a relay that runs alone.
        ways.filter(|way| way.port != 0).collect()
    }

    /// The tenant of this name, or the only one of the registry, or of the file. A tenant of the configuration file gets a place in the registry, for what the file cannot say.
    pub async fn tenant(&self, name: Option<&str>) -> anyhow::Result<TenantName> {
        let known = self.book.tenants().await?;
        let name = match name {
            Some(name) => TenantName::new(name),
            None => {
                let in_registry: Vec<&TenantName> = known.iter().map(|tenant| &tenant.name).collect();
                let in_file = || self.config.tenants.iter().map(|tenant| &tenant.name).collect();
                let names = if in_registry.is_empty() { in_file() } else { in_registry };
                match names.as_slice() {
                    [only] => (*only).clone(),
                    many => {
                        let many: Vec<&str> = many.iter().map(|name| name.as_str()).collect();
                        bail!("whose? Name one with --tenant: {}", many.join(", "));
                    }
                }
            }
        };
        if known.iter().any(|tenant| tenant.name == name) {
            return Ok(name);
        }
        let in_file = self.config.tenants.iter().find(|tenant| tenant.name == name);
        let in_file = in_file.ok_or_else(|| anyhow!("there is no tenant {name}; add it with: postrider tenant add {name}"))?;
        self.book.add_tenant(&name, in_file.own_domains_only).await?;
        Ok(name)
    }
}
