//! Who may send, from the configuration file.
//!
//! **Promises.** A secret is 256 random bits, so its SHA-256 is enough to keep; it is compared in constant time. An unknown user takes the same
//! way, with a digest that no secret has, so that the time tells nothing about who exists. A credential with networks holds from there alone; one with
//! networks and without a secret is everybody there. A reload replaces all of it at once.
//!
//! **Never** counts failures: who guesses is made to wait by `core::lockout`, over whatever registry there is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use ipnet::IpNet;
use postrider_model::doors::{Principal, Secret, ShownCertificate, Signer};
use postrider_model::policy::{ReturnPath, Stream, Voice};
use postrider_model::{StreamName, TenantName};
use postrider_records::number_of_pools;
use postrider_smtp::Domain;

use crate::config::{Credential, SendingDomain, Tenant};

/// Credentials by the digest of their user, so that the search itself is blind to how near a guessed name comes.
type Table = BTreeMap<[u8; 32], Entry>;

struct Entry {
    secret_sha256: [u8; 32],
    /// Empty: from anywhere.
    networks: Vec<IpNet>,
    principal: Principal,
}

/// Who has a certificate.
struct Bearer {
    /// Empty: from anywhere.
    networks: Vec<IpNet>,
    /// AUTH is not needed.
    suffices: bool,
    principal: Principal,
}

/// All credentials.
struct Known {
    by_user: Table,
    /// Who is known by address, narrow networks first.
    by_network: Vec<(IpNet, Principal)>,
    /// Who is known by a certificate or its key, by their fingerprints.
    by_fingerprint: BTreeMap<[u8; 32], Bearer>,
    /// Who signs, by name.
    domains: BTreeMap<Box<str>, SendingDomain>,
    /// All principals, by the names of their credentials.
    by_name: BTreeMap<Box<str>, Principal>,
    tenants: BTreeSet<TenantName>,
    /// Tenants that speak for their own domains alone.
    bound: BTreeSet<TenantName>,
    streams: BTreeMap<(TenantName, StreamName), Arc<Stream>>,
    /// A number for the pools that they name.
    pools: u64,
    /// Where failures come back, by name.
    return_paths: BTreeMap<Box<str>, Arc<ReturnPath>>,
}

/// The registry of one configuration, until the next.
pub struct ConfigRegistry {
    known: ArcSwap<Known>,
}

impl ConfigRegistry {
    /// A registry of these tenants, credentials and domains.
    pub fn new(tenants: &[Tenant], credentials: &[Credential], domains: &[SendingDomain]) -> Self {
        Self { known: ArcSwap::from_pointee(known(tenants, credentials, domains)) }
    }

    /// Others hold from now on.
    pub fn replace(&self, tenants: &[Tenant], credentials: &[Credential], domains: &[SendingDomain]) {
        self.known.store(Arc::new(known(tenants, credentials, domains)));
    }

    /// The domain itself, or the closest above it that this tenant may use.
    pub fn signer(&self, tenant: &TenantName, from: &Domain) -> Option<Arc<Signer>> {
        let known = self.known.load();
        let name = from.to_ascii().to_ascii_lowercase();
        let mut signing = above(&name).filter_map(|name| known.domains.get(name));
        signing.find(|domain| is_of(domain, tenant)).map(|domain| domain.signer.clone())
    }

    /// Who signs all mail, beside the author's domain.
    pub fn signers_for_all(&self) -> Vec<Arc<Signer>> {
        let known = self.known.load();
        known.domains.values().filter(|domain| domain.signs_all).map(|domain| domain.signer.clone()).collect()
    }

    /// Whether any domain signs.
    pub fn signs(&self) -> bool {
        !self.known.load().domains.is_empty()
    }

    /// Whether any of its streams keeps its mail when it is done.
    pub fn retains(&self) -> bool {
        self.known.load().streams.values().any(|stream| stream.retention.is_some())
    }

    /// A number for the pools that its streams name; zero for none.
    pub fn pools(&self) -> u64 {
        self.known.load().pools
    }

    /// Whether the file names this tenant.
    pub fn names(&self, tenant: &TenantName) -> bool {
        self.known.load().tenants.contains(tenant)
    }

    /// What the file says of a stream.
    pub fn stream(&self, tenant: &TenantName, stream: &StreamName) -> Option<Arc<Stream>> {
        self.known.load().streams.get(&(tenant.clone(), stream.clone())).cloned()
    }

    /// What holds now for a credential of this name; `None` when the file has none.
    pub fn renew(&self, user: &str) -> Option<Principal> {
        self.known.load().by_name.get(user).cloned()
    }

