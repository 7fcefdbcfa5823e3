//! What a process costs, as /proc tells it, and what a folder takes on the disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// Processor time and memory of a process since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a processor, user and system, all threads.
    pub cpu: Duration,
    /// Largest resident memory so far.
    pub rss_peak_bytes: u64,
    /// Resident memory now.
    pub rss_bytes: u64,
}

/// Reads /proc for one process.
pub fn of_process(pid: u32) -> anyhow::Result<Usage> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).with_context(|| path.clone())
    };
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let ticks = cpu_ticks(&read("stat")?).context("fields 14 and 15 of /proc/PID/stat")?;
    let status = read("status")?;
    Ok(Usage {
        cpu: Duration::from_millis(ticks * 1_000 / ticks_per_second.max(1)),
        rss_peak_bytes: kilobytes(&status, "VmHWM:").context("VmHWM in /proc/PID/status")? * 1024,
        rss_bytes: kilobytes(&status, "VmRSS:").context("VmRSS in /proc/PID/status")? * 1024,
    })
}

/// User and system time in ticks. The program's name, in brackets, may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(") ")?.1;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Bytes that the files below a folder take on the disk: blocks, not lengths.
pub fn disk_bytes(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for item in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let item = item?;
            // A file may go while we look.
            let Ok(metadata) = item.metadata() else { continue };
            if metadata.is_dir() {
                pending.push(item.path());
            } else {
                bytes += metadata.blocks() * 512;
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_texts_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 9";
        assert_eq!(cpu_ticks(stat), Some(200));
        let status = "Name:\tvatra\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n";
        assert_eq!(kilobytes(status, "VmHWM:"), Some(2048));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_costs_something() {
        let usage = of_process(std::process::id()).unwrap();
        assert!(usage.rss_peak_bytes >= usage.rss_bytes && usage.rss_bytes > 100_000);
    }
}
