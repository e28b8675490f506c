//! Every bound that is not a matter of configuration, with its unit and its reason.

/// Contents above this are streamed to a file of their own instead of standing in the log. 256 KiB keeps a segment full of many
/// messages, and bounds what one staging holds in memory.
pub const INLINE_CONTENT_OCTETS_MAX: usize = 256 * 1024;

/// Octets of staged content in memory, over all sessions. Beyond it a new transaction waits for room before its first octet.
pub const STAGED_OCTETS_MAX: usize = 64 * 1024 * 1024;

/// Octets of accepted content that stay in memory for their first attempt; beyond it the attempt reads from disk.
pub const WARM_OCTETS_MAX: usize = 16 * 1024 * 1024;

/// Outcomes that may be known to us but not yet synced: the part of the duplicate bound that speed costs (docs/custody.md).
pub const UNSYNCED_OUTCOMES_MAX: usize = 1024;

/// The longest time a settlement waits for company before it is synced, in milliseconds.
pub const SETTLE_SYNC_MS: u64 = 20;

/// The longest time an acceptance waits for company before the log is synced, in microseconds.
pub const COMMIT_WAIT_US: u64 = 1_000;

/// Octets of disk that new mail may not take, so that settling and compaction always can.
pub const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Recipients in one parcel, and so in one transaction out (RFC 5321 §4.5.3.1.8 makes 100 the least every server must take).
pub const PARCEL_RECIPIENTS_MAX: usize = 100;

/// Received fields after which a message is held to loop (RFC 5321 §6.3 asks for at least 100).
pub const HOPS_MAX: u32 = 100;

/// Addresses tried for one host set in one attempt, so that a domain with a thousand addresses cannot hold a worker.
pub const ADDRESSES_PER_ATTEMPT_MAX: usize = 10;

/// MX records of one domain that are looked at.
pub const MX_RECORDS_MAX: usize = 32;

/// TXT records of one name. Domains that verify themselves to everybody have some dozens.
pub const TEXT_RECORDS_MAX: usize = 256;

/// Octets of one TXT record, its strings joined. A DKIM record with a key of 16,384 bits has less than 4,000, and an SPF record should not pass 450 (RFC 7208 §3.4).
pub const TEXT_RECORD_OCTETS_MAX: usize = 16 * 1024;

/// Names of one address that are looked at; SPF looks at ten (RFC 7208 §4.6.4).
pub const POINTERS_MAX: usize = 32;

/// Look-ups under way for mail of strangers, over all sessions: half of the resolver's places, so that strangers whose DNS is silent never keep our own mail waiting.
pub const VERIFYING_LOOKUPS_MAX: usize = 64;

/// Names that keys of one message's signatures are looked for under; beyond it they count as not found now. A chain of ten sets with five signatures has fifteen.
pub const SIGNATURE_KEYS_MAX: usize = 24;

/// Lines of one stored reply; the rest is dropped, with a mark.
pub const REPLY_LINES_MAX: usize = 16;

/// Route look-ups under way at once.
pub const PROBES_MAX: usize = 256;

/// Octets of a header that is judged (whose it is, what providers would say of it). Postfix reads 100 KiB; what is longer is no mail of people.
pub const JUDGED_HEADER_OCTETS_MAX: usize = 256 * 1024;
