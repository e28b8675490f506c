//! What a configuration asks of the machine, tried out: for `check`, which tells all of it at once, each with its remedy.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;

use postrider_model::limits;
use postrider_model::policy::ProxyProtocol;

use crate::config::{Config, MailLogTarget};
use crate::data::DataDirectory;

/// Everything that would be in the way of `serve`. With `offline` no address is tried.
pub fn faults(config: &Config, directory: &DataDirectory, offline: bool) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(owner(directory.root()));
    found.extend(room(directory.root()));
    if let MailLogTarget::File(file) = &config.log.mail_log {
        found.extend(folder_of(file, "log.mail_log", directory.root()));
    }
    if let Some(socket) = &config.sendmail_socket {
        found.extend(folder_of(socket, "sendmail.socket", directory.root()));
    }
    if offline {
        return found;
    }
    for source in &config.snapshot.sources {
        // The address of a proxy that reads a PROXY header is the proxy's.
        let is_ours = source.proxy.as_ref().is_none_or(|proxy| matches!(proxy.protocol, ProxyProtocol::Socks5(_)));
        found.extend(source.address.filter(|_| is_ours).and_then(|address| ours(address, &format!("[[source]] {}", source.name))));
    }
    // A relay that runs has the ports itself.
    if !directory.is_taken() {
        for listener in &config.listeners {
            found.extend(free(listener.address).map(|trouble| crate::serve::bind_trouble(listener, &trouble).to_string()));
        }
        let metrics = config.metrics.and_then(free);
        found.extend(metrics.map(|trouble| format!("metrics.listen: {trouble}; choose another address, or leave the key away")));
    }
    found
}

fn owner(data: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let (owner, me) = (std::fs::metadata(data).ok()?.uid(), rustix::process::geteuid().as_raw());
    // Root looks after a relay that runs as somebody else.
    let strange = owner != me && me != 0;
    strange.then(|| format!("the data directory {} belongs to user {owner}, and this is user {me}: run this as its owner", data.display()))
}

fn room(data: &Path) -> Option<String> {
    let there = data.ancestors().find(|folder| folder.exists())?;
    let facts = rustix::fs::statvfs(there).ok()?;
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    (free <= limits::RESERVE_BYTES).then(|| {
        format!(
            "the disk that holds {} has {free} octets left, and {} are kept for what is queued: new mail would be answered 452; make room",
            data.display(),
            limits::RESERVE_BYTES
        )
    })
}

/// The data directory itself is made by the first start, and what is under /run by the service manager (`RuntimeDirectory=`).
fn folder_of(file: &Path, key: &str, data: &Path) -> Option<String> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty() && *folder != data && !folder.starts_with("/run"))?;
    (!folder.is_dir()).then(|| format!("{key}: there is no directory {}; make it, or choose another place", folder.display()))
}

fn ours(address: IpAddr, who: &str) -> Option<String> {
    let trouble = TcpListener::bind(SocketAddr::new(address, 0)).err()?;
    Some(format!("{who}: {address} cannot be sent from ({trouble}): give this machine the address, or correct it"))
}

fn free(address: SocketAddr) -> Option<std::io::Error> {
    TcpListener::bind(address).err()
}
