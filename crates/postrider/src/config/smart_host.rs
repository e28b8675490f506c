//! `[[smart_host]]`: servers that hand our mail on, and what we prove ourselves with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use postrider_model::policy::{AuthInClear, QuotaLimits, SmartHost, TlsLevel};
use postrider_smtp::sasl::Credentials;

use super::reader::Section;
use super::{routing, secret, values};

/// Connections to one smart host at once, unless the file says otherwise: such accounts are small.
pub const CONNECTIONS_DEFAULT: u32 = 5;

/// All of them, by their names. Relative paths start at `directory`.
pub fn all(top: &Section<'_>, directory: &Path) -> BTreeMap<String, Arc<SmartHost>> {
    let mut hosts = BTreeMap::new();
    for section in top.sections("smart_host") {
        if let Some(host) = smart_host(&section, directory) {
            let name = host.name.clone();
            if hosts.insert(name.clone(), Arc::new(host)).is_some() {
                section.fault("name", format!("{name} is taken by another smart host"));
            }
            if name == "mx" || name == "reject" {
                section.fault("name", format!("{name} has a meaning of its own in a route"));
            }
        }
        section.finish();
    }
    hosts
}

fn smart_host(section: &Section<'_>, directory: &Path) -> Option<SmartHost> {
    let name = section.required("name", values::name);
    let host = section.required("host", routing::remote);
    let (tls, tls13_only) = routing::tls(section, TlsLevel::Verified);
    let port = section.or("port", if tls == TlsLevel::Implicit { 465 } else { 587 }, |v| values::number(v, 1..=65_535));
    let count = |key| section.optional(key, |v| values::number::<u32>(v, 1..=1_000_000_000));
    let quota = QuotaLimits { per_second: count("per_second"), per_hour: count("per_hour"), per_day: count("per_day") };
    let connections_max = section.or("connections", CONNECTIONS_DEFAULT, |v| values::number(v, 1..=10_000));
    let credentials = credentials(section, directory);
    let words = [("never", AuthInClear::Never), ("cram-md5", AuthInClear::WithoutPassword), ("password", AuthInClear::WithPassword)];
    let auth_in_clear = section.or("auth_in_clear", AuthInClear::Never, |v| values::one_of(v, &words));
    let in_clear = matches!(tls, TlsLevel::None | TlsLevel::Opportunistic);
    if credentials.is_some() && in_clear && auth_in_clear == AuthInClear::Never {
        section.fault(
            "tls",
            "would let the password pass without TLS; use \"verify\", \"implicit\" or \"require\", or say in auth_in_clear what may pass",
        );
    }
    if !in_clear && auth_in_clear != AuthInClear::Never {
        section.fault(
            "auth_in_clear",
            "means something only where a session may be in the clear: tls is neither \"opportunistic\" nor \"none\"",
        );
    }
    Some(SmartHost { name: name?, host: host?, port, tls, tls13_only, credentials, auth_in_clear, quota, connections_max })
}

fn credentials(section: &Section<'_>, directory: &Path) -> Option<Credentials> {
    let user = section.optional("user", values::text);
    let password = section.optional("password", values::text);
    let file = section.optional("password_file", values::text);
    if password.is_some() && file.is_some() {
        section.fault("password_file", "password and password_file exclude each other");
        return None;
    }
    if user.is_some() != (section.has("password") || section.has("password_file")) {
        section.fault("user", "a user needs a password or a password_file, and they need a user");
        return None;
    }
    let password = match (password, file) {
        (Some(password), _) => password.into_bytes(),
        (None, Some(file)) => match secret::read(&directory.join(file)) {
            Ok(password) => password,
            Err(sentence) => {
                section.fault("password_file", sentence);
                return None;
            }
        },
        (None, None) => return None,
    };
    Some(Credentials { authzid: String::new(), authcid: user?, password })
}
