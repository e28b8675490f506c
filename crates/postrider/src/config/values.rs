//! Readers of single values: durations, sizes, names, addresses. Each says in its error what it expected and what it found.

use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use postrider_model::names::valid_name;
use postrider_smtp::Domain;
use toml::de::DeValue;

use super::reader::kind;

/// What a reader gives: the value, or a sentence.
pub type Read<T> = Result<T, String>;

/// Any text.
pub fn text(value: &DeValue<'_>) -> Read<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("expected a text in quotes, found {}", kind(value)))
}

/// `true` or `false`.
pub fn flag(value: &DeValue<'_>) -> Read<bool> {
    value.as_bool().ok_or_else(|| format!("expected true or false, found {}", kind(value)))
}

/// A whole number within bounds.
pub fn number<T: TryFrom<u64>>(value: &DeValue<'_>, bounds: RangeInclusive<u64>) -> Read<T> {
    let found = value.as_integer().ok_or_else(|| format!("expected a whole number, found {}", kind(value)))?;
    let number = i64::from_str_radix(found.as_str(), found.radix()).ok().and_then(|n| u64::try_from(n).ok());
    let inside = number.filter(|n| bounds.contains(n)).and_then(|n| T::try_from(n).ok());
    inside.ok_or_else(|| format!("{} is not between {} and {}", found.as_str(), bounds.start(), bounds.end()))
}

/// A text that is a name (`model::names::valid_name`).
pub fn name(value: &DeValue<'_>) -> Read<String> {
    let name = text(value)?;
    if valid_name(&name) { Ok(name) } else { Err(format!("{name:?} is not a name: 1 to 64 of a-z A-Z 0-9 . _ -")) }
}

/// A domain name.
pub fn domain(value: &DeValue<'_>) -> Read<Domain> {
    let name = text(value)?;
    Domain::parse(&name).map_err(|trouble| format!("{name:?} is not a domain: {trouble}"))
}

/// `127.0.0.1:25` or `[::1]:25`.
pub fn socket_address(value: &DeValue<'_>) -> Read<SocketAddr> {
    let address = text(value)?;
    address.parse().map_err(|_| format!("{address:?} is not an address with a port, such as \"0.0.0.0:587\" or \"[::]:587\""))
}

/// An IP address.
pub fn ip_address(value: &DeValue<'_>) -> Read<IpAddr> {
    let address = text(value)?;
    address.parse().map_err(|_| format!("{address:?} is not an IP address"))
}

/// A network: `10.0.0.0/8`, `2001:db8::/32`, or one address.
pub fn network(value: &DeValue<'_>) -> Read<IpNet> {
    let written = text(value)?;
    let network = written.parse::<IpNet>().or_else(|_| written.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| format!("{written:?} is not a network such as 10.0.0.0/8"))?;
    if network.trunc() != network {
        return Err(format!("{written:?} is an address in a network: write {} or {}", network.trunc(), network.addr()));
    }
    Ok(network)
}

/// A DNS server: an IP address, with a port unless it is 53.
pub fn dns_server(value: &DeValue<'_>) -> Read<SocketAddr> {
    let address = text(value)?;
    let with_port = address.parse().ok();
    let bare = || address.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
    with_port.or_else(bare).ok_or_else(|| format!("{address:?} is not an IP address, with or without a port"))
}

/// One of a few words.
pub fn one_of<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Read<T> {
    let word = text(value)?;
    let known = || words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    words.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning).ok_or_else(|| format!("{word:?} is none of {}", known()))
}

/// `"90s"`, `"5m"`, `"1h 30m"`; within bounds.
pub fn duration(value: &DeValue<'_>, bounds: RangeInclusive<Duration>) -> Read<Duration> {
    let written =
        text(value).map_err(|_| format!("expected a duration such as \"90s\", \"5m\", \"2h\" or \"5d\", found {}", kind(value)))?;
    let duration = parse_duration(&written)?;
    if bounds.contains(&duration) {
        return Ok(duration);
    }
    Err(format!("{written:?} is not between {} and {}", say_duration(*bounds.start()), say_duration(*bounds.end())))
}

/// Any duration up to ten years.
pub fn any_duration(value: &DeValue<'_>) -> Read<Duration> {
    duration(value, Duration::ZERO..=Duration::from_secs(3_650 * 86_400))
}

/// `"50 MB"`, `"64 KiB"`, or a number of octets; within bounds.
pub fn octets(value: &DeValue<'_>, bounds: RangeInclusive<u64>) -> Read<u64> {
    if value.is_integer() {
        return number(value, bounds);
    }
    let written = text(value).map_err(|_| format!("expected a size such as \"50 MB\" or \"64 KiB\", found {}", kind(value)))?;
    let octets = parse_octets(&written)?;
    if bounds.contains(&octets) {
        Ok(octets)
    } else {
        Err(format!("{written:?} is not between {} and {} octets", bounds.start(), bounds.end()))
    }
}

/// Parses a duration of one or more parts.
pub fn parse_duration(written: &str) -> Read<Duration> {
    let wrong = || format!("{written:?} is not a duration: write \"250ms\", \"90s\", \"5m\", \"2h\", \"5d\" or \"1h 30m\"");
    let mut total = Duration::ZERO;
    let mut rest = written.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_and_rest = rest[digits..].trim_start();
        let letters = unit_and_rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit_and_rest.len());
        let millis: u64 = match &unit_and_rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = count.checked_mul(millis).ok_or_else(wrong)?;
        total = total.checked_add(Duration::from_millis(part)).ok_or_else(wrong)?;
        rest = unit_and_rest[letters..].trim_start();
    }
    Ok(total)
}

/// Parses a size.
pub fn parse_octets(written: &str) -> Read<u64> {
    let wrong = || format!("{written:?} is not a size: write \"64 KiB\", \"50 MB\", \"2 GiB\" or a number of octets");
    let trimmed = written.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let count: u64 = trimmed[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match trimmed[digits..].trim_start() {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    count.checked_mul(unit).ok_or_else(wrong)
}

/// A duration as the file would write it.
pub fn say_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_said() {
        for (written, millis) in [
            ("250ms", Some(250)),
            ("90s", Some(90_000)),
            ("5m", Some(300_000)),
            ("5 min", Some(300_000)),
            ("1h 30m", Some(5_400_000)),
            ("1h30m", Some(5_400_000)),
            ("5d", Some(432_000_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("m", None),
            ("5 weeks", None),
            ("-5s", None),
            ("1.5h", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(parse_duration(written).ok().map(|d| d.as_millis()), millis, "{written:?}");
        }
        for said in ["250ms", "90s", "5m", "2h", "5d", "0s"] {
            assert_eq!(say_duration(parse_duration(said).unwrap()), said);
        }
    }

    #[test]
    fn sizes_are_read() {
        for (written, octets) in [
            ("100", Some(100)),
            ("50 MB", Some(50_000_000)),
            ("50MiB", Some(52_428_800)),
            ("64 KiB", Some(65_536)),
            ("2 GB", Some(2_000_000_000)),
            ("1.5 MB", None),
            ("MB", None),
            ("-1", None),
            ("5 mb", None),
            ("99999999999999 GiB", None),
        ] {
            assert_eq!(parse_octets(written).ok(), octets, "{written:?}");
        }
    }
}