    /// Whose return path a domain is, as far as the file says.
    pub fn return_path(&self, domain: &Domain) -> Option<Arc<ReturnPath>> {
        let known = self.known.load();
        if known.return_paths.is_empty() {
            return None;
        }
        known.return_paths.get(&*domain.to_ascii().to_ascii_lowercase()).cloned()
    }

    /// Whether a tenant may speak for a domain, as far as the file says.
    pub fn voice(&self, tenant: &TenantName, domain: &Domain) -> Voice {
        let known = self.known.load();
        let name = domain.to_ascii().to_ascii_lowercase();
        let own = above(&name).filter_map(|name| known.domains.get(name)).find(|domain| is_of(domain, tenant));
        let own = own.map(|domain| domain.sends_as.clone());
        match (own, known.bound.contains(tenant)) {
            // Whoever writes the file runs the relay: what it says is proof enough.
            (Some(own), true) => Voice::Proven(own),
            (None, true) => Voice::Foreign,
            (own, false) => Voice::Free(own),
        }
    }

    /// Who proves itself so, from there.
    pub fn look(&self, peer: IpAddr, user: &str, secret: &Secret) -> Option<Principal> {
        let known = self.known.load();
        let entry = known.by_user.get(&sha256(user.as_bytes()));
        // No octets have this digest, as far as anybody knows.
        let expected = entry.map_or([0; 32], |entry| entry.secret_sha256);
        let right = same(&sha256(&secret.0), &expected);
        let here = entry.is_some_and(|entry| entry.networks.is_empty() || entry.networks.iter().any(|network| holds(network, peer)));
        entry.filter(|_| right && here).map(|entry| entry.principal.clone())
    }

    /// Who has shown a certificate, and whether that is enough.
    pub fn look_by_certificate(&self, peer: IpAddr, shown: &ShownCertificate) -> Option<(Principal, bool)> {
        let known = self.known.load();
        let bearer = [shown.certificate_sha256, shown.key_sha256].iter().find_map(|fingerprint| known.by_fingerprint.get(fingerprint))?;
        let here = bearer.networks.is_empty() || bearer.networks.iter().any(|network| holds(network, peer));
        here.then(|| (bearer.principal.clone(), bearer.suffices))
    }

    /// Who is known by the address.
    pub fn look_by_network(&self, peer: IpAddr) -> Option<Principal> {
        self.known.load().by_network.iter().find(|(network, _)| holds(network, peer)).map(|(_, principal)| principal.clone())
    }
}

/// Whether a tenant may use a domain: one that has no owner is everybody's.
fn is_of(domain: &SendingDomain, tenant: &TenantName) -> bool {
    domain.tenant.as_ref().is_none_or(|owner| owner == tenant)
}

/// A domain and those above it, the closest first.
fn above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, above)| above))
}

fn known(tenants: &[Tenant], credentials: &[Credential], domains: &[SendingDomain]) -> Known {
    let principal = |credential: &Credential| Principal {
        tenant: credential.tenant.clone(),
        stream: credential.stream.clone(),
        credential: Some(credential.user.clone()),
        priority: credential.priority,
        own_domains_only: tenants.iter().any(|tenant| tenant.name == credential.tenant && tenant.own_domains_only),
        give_up_after: None,
        allowances: None,
    };
    let paths = domains.iter().filter_map(|domain| domain.returns.clone());
    let return_paths = paths.map(|path| (path.domain.to_ascii().to_ascii_lowercase().into(), path)).collect();
    let domains = domains.iter().map(|domain| (domain.signer.domain.clone(), domain.clone())).collect();
    let bound = tenants.iter().filter(|tenant| tenant.own_domains_only).map(|tenant| tenant.name.clone()).collect();
    let streams = |tenant: &Tenant| -> Vec<_> {
        tenant.streams.iter().map(|(name, stream)| ((tenant.name.clone(), name.clone()), stream.clone())).collect()
    };
    let streams: BTreeMap<_, Arc<Stream>> = tenants.iter().flat_map(streams).collect();
    let pooled = streams.iter().filter_map(|((tenant, name), stream)| stream.pool.as_deref().map(|pool| (tenant, name, pool)));
    let pools = number_of_pools(pooled);
    let mut known = Known {
        by_user: BTreeMap::new(),
        by_network: Vec::new(),
        by_fingerprint: BTreeMap::new(),
        by_name: BTreeMap::new(),
        tenants: BTreeSet::new(),
        domains,
        bound,
        streams,
        pools,
        return_paths,
    };
    known.tenants = tenants.iter().map(|tenant| tenant.name.clone()).collect();
    for credential in credentials {
        known.by_name.insert(credential.user.as_str().into(), principal(credential));
        for fingerprint in &credential.certificates {
            let (networks, suffices) = (credential.networks.clone(), credential.certificate_suffices);
            known.by_fingerprint.insert(*fingerprint, Bearer { networks, suffices, principal: principal(credential) });
        }
        match credential.secret_sha256 {
            Some(secret_sha256) => {
                let entry = Entry { secret_sha256, networks: credential.networks.clone(), principal: principal(credential) };
                known.by_user.insert(sha256(credential.user.as_str().as_bytes()), entry);
            }
            // Its networks narrow the certificate.
            None if !credential.certificates.is_empty() => {}
            None => known.by_network.extend(credential.networks.iter().map(|network| (*network, principal(credential)))),
        }
    }
    known.by_network.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
    known
}

