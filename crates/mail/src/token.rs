//! Tokens: what we hand out with a message, and know again when it comes back.
//!
//! **Promises.** Nobody makes a token who has no key of the ring, and one kind is never taken for another. A return token is a local part of [`RETURN_OCTETS`]
//! octets (RFC 5321 §4.5.3.1.1 allows 64) of letters that survive servers which change their case; it names a delivery, under a MAC of 96 bits that is bound to the
//! domain it stands before. An unsubscribe token fits into a path of a URL and says whose mail to whom ends; it is encrypted, because it will stand in
//! the logs of proxies, and it needs no book of ours: it is good as long as its key is in the ring. The same message gives the same tokens, so a retry
//! says what the attempt before it said. Whether a token is right is told in the same time for all of its length.
//!
//! **Never** keeps, prints or makes up a key, and never takes more octets than a token has.
//!
//! **RFCs.** 4648 §5 and §6 (the alphabets), 2104 (HMAC), 8058 (what the second kind is for).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What a return token begins with.
pub const RETURN_PREFIX: &str = "b-";
/// Octets of a return token, its prefix included.
pub const RETURN_OCTETS: usize = 55;
/// Letters of an unsubscribe token: the names have at most 64 octets each, an address 320, a domain 255.
pub const UNSUBSCRIBE_OCTETS_MAX: usize = 1_100;
/// Keys in a ring: the one that signs, and the one before it.
pub const KEYS_MAX: usize = 2;

const MAC_OCTETS: usize = 12;
const NONCE_OCTETS: usize = 12;
const TAG_OCTETS: usize = 16;
/// Number of the key, message, index, MAC.
const PACKED_OCTETS: usize = 1 + 16 + 4 + MAC_OCTETS;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The keys: the first makes tokens, all know theirs again.
#[derive(Clone)]
pub struct Keys(Vec<Ring>);

#[derive(Clone)]
struct Ring {
    number: u8,
    returns: hmac::Key,
    nonces: hmac::Key,
    seal: [u8; 32],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({:?})", self.0.iter().map(|ring| ring.number).collect::<Vec<_>>())
    }
}

/// Why there is no ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeysTrouble {
    /// Something must make tokens, and a forgotten key must not live on.
    #[error("a ring has one key or {KEYS_MAX}")]
    Count,
    /// A token names its key by number.
    #[error("two keys have the same number")]
    SameNumber,
}

/// One recipient's delivery of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The message's id.
    pub message: u128,
    /// The recipient's place in its envelope.
    pub index: u32,
}

/// Whose mail to whom ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// By which delivery the token came.
    pub delivery: Delivery,
    /// Whose mail.
    pub tenant: String,
    /// Which class of it.
    pub stream: String,
    /// The domain it says it is from, for people.
    pub sender: String,
    /// The recipient's address.
    pub mailbox: String,
}

impl Keys {
    /// A ring of these keys, each with its number; the first makes tokens.
    pub fn new(keys: &[(u8, [u8; 32])]) -> Result<Self, KeysTrouble> {
        if !(1..=KEYS_MAX).contains(&keys.len()) {
            return Err(KeysTrouble::Count);
        }
        if keys.iter().enumerate().any(|(place, key)| keys[..place].iter().any(|other| other.0 == key.0)) {
            return Err(KeysTrouble::SameNumber);
        }
        Ok(Self(keys.iter().map(|(number, key)| Ring::new(*number, key)).collect()))
    }

    fn first(&self) -> &Ring {
        // A ring is made with at least one key.
        &self.0[0]
    }

    fn of_number(&self, number: u8) -> Option<&Ring> {
        self.0.iter().find(|ring| ring.number == number)
    }

    /// The local part that stands for a delivery at a return path; `domain` in A-labels and lower case.
    pub fn return_token(&self, delivery: Delivery, domain: &str) -> String {
        let ring = self.first();
        let mut packed = Vec::with_capacity(PACKED_OCTETS);
        packed.push(ring.number);
        packed.extend_from_slice(&delivery.message.to_be_bytes());
        packed.extend_from_slice(&delivery.index.to_be_bytes());
        let mac = ring.mac(&packed, domain);
        packed.extend_from_slice(&mac);
        let mut token = String::with_capacity(RETURN_OCTETS);
        token.push_str(RETURN_PREFIX);
        base32(&packed, &mut token);
        token
    }

    /// The delivery that a local part stands for at a return path; none for what we did not make for this domain.
    pub fn returned(&self, local_part: &str, domain: &str) -> Option<Delivery> {
        let packed = from_base32(local_part.as_bytes())?;
        let (said, mac) = packed.split_at(PACKED_OCTETS - MAC_OCTETS);
        let ring = self.of_number(said[0])?;
        verify_slices_are_equal(&ring.mac(said, domain), mac).ok()?;
        let message = u128::from_be_bytes(said[1..17].try_into().ok()?);
        Some(Delivery { message, index: u32::from_be_bytes(said[17..21].try_into().ok()?) })
    }

