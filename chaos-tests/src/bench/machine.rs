//! What the benchmark ran on: figures mean nothing without it.

use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;

/// Small appends whose fsync is timed.
const FSYNCS: usize = 200;

/// Facts of the machine at the start.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    processor: String,
    processors: usize,
    memory_mib: u64,
    kernel: String,
    file_system: String,
    fsync_p50_ms: f64,
    load_average: String,
    commit: String,
    date: String,
}

impl Machine {
    /// Looks at this machine and at the folder in which the nodes will write.
    pub(super) fn look(parent: &Path) -> anyhow::Result<Machine> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = after(&read("/proc/meminfo"), "MemTotal");
        let memory_kib: u64 = memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        let now = time::OffsetDateTime::now_utc();
        Ok(Machine {
            processor: after(&read("/proc/cpuinfo"), "model name"),
            processors: std::thread::available_parallelism()?.get(),
            memory_mib: memory_kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(parent, &read("/proc/self/mounts")),
            fsync_p50_ms: fsync_p50_ms(parent)?,
            load_average: read("/proc/loadavg").trim().to_owned(),
            commit: commit(),
            date: format!("{}T{:02}:{:02}:{:02}Z", now.date(), now.hour(), now.minute(), now.second()),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} x {}, {} MiB, Linux {}, stores on {} (fsync p50 {:.2} ms), load {}, commit {}, {}",
            self.processors,
            self.processor,
            self.memory_mib,
            self.kernel,
            self.file_system,
            self.fsync_p50_ms,
            self.load_average,
            self.commit,
            self.date
        )
    }
}

/// The type of the file system with the longest mount point above the folder.
fn file_system(folder: &Path, mounts: &str) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(point, _)| folder.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned()).unwrap_or_default()
}

fn fsync_p50_ms(parent: &Path) -> anyhow::Result<f64> {
    let dir = tempfile::tempdir_in(parent).with_context(|| parent.display().to_string())?;
    let mut file = File::create(dir.path().join("probe"))?;
    let mut times = Vec::with_capacity(FSYNCS);
    for _ in 0..FSYNCS {
        file.write_all(&[0x5a; 512])?;
        let begin = Instant::now();
        file.sync_data()?;
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(times[FSYNCS / 2].as_secs_f64() * 1e3)
}

/// The commit of the checkout, with a mark when files differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain"]).is_some_and(|text| !text.is_empty());
    if changed { format!("{commit}+changes") } else { commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_tells_the_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nx /tmpfoo xfs rw 0 0\n";
        assert_eq!(file_system(Path::new("/tmp"), mounts), "tmpfs");
        assert_eq!(file_system(Path::new("/usr"), mounts), "ext4");
    }
}
