//! Domains that mail is sent from, and the keys that sign for them: `[[domain]]`.

use std::path::Path;
use std::sync::Arc;

use postrider_mail::dkim::SigningKey;
use postrider_model::TenantName;
use postrider_model::doors::Signer;
use postrider_model::policy;
use postrider_smtp::{Domain, Mailbox};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use toml::de::DeValue;

use super::reader::Section;
use super::values::{self, Read};
use super::{Tenant, secret};

/// A domain with keys.
#[derive(Debug, Clone)]
pub struct SendingDomain {
    /// Whose it is; `None`: every tenant may use it.
    pub tenant: Option<TenantName>,
    /// Signs all mail, whatever domain it is from, beside that domain's own signature.
    pub signs_all: bool,
    /// Its name and keys.
    pub signer: Arc<Signer>,
    /// What is sent from it.
    pub sends_as: Arc<policy::SendingDomain>,
    /// Where failures come back, and who has them.
    pub returns: Option<Arc<policy::ReturnPath>>,
}

/// All of them.
pub fn domains(top: &Section<'_>, tenants: &[Tenant], directory: &Path) -> Vec<SendingDomain> {
    let mut domains: Vec<SendingDomain> = Vec::new();
    for section in top.sections("domain") {
        if let Some(read) = domain(&section, tenants, directory) {
            if domains.iter().any(|other| other.signer.domain == read.signer.domain) {
                section.fault("name", format!("{} is named by another domain", read.signer.domain));
            }
            let path = |domain: &SendingDomain| domain.returns.as_ref().map(|returns| returns.domain.to_ascii().to_ascii_lowercase());
            if path(&read).is_some() && domains.iter().any(|other| path(other) == path(&read)) {
                section.fault("return_path", "it is the return path of another domain");
            }
            domains.push(read);
        }
        section.finish();
    }
    domains
}

fn domain(section: &Section<'_>, tenants: &[Tenant], directory: &Path) -> Option<SendingDomain> {
    let name = section.required("name", values::domain);
    let tenant = section.optional("tenant", |value| {
        let name = values::name(value)?;
        let known = tenants.iter().find(|tenant| tenant.name.as_str() == name);
        known.map(|tenant| tenant.name.clone()).ok_or_else(|| format!("there is no [[tenant]] of the name {name:?}"))
    });
    let return_path = section.optional("return_path", values::domain);
    let bounces_to = section.optional("bounces_to", mailbox);
    if bounces_to.is_some() && return_path.is_none() {
        section.fault("bounces_to", "nothing would come there: set return_path, too");
    }
    let signs_all = section.or("signs_all", false, values::flag);
    let keys = section.list("keys", |value| key(value, directory));
    if !section.has("keys") {
        section.fault("keys", "the key is missing");
    }
    let keys = keys?;
    for (nth, (selector, _)) in keys.iter().enumerate() {
        if keys[..nth].iter().any(|(other, _)| other == selector) {
            section.fault("keys", format!("the selector {selector} is there twice"));
        }
    }
    if keys.is_empty() {
        section.fault("keys", "at least one is needed; `postrider dkim new` makes two");
    }
    let name = name?;
    if let Some(return_path) = &return_path
        && !is_below(return_path, &name)
    {
        section.fault(
            "return_path",
            format!("{return_path} is not below {name}: receivers would not count it as {name}'s own (RFC 7489 §3.1.2)"),
        );
    }
    let domain = name.to_ascii().to_ascii_lowercase().into();
    let returns = return_path.clone().map(|domain| Arc::new(policy::ReturnPath { domain, bounces_to }));
    let sends_as = Arc::new(policy::SendingDomain { name, return_path });
    Some(SendingDomain { tenant, signs_all, signer: Arc::new(Signer { domain, keys }), sends_as, returns })
}

fn mailbox(value: &DeValue<'_>) -> Read<Mailbox> {
    let text = values::text(value)?;
    Mailbox::parse(&text).map_err(|_| format!("{text:?} is not an address"))
}

fn is_below(domain: &Domain, above: &Domain) -> bool {
    let (domain, above) = (domain.to_ascii().to_ascii_lowercase(), above.to_ascii().to_ascii_lowercase());
    domain.strip_suffix(&above).is_some_and(|front| front.ends_with('.'))
}

