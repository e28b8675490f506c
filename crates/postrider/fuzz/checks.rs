//! What must hold of the configuration for any text. The fuzz target and the replay of its corpus (`src/config/tests.rs`) call this.

use std::path::Path;

use postrider_model::policy::ProviderMatch;

use crate::config::{Config, HostName};

/// Any text is a valid configuration, whose parts agree with each other, or has faults that can be printed.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let host = HostName { name: "mx.shop.example".to_owned(), guessed: false };
    match Config::parse(text, "postrider.toml", Path::new("/data"), &host) {
        Ok(config) => {
            assert!(!config.listeners.is_empty() && !config.tenants.is_empty());
            assert!(config.tenants.iter().all(|tenant| !tenant.streams.is_empty()));
            for credential in &config.credentials {
                let tenant = config.tenants.iter().find(|tenant| tenant.name == credential.tenant).expect("a credential's tenant is there");
                assert!(tenant.streams.iter().any(|(stream, _)| *stream == credential.stream), "{credential:?}");
            }
            assert_eq!(config.snapshot.providers.last().map(|provider| &provider.matches), Some(&ProviderMatch::All));
        }
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
}