    /// The token that ends mail to one recipient; none where a name is longer than names are.
    pub fn unsubscribe_token(&self, subscription: &Subscription) -> Option<String> {
        let ring = self.first();
        let mut said = Vec::with_capacity(256);
        said.extend_from_slice(&subscription.delivery.message.to_be_bytes());
        said.extend_from_slice(&subscription.delivery.index.to_be_bytes());
        for text in [&subscription.tenant, &subscription.stream, &subscription.sender] {
            said.push(u8::try_from(text.len()).ok()?);
            said.extend_from_slice(text.as_bytes());
        }
        said.extend_from_slice(subscription.mailbox.as_bytes());
        let nonce = ring.nonce(&said);
        let key = ring.seal()?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from([ring.number]), &mut said).ok()?;
        let token = URL_SAFE_NO_PAD.encode([&[ring.number][..], &nonce, &said].concat());
        (token.len() <= UNSUBSCRIBE_OCTETS_MAX).then_some(token)
    }

    /// What a token ends; none for what we did not make.
    pub fn unsubscribes(&self, token: &str) -> Option<Subscription> {
        if token.len() > UNSUBSCRIBE_OCTETS_MAX {
            return None;
        }
        let mut octets = URL_SAFE_NO_PAD.decode(token).ok()?;
        if octets.len() < 1 + NONCE_OCTETS + TAG_OCTETS {
            return None;
        }
        let mut sealed = octets.split_off(1 + NONCE_OCTETS);
        let ring = self.of_number(octets[0])?;
        let nonce: [u8; NONCE_OCTETS] = octets[1..].try_into().ok()?;
        let key = ring.seal()?;
        let said = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from([ring.number]), &mut sealed).ok()?;
        // The nonce is made of what is said: another one was not made here.
        verify_slices_are_equal(&ring.nonce(said), &nonce).ok()?;
        read(said)
    }
}

fn read(said: &[u8]) -> Option<Subscription> {
    let (message, rest) = said.split_first_chunk::<16>()?;
    let (index, mut rest) = rest.split_first_chunk::<4>()?;
    let mut text = || {
        let (octets, after) = rest.split_first()?;
        let (text, after) = after.split_at_checked(usize::from(*octets))?;
        rest = after;
        String::from_utf8(text.to_vec()).ok()
    };
    let (tenant, stream, sender) = (text()?, text()?, text()?);
    let delivery = Delivery { message: u128::from_be_bytes(*message), index: u32::from_be_bytes(*index) };
    Some(Subscription { delivery, tenant, stream, sender, mailbox: String::from_utf8(rest.to_vec()).ok()? })
}

impl Ring {
    /// Each use has a key of its own, so that what one signs is never what another seals.
    fn new(number: u8, key: &[u8; 32]) -> Self {
        let root = hmac::Key::new(HMAC_SHA256, key);
        let derived = |label: &str| -> [u8; 32] {
            let tag = hmac::sign(&root, label.as_bytes());
            let mut out = [0; 32];
            out.copy_from_slice(tag.as_ref());
            out
        };
        let returns = hmac::Key::new(HMAC_SHA256, &derived("postrider return path 1"));
        let nonces = hmac::Key::new(HMAC_SHA256, &derived("postrider unsubscribe nonce 1"));
        Self { number, returns, nonces, seal: derived("postrider unsubscribe seal 1") }
    }

    fn mac(&self, said: &[u8], domain: &str) -> [u8; MAC_OCTETS] {
        let mut context = hmac::Context::with_key(&self.returns);
        context.update(said);
        context.update(domain.as_bytes());
        let mut out = [0; MAC_OCTETS];
        out.copy_from_slice(&context.sign().as_ref()[..MAC_OCTETS]);
        out
    }

    /// Two texts have the same nonce only when they are the same (RFC 8452 §1 tells why that is wanted).
    fn nonce(&self, said: &[u8]) -> [u8; NONCE_OCTETS] {
        let mut out = [0; NONCE_OCTETS];
        out.copy_from_slice(&hmac::sign(&self.nonces, said).as_ref()[..NONCE_OCTETS]);
        out
    }

    fn seal(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &self.seal).ok().map(LessSafeKey::new)
    }
}

