//! `token`: the keys of return paths and links.

use std::path::Path;

use clap::{Args, Subcommand};
use postrider_edge::SystemEntropy;

use crate::data::DataDirectory;
use crate::shown::say;
use crate::tokens;

/// `token`
#[derive(Debug, Clone, Args)]
pub struct TokenArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What to do with the keys.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenCommand {
    /// Make a new key. What the newest one so far has made is still known; what the one before it made is known no more.
    Rotate,
}

/// `token rotate`
pub fn rotate(data: &Path) -> anyhow::Result<()> {
    let directory = DataDirectory::new(data);
    tokens::rotate(&directory.tokens_file(), &SystemEntropy::new())?;
    say("a new key makes the tokens from the next start on; those of the key before it are still known")?;
    if directory.is_taken() {
        say("the relay that runs goes on with the key that it has: restart it when it suits")?;
    }
    Ok(())
}
