//! What the figures were measured on.

use std::fs;

/// One line: processor, cores, memory, kernel.
pub(crate) fn describe() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kib: u64 = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores of {}, {} GiB, Linux {}; load generator and server share them",
        field("/proc/cpuinfo", "model name"),
        (kib + (1 << 19)) >> 20,
        kernel.trim()
    )
}