fn base32(octets: &[u8], out: &mut String) {
    let (mut bits, mut count) = (0u16, 0);
    for octet in octets {
        bits = bits << 8 | u16::from(*octet);
        count += 8;
        while count >= 5 {
            count -= 5;
            out.push(char::from(ALPHABET[usize::from(bits >> count & 31)]));
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        out.push(char::from(ALPHABET[usize::from(bits << (5 - count) & 31)]));
    }
}

/// What a return token packs; letters of either case. One packing has one spelling.
fn from_base32(token: &[u8]) -> Option<[u8; PACKED_OCTETS]> {
    let (prefix, letters) = token.split_at_checked(RETURN_PREFIX.len())?;
    if token.len() != RETURN_OCTETS || !prefix.eq_ignore_ascii_case(RETURN_PREFIX.as_bytes()) {
        return None;
    }
    let mut out = [0; PACKED_OCTETS];
    let (mut bits, mut count, mut at) = (0u16, 0, 0);
    for letter in letters {
        let value = match letter {
            b'a'..=b'z' => letter - b'a',
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u16::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            *out.get_mut(at)? = (bits >> count) as u8;
            at += 1;
        }
        bits &= (1 << count) - 1;
    }
    (at == PACKED_OCTETS && bits == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbers: &[u8]) -> Keys {
        let keys: Vec<_> = numbers.iter().map(|number| (*number, [*number; 32])).collect();
        Keys::new(&keys).unwrap()
    }

    fn subscription() -> Subscription {
        Subscription {
            delivery: Delivery { message: 7 << 100, index: 999 },
            tenant: "shop".to_owned(),
            stream: "news".to_owned(),
            sender: "shop.example".to_owned(),
            mailbox: "Bob.Ünal@there.example".to_owned(),
        }
    }

    #[test]
    fn a_return_token_names_its_delivery_at_its_domain_and_nowhere_else() {
        let ring = keys(&[1]);
        for delivery in [Delivery { message: u128::MAX, index: u32::MAX }, Delivery { message: 0, index: 0 }, subscription().delivery] {
            let token = ring.return_token(delivery, "bounce.shop.example");
            assert_eq!((token.len(), token.as_str()), (RETURN_OCTETS, token.to_ascii_lowercase().as_str()));
            assert_eq!(ring.return_token(delivery, "bounce.shop.example"), token, "a retry says the same");
            assert_eq!(ring.returned(&token, "bounce.shop.example"), Some(delivery));
            assert_eq!(ring.returned(&token.to_ascii_uppercase(), "bounce.shop.example"), Some(delivery));
            assert_eq!(ring.returned(&token, "bounce.other.example"), None);
            assert_eq!(keys(&[2]).returned(&token, "bounce.shop.example"), None);
        }
    }

    #[test]
    fn a_changed_return_token_is_none_at_every_letter() {
        let ring = keys(&[1]);
        let token = ring.return_token(subscription().delivery, "b.example");
        for at in 0..token.len() {
            for letter in ['a', 'q', '7', '-', '=', 'é'] {
                let mut changed = token.clone();
                changed.replace_range(at..=at, &letter.to_string());
                assert_eq!(ring.returned(&changed, "b.example").is_some(), changed == token, "{at} {letter}");
            }
        }
        for other in ["", "b-", &token[..54], &format!("{token}a"), "postmaster", &token.replace("b-", "c-")] {
            assert_eq!(ring.returned(other, "b.example"), None, "{other}");
        }
    }

    #[test]
    fn a_key_that_went_back_still_knows_its_tokens_and_one_that_is_gone_does_not() {
        let (old, both, new) = (keys(&[1]), keys(&[2, 1]), keys(&[3, 2]));
        let (back, out) = (old.return_token(subscription().delivery, "b.example"), old.unsubscribe_token(&subscription()).unwrap());
        assert!(both.returned(&back, "b.example").is_some() && both.unsubscribes(&out).is_some());
        assert!(new.returned(&back, "b.example").is_none() && new.unsubscribes(&out).is_none());
        assert_ne!(both.return_token(subscription().delivery, "b.example"), back);
        assert_eq!(Keys::new(&[]).unwrap_err(), KeysTrouble::Count);
        assert_eq!(Keys::new(&[(1, [0; 32]), (1, [1; 32])]).unwrap_err(), KeysTrouble::SameNumber);
        assert!(!format!("{old:?}").contains("[1, 1"), "a key is not printed");
    }

    #[test]
    fn an_unsubscribe_token_says_all_and_shows_nothing() {
        let ring = keys(&[1]);
        let token = ring.unsubscribe_token(&subscription()).unwrap();
        assert_eq!(ring.unsubscribes(&token), Some(subscription()));
        assert_eq!(ring.unsubscribe_token(&subscription()).as_ref(), Some(&token), "a retry says the same");
        let shown = URL_SAFE_NO_PAD.decode(&token).unwrap();
        assert!(!shown.windows(4).any(|four| four == b"shop" || four == b"ther"));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(ring.unsubscribes(std::str::from_utf8(&changed).unwrap()), None, "{at}");
        }
        for other in ["", "AAAA", &"A".repeat(500), &"A".repeat(5_000), "é", &format!("{token}=")] {
            assert_eq!(ring.unsubscribes(other), None, "{other}");
        }
        let long = |octets: usize| Subscription { mailbox: "m".repeat(octets), ..subscription() };
        assert!(ring.unsubscribe_token(&long(320)).is_some() && ring.unsubscribe_token(&long(5_000)).is_none());
        assert!(ring.unsubscribe_token(&Subscription { tenant: "t".repeat(256), ..subscription() }).is_none());
    }
}
