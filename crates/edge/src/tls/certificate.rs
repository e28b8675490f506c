//! Certificates and keys: read from PEM, or made on the spot for a first start.

use std::path::Path;
use std::time::Duration;

use postrider_model::Timestamp;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsSetupTrouble;

/// A chain and its key.
#[derive(Debug)]
pub struct Certified {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Certified {
    /// Reads PEM files: the chain with the leaf first, and the key (PKCS #8, PKCS #1 or SEC1). Both may be one file.
    ///
    /// # Errors
    /// When a file cannot be read or holds no such thing; the message names it.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsSetupTrouble> {
        let read = |path: &Path| std::fs::read(path).map_err(|trouble| TlsSetupTrouble::File { path: path.display().to_string(), trouble });
        Self::parse(&read(certificate)?, &read(key)?, &certificate.display().to_string(), &key.display().to_string())
    }

    /// When the first of the chain ends: from then on clients that look refuse it. `None`: none of it could be read.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let ends = self.chain.iter().filter_map(|certificate| {
            let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
            // Before 1970 it ended long ago.
            Some(Timestamp::from_millis(u64::try_from(read.validity().not_after.timestamp()).unwrap_or(0).saturating_mul(1_000)))
        });
        ends.min()
    }

    /// From PEM texts.
    ///
    /// # Errors
    /// As [`Certified::from_files`].
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, TlsSetupTrouble> {
        Self::parse(certificate.as_bytes(), key.as_bytes(), "the certificate", "the key")
    }

    fn parse(certificate: &[u8], key: &[u8], certificate_at: &str, key_at: &str) -> Result<Self, TlsSetupTrouble> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|trouble| TlsSetupTrouble::Unusable(format!("{certificate_at}: {trouble}")))?;
        if chain.is_empty() {
            return Err(TlsSetupTrouble::NoCertificate(certificate_at.into()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsSetupTrouble::NoKey(key_at.into()))?;
        Ok(Self { chain, key })
    }
}

/// Makes a self-signed certificate (ECDSA on P-256) for the names, which may be addresses, valid from a day before `now` for `valid`. Gives
/// certificate and key as PEM.
///
/// # Errors
/// When a name is no DNS name.
pub fn generate(names: &[String], now: Timestamp, valid: Duration) -> Result<(String, String), TlsSetupTrouble> {
    let trouble = |trouble: rcgen::Error| TlsSetupTrouble::Generate(trouble.to_string());
    let mut parameters = CertificateParams::new(names).map_err(trouble)?;
    let day = |at: Timestamp| {
        let (year, month, day, ..) = at.civil();
        rcgen::date_time_ymd(i32::try_from(year).unwrap_or(9999).min(9999), month, day)
    };
    parameters.not_before = day(Timestamp::from_millis(now.millis().saturating_sub(86_400_000)));
    // Beyond the year 9999 a certificate has no date (RFC 5280 §4.1.2.5).
    parameters.not_after = day(now.after(valid).min(Timestamp::from_millis(253_402_214_400_000)));
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, names.first().map_or("postrider", String::as_str));
    let key = KeyPair::generate().map_err(trouble)?;
    let certificate = parameters.self_signed(&key).map_err(trouble)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