/// Whether an address is of a network; an IPv4 address that came over IPv6 counts as IPv4.
fn holds(network: &IpNet, peer: IpAddr) -> bool {
    network.contains(&peer.to_canonical())
}

/// Compares in constant time.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    #[cfg(test)]
    tests::WORK.with_borrow_mut(|work| work.push("compare".to_owned()));
    verify_slices_are_equal(one, other).is_ok()
}

/// SHA-256.
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    #[cfg(test)]
    tests::WORK.with_borrow_mut(|work| work.push(format!("digest of {}", octets.len())));
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, octets).as_ref());
    out
}

/// Hexadecimal digits, in lower case.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use postrider_model::{Priority, policy};

    use super::*;

    thread_local! {
        /// What was computed on this thread.
        pub(super) static WORK: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn credential(user: &str, secret: &str) -> Credential {
        Credential {
            user: user.into(),
            secret_sha256: Some(sha256(secret.as_bytes())),
            networks: Vec::new(),
            certificates: Vec::new(),
            certificate_suffices: false,
            tenant: "shop".into(),
            stream: "receipts".into(),
            priority: Priority::High,
        }
    }

    #[test]
    fn only_the_right_secret_of_a_known_user_is_recognised() {
        let registry = ConfigRegistry::new(&[], &[credential("app", "one"), credential("other", "two")], &[]);
        let look = |user: &str, secret: &str| registry.look(HERE, user, &Secret(secret.as_bytes().to_vec())).map(|p| p.credential.unwrap());
        for (user, secret, known) in [
            ("app", "one", true),
            ("other", "two", true),
            ("app", "two", false),
            ("app", "", false),
            ("nobody", "one", false),
            ("", "", false),
            ("APP", "one", false),
        ] {
            assert_eq!(look(user, secret), known.then(|| user.into()), "{user} {secret}");
        }
        registry.replace(&[], &[credential("app", "three")], &[]);
        assert_eq!((look("app", "one").is_some(), look("app", "three").is_some(), look("other", "two").is_some()), (false, true, false));
    }

    #[test]
    fn networks_narrow_a_secret_or_stand_for_it() {
        let networks = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let narrowed = Credential { networks: networks(&["10.0.0.0/8", "2001:db8::/32"]), ..credential("app", "one") };
        let office = Credential { secret_sha256: None, networks: networks(&["10.0.0.0/8"]), ..credential("office", "") };
        let printer = Credential { secret_sha256: None, networks: networks(&["10.1.0.0/16"]), ..credential("printer", "") };
        let registry = ConfigRegistry::new(&[], &[narrowed, office, printer], &[]);
        for (peer, proven, recognised) in [
            ("10.9.9.9", true, Some("office")),
            ("::ffff:10.9.9.9", true, Some("office")),
            ("10.1.2.3", true, Some("printer")),
            ("2001:db8::7", true, None),
            ("11.0.0.1", false, None),
            ("::1", false, None),
        ] {
            let peer: IpAddr = peer.parse().unwrap();
            assert_eq!(registry.look(peer, "app", &Secret(b"one".to_vec())).is_some(), proven, "{peer}");
            assert!(registry.look(peer, "office", &Secret(Vec::new())).is_none(), "no password stands for a network");
            let name = registry.look_by_network(peer).and_then(|principal| principal.credential);
            assert_eq!(name.as_ref().map(|name| name.as_str()), recognised, "{peer}");
        }
    }

    #[test]
    fn a_certificate_or_its_key_is_known_where_its_credential_holds() {
        let networks = |text: &str| vec![text.parse::<IpNet>().unwrap()];
        let bare = |user: &str| Credential { secret_sha256: None, ..credential(user, "") };
        let anywhere = Credential { certificates: vec![[1; 32], [2; 32]], ..bare("anywhere") };
        let office =
            Credential { certificates: vec![[3; 32]], networks: networks("10.0.0.0/8"), certificate_suffices: true, ..bare("office") };
        let registry = ConfigRegistry::new(&[], &[anywhere, office], &[]);
        let look = |peer: &str, certificate: u8, key: u8| {
            let shown = ShownCertificate { certificate_sha256: [certificate; 32], key_sha256: [key; 32] };
            let found = registry.look_by_certificate(peer.parse().unwrap(), &shown);
            found.map(|(principal, suffices)| (principal.credential.unwrap().to_string(), suffices))
        };
        for (peer, certificate, key, expected) in [
            ("192.0.2.1", 1, 9, Some(("anywhere".to_owned(), false))),
            ("192.0.2.1", 9, 2, Some(("anywhere".to_owned(), false))),
            ("10.1.1.1", 3, 9, Some(("office".to_owned(), true))),
            ("192.0.2.1", 3, 9, None),
            ("192.0.2.1", 9, 9, None),
        ] {
            assert_eq!(look(peer, certificate, key), expected, "{peer} {certificate} {key}");
        }
        assert!(registry.look_by_network("10.1.1.1".parse().unwrap()).is_none(), "a network with a certificate is not everybody there");
    }

    #[test]
    fn the_closest_domain_of_the_tenant_signs_and_the_operator_beside_it() {
        let domain = |name: &str, tenant: Option<&str>, signs_all: bool| SendingDomain {
            tenant: tenant.map(TenantName::new),
            signs_all,
            signer: Arc::new(Signer { domain: name.into(), keys: Vec::new() }),
            sends_as: Arc::new(policy::SendingDomain { name: Domain::parse(name).unwrap(), return_path: None }),
            returns: None,
        };
        let domains = [
            domain("brand.example", Some("shop"), false),
            domain("news.brand.example", Some("bank"), false),
            domain("open.example", None, false),
            domain("relay.example", None, true),
        ];
        let tenants = [Tenant { name: "bank".into(), own_domains_only: true, streams: Vec::new() }];
        let registry = ConfigRegistry::new(&tenants, &[], &domains);
        assert!(registry.signs() && !ConfigRegistry::new(&[], &[], &[]).signs());
        for (tenant, from, signers) in [
            ("shop", "brand.example", "brand.example relay.example"),
            ("shop", "Mail.Brand.example", "brand.example relay.example"),
            ("shop", "x.news.brand.example", "brand.example relay.example"),
            ("bank", "x.news.brand.example", "news.brand.example relay.example"),
            ("bank", "brand.example", "relay.example"),
            ("shop", "notbrand.example", "relay.example"),
            ("bank", "open.example", "open.example relay.example"),
            ("shop", "relay.example", "relay.example"),
            ("shop", "example", "relay.example"),
        ] {
            let own = registry.signer(&tenant.into(), &Domain::parse(from).unwrap());
            let found = super::super::with_those_for_all(own, registry.signers_for_all());
            let names: Vec<&str> = found.iter().map(|signer| &*signer.domain).collect();
            assert_eq!(names.join(" "), signers, "{tenant} {from}");
        }
        let voice = |tenant: &str, from: &str| match registry.voice(&tenant.into(), &Domain::parse(from).unwrap()) {
            Voice::Proven(own) => format!("proven {}", own.name),
            Voice::Free(own) => format!("free {}", own.map_or_else(String::new, |own| own.name.to_string())),
            Voice::Unproven(_) | Voice::Foreign => "foreign".to_owned(),
        };
        for (tenant, from, said) in [
            ("bank", "x.news.brand.example", "proven news.brand.example"),
            ("bank", "brand.example", "foreign"),
            ("bank", "open.example", "proven open.example"),
            ("shop", "brand.example", "free brand.example"),
            ("shop", "elsewhere.example", "free "),
        ] {
            assert_eq!(voice(tenant, from), said, "{tenant} {from}");
        }
    }

    #[test]
    fn an_unknown_user_and_a_wrong_secret_cost_the_same_work() {
        let registry = ConfigRegistry::new(&[], &[credential("app", "one"), credential("other", "two")], &[]);
        let work = |user: &str, secret: &str| {
            WORK.take();
            assert!(registry.look(HERE, user, &Secret(secret.as_bytes().to_vec())).is_none());
            WORK.take()
        };
        let wrong = work("app", "xxx");
        assert_eq!(wrong, ["digest of 3", "digest of 3", "compare"]);
        assert_eq!(work("abc", "xxx"), wrong);
    }

    #[test]
    fn digests_are_those_of_the_standard() {
        assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
