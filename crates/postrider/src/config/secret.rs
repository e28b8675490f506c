//! A secret in a file of its own, closed to others.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Octets of a secret; a file above this is a mistake.
const SECRET_OCTETS_MAX: u64 = 4_096;

/// The secret: the file's octets without the end of the line. A file that others may read is refused.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let facts = std::fs::metadata(path).map_err(|trouble| format!("cannot read {shown}: {trouble}"))?;
    if !facts.is_file() || facts.len() > SECRET_OCTETS_MAX {
        return Err(format!("{shown} is not a file of one secret"));
    }
    if facts.mode() & 0o077 != 0 {
        return Err(format!("{shown} may be read by others (mode {:03o}): run `chmod 600 {shown}`", facts.mode() & 0o777));
    }
    let mut secret = std::fs::read(path).map_err(|trouble| format!("cannot read {shown}: {trouble}"))?;
    while secret.last().is_some_and(|octet| matches!(octet, b'\r' | b'\n')) {
        secret.pop();
    }
    if secret.is_empty() { Err(format!("{shown} is empty")) } else { Ok(secret) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::read;

    #[test]
    fn a_secret_is_for_its_owner() {
        let path = std::env::temp_dir().join(format!("postrider-secret-{}", std::process::id()));
        let put = |octets: &[u8], mode| {
            std::fs::write(&path, octets).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put(b"hunter 2\r\n", 0o600);
        assert_eq!(read(&path).unwrap(), b"hunter 2");
        put(b"\n", 0o400);
        assert!(read(&path).unwrap_err().ends_with("is empty"));
        put(b"hunter 2", 0o640);
        assert!(read(&path).unwrap_err().contains("mode 640"));
        put(&[b'x'; 5_000], 0o600);
        assert!(read(&path).unwrap_err().contains("not a file of one secret"));
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path).unwrap_err().starts_with("cannot read"));
    }
}
