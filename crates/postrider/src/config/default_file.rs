//! The commented file that the first start writes.

use std::fmt::Write;

use super::HostName;

/// The credential of the first start.
#[derive(Debug, Clone)]
pub struct FirstCredential {
    /// The user name.
    pub user: String,
    /// SHA-256 of the secret, in hexadecimal digits.
    pub secret_sha256: String,
}

const TEMPLATE: &str = include_str!("commented.toml");

/// The file's text.
pub fn commented_file(host_name: &HostName, workers: usize, credential: Option<&FirstCredential>) -> String {
    let mut block = String::new();
    if let Some(credential) = credential {
        let _ = writeln!(block, "[[credential]]\nuser = \"{}\"\nsecret_sha256 = \"{}\"", credential.user, credential.secret_sha256);
        block.push_str("tenant = \"default\"\nstream = \"default\"\n");
    }
    TEMPLATE.replace("{host_name}", &host_name.name).replace("{workers}", &workers.to_string()).replace("{credential}", &block)
}
