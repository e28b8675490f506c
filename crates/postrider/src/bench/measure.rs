//! What a process and its descendants cost, read from `/proc` (proc_pid_stat(5), proc_pid_status(5), proc_pid_io(5)).
//!
//! Promises: CPU time counts a root process, all living descendants, and the dead ones that were waited for (a process's cutime and cstime), so a
//! Postfix whose children come and go is counted whole. Memory of several processes is the sum of their proportional shares (PSS), so that pages
//! they share count once.
//!
//! Does badly: a process whose parent ignores SIGCHLD vanishes with its time; `/proc` counts in ticks of 10 ms.

use std::collections::BTreeMap;

use anyhow::Context;

/// Clock ticks per second in `/proc/PID/stat`: USER_HZ, 100 on the architectures that Linux servers have.
const TICKS_PER_SECOND: f64 = 100.0;

/// The fields of `/proc/PID/stat` that count here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Parent process.
    pub parent: u32,
    /// utime + stime + cutime + cstime, in ticks.
    pub cpu_ticks: u64,
}

/// The fields of `/proc/PID/status` that count here, in octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// VmRSS.
    pub resident_bytes: u64,
    /// VmHWM: the peak of VmRSS.
    pub peak_bytes: u64,
}

/// What a process tree has cost so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system time.
    pub cpu_seconds: f64,
    /// Resident now: VmRSS of one process, the sum of PSS of several.
    pub resident_bytes: u64,
    /// The root process's peak.
    pub peak_bytes: u64,
    /// Octets sent to storage, where the kernel tells.
    pub written_bytes: Option<u64>,
    /// Processes.
    pub processes: usize,
}

/// Reads the text of `/proc/PID/stat`. The command name may hold spaces and parentheses.
pub fn parse_stat(text: &str) -> Option<Stat> {
    let (_, after_name) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    // After the name come state, ppid, ...; utime is field 14 of the whole line, the 12th of these.
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, cpu_ticks: number(11)? + number(12)? + number(13)? + number(14)? })
}

/// Reads the text of `/proc/PID/status`; a kernel thread or zombie has no memory.
pub fn parse_status(text: &str) -> Memory {
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    Memory { resident_bytes: kilobytes("VmRSS:").unwrap_or(0) * 1024, peak_bytes: kilobytes("VmHWM:").unwrap_or(0) * 1024 }
}

/// Reads `write_bytes` from the text of `/proc/PID/io`.
pub fn parse_io(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("write_bytes:"))?.trim().parse().ok()
}

/// Reads the proportional share of memory from the text of `/proc/PID/smaps_rollup`, in octets.
pub fn parse_share(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// A process and all its living descendants.
pub fn process_tree(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(stat) = read(pid, "stat").and_then(|text| parse_stat(&text)) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut tree = vec![root];
    let mut next = 0;
    while next < tree.len() {
        tree.extend(children.remove(&tree[next]).into_iter().flatten());
        next += 1;
    }
    tree
}

/// What a process tree has cost.
///
/// # Errors
/// When the root process is gone.
pub fn usage(root: u32) -> anyhow::Result<Usage> {
    sum(root, &process_tree(root))
}

/// What one process has cost, without its descendants that live (the dead ones it waited for count).
///
/// # Errors
/// When the process is gone.
pub fn usage_alone(pid: u32) -> anyhow::Result<Usage> {
    sum(pid, &[pid])
}

fn sum(root: u32, tree: &[u32]) -> anyhow::Result<Usage> {
    let mut usage = Usage::default();
    for &pid in tree {
        let Some(stat) = read(pid, "stat").and_then(|text| parse_stat(&text)) else {
            anyhow::ensure!(pid != root, "process {root} is gone");
            continue;
        };
        let memory = read(pid, "status").map(|text| parse_status(&text)).unwrap_or_default();
        usage.cpu_seconds += stat.cpu_ticks as f64 / TICKS_PER_SECOND;
        let share = if tree.len() > 1 { read(pid, "smaps_rollup").and_then(|text| parse_share(&text)) } else { None };
        usage.resident_bytes += share.unwrap_or(memory.resident_bytes);
        usage.processes += 1;
        if pid == root {
            usage.peak_bytes = memory.peak_bytes;
        }
        if let Some(written) = read(pid, "io").and_then(|text| parse_io(&text)) {
            *usage.written_bytes.get_or_insert(0) += written;
        }
    }
    Ok(usage)
}

/// Memory of one process.
pub fn memory(pid: u32) -> Memory {
    read(pid, "status").map(|text| parse_status(&text)).unwrap_or_default()
}

/// Sets the peak of a process's resident memory back to what it is now (proc_pid_clear_refs(5)).
///
/// # Errors
/// When the kernel refuses.
pub fn reset_peak(pid: u32) -> anyhow::Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").with_context(|| format!("cannot reset the memory peak of process {pid}"))
}

fn read(pid: u32, file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()
}

/// The value below which `percent` of an ascending row lies (nearest rank); `None` of nothing.
pub fn percentile(ascending: &[u32], percent: f64) -> Option<u32> {
    let rank = (percent / 100.0 * ascending.len() as f64).ceil() as usize;
    ascending.get(rank.max(1) - 1).or(ascending.last()).copied()
}

/// The median; the mean of the middle two of an even number. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut ascending = values.to_vec();
    ascending.sort_by(f64::total_cmp);
    let middle = ascending.len() / 2;
    match ascending.len() {
        0 => None,
        length if length % 2 == 1 => Some(ascending[middle]),
        _ => Some((ascending[middle - 1] + ascending[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_a_hostile_name() {
        let text = "4242 (post) S 1 (er) R 17 4242 4242 0 -1 4194560 9000 0 1 0 120 30 7 3 20 0 4 0 100 2000000 500 18446744073709551615\n";
        assert_eq!(parse_stat(text), Some(Stat { parent: 17, cpu_ticks: 160 }));
        assert_eq!(parse_stat("4242 (short) R 17"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn status_is_read_in_octets() {
        let text = "Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\nThreads:\t3\n";
        assert_eq!(parse_status(text), Memory { resident_bytes: 10_485_760, peak_bytes: 20_971_520 });
        assert_eq!(parse_status("Name:\tkthreadd\n"), Memory::default());
    }

    #[test]
    fn io_is_read() {
        assert_eq!(parse_io("rchar: 5\nwchar: 6\nsyscr: 1\nread_bytes: 0\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n"), Some(4096));
        assert_eq!(parse_io("rchar: 5\n"), None);
    }

    #[test]
    fn the_share_is_read_in_octets() {
        let text = "5600 - 7ffd ---p 00000000 00:00 0 [rollup]\nRss:    9000 kB\nPss:    4000 kB\nPss_Dirty:  100 kB\n";
        assert_eq!(parse_share(text), Some(4_096_000));
        assert_eq!(parse_share(""), None);
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let row: Vec<u32> = (1..=100).collect();
        for (percent, expected) in [(0.0, 1), (1.0, 1), (50.0, 50), (99.0, 99), (99.5, 100), (100.0, 100)] {
            assert_eq!(percentile(&row, percent), Some(expected), "{percent}");
        }
        assert_eq!(percentile(&[7], 50.0), Some(7));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn medians_of_odd_even_and_none() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn this_process_is_measured() {
        let own = usage(std::process::id()).expect("this process lives");
        assert!(own.processes >= 1 && own.resident_bytes > 0 && own.peak_bytes >= memory(std::process::id()).resident_bytes / 2);
    }
}