/// `"2026a: dkim/2026a.pem"`
fn key(value: &DeValue<'_>, directory: &Path) -> Read<(Box<str>, SigningKey)> {
    let line = values::text(value)?;
    let wrong = || format!("{line:?} is not a key: write \"SELECTOR: FILE\", such as \"2026a: dkim/2026a.pem\"");
    let (selector, file) = line.split_once(':').ok_or_else(wrong)?;
    let (selector, file) = (selector.trim(), file.trim());
    // A selector is one or more labels in front of ._domainkey (RFC 6376 §3.1).
    let plain = selector.is_ascii() && !selector.contains('_') && Domain::parse(selector).is_ok();
    if !plain || file.is_empty() {
        return Err(wrong());
    }
    let path = directory.join(file);
    let pem = secret::read(&path)?;
    let shown = path.display();
    let read = match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(PrivateKeyDer::Pkcs8(der)) => SigningKey::from_pkcs8(der.secret_pkcs8_der()),
        Ok(PrivateKeyDer::Pkcs1(der)) => SigningKey::from_pkcs1(der.secret_pkcs1_der()),
        Ok(_) => return Err(format!("{shown} holds a key that is neither RSA nor Ed25519")),
        Err(trouble) => return Err(format!("{shown} holds no private key in PEM: {trouble}")),
    };
    Ok((selector.to_ascii_lowercase().into(), read.map_err(|trouble| format!("{shown} {trouble}"))?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use postrider_mail::dkim::Algorithm;

    use super::*;
    use crate::cli::dkim::pem;
    use crate::config::Config;

    fn parse(text: &str, directory: &Path) -> Result<Vec<SendingDomain>, String> {
        let host = crate::config::HostName { name: "mail.example.com".to_owned(), guessed: false };
        Config::parse(text, "x.toml", directory, &host).map(|config| config.domains).map_err(|faults| faults.to_string())
    }

    #[test]
    fn domains_have_keys_in_files_of_their_own() {
        let directory = std::env::temp_dir().join(format!("postrider-domains-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let put = |name: &str, text: &str, mode: u32| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let key = pem(&SigningKey::generate(Algorithm::Ed25519Sha256).unwrap());
        put("e.pem", &key, 0o600);
        put("open.pem", &key, 0o644);
        put("no.pem", "nonsense", 0o600);
        let with =
            |more: &str| parse(&format!("[[tenant]]\nname = \"shop\"\n[[tenant.stream]]\nname = \"news\"\n[[domain]]\n{more}"), &directory);
        let read = with("name = \"B\u{fc}cher.example\"\ntenant = \"shop\"\nkeys = [\"S1: e.pem\", \"s2.mail: e.pem\"]").unwrap();
        assert_eq!(&*read[0].signer.domain, "xn--bcher-kva.example");
        assert_eq!((read[0].tenant.as_ref().map(|name| name.as_str()), read[0].signs_all), (Some("shop"), false));
        assert_eq!(read[0].signer.keys.iter().map(|(selector, _)| &**selector).collect::<Vec<_>>(), ["s1", "s2.mail"]);
        for (more, said) in [
            ("name = \"a.example\"\nkeys = [\"e.pem\"]", "is not a key: write"),
            ("name = \"a.example\"\nkeys = [\"a b: e.pem\"]", "is not a key"),
            ("name = \"a.example\"\nkeys = [\"a: gone.pem\"]", "gone.pem: No such file"),
            ("name = \"a.example\"\nkeys = [\"a: open.pem\"]", "chmod 600"),
            ("name = \"a.example\"\nkeys = [\"a: no.pem\"]", "holds no private key"),
            ("name = \"a.example\"\nkeys = []", "at least one is needed"),
            ("name = \"a.example\"\nkeys = [\"a: e.pem\", \"A: e.pem\"]", "there twice"),
            ("name = \"a.example\"\ntenant = \"bank\"\nkeys = [\"a: e.pem\"]", "no [[tenant]] of the name \"bank\""),
            ("name = \"a.example\"\nkeys = [\"a: e.pem\"]\n[[domain]]\nname = \"A.example\"\nkeys = [\"a: e.pem\"]", "another domain"),
        ] {
            let faults = with(more).unwrap_err();
            assert!(faults.contains(said), "{more}: {faults}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
