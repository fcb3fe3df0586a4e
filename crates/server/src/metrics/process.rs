//! What the system says of the process, under the names that Prometheus' own libraries use.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::exposition::Page;

/// Notes when the process began to serve; the first call counts.
pub(crate) fn began() -> Duration {
    static BEGAN: OnceLock<Duration> = OnceLock::new();
    *BEGAN.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// What cannot be found out on this system is announced and left out.
pub(super) fn write(page: &mut Page) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    page.counter("process_cpu_seconds_total", "User and system CPU time").only(cpu);
    let began = began().as_secs_f64();
    page.gauge("process_start_time_seconds", "Start time of the process since the Unix epoch")
        .only(began);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of_status = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let kib = |name| of_status(name).map(|kib| kib << 10);
    let gauges = [
        ("process_resident_memory_bytes", "Resident memory size", kib("VmRSS:")),
        ("process_virtual_memory_bytes", "Virtual memory size", kib("VmSize:")),
        ("process_threads", "Threads", of_status("Threads:")),
        ("process_open_fds", "Number of open file descriptors", open_files()),
        (
            "process_max_fds",
            "Maximum number of open file descriptors",
            getrlimit(Resource::Nofile).current,
        ),
    ];
    for (name, help, value) in gauges {
        let samples = page.gauge(name, help);
        if let Some(value) = value {
            samples.only(value);
        }
    }
}

/// Linux 6.2 and later tell the number as a size; before, they are counted.
fn open_files() -> Option<u64> {
    let folder = "/proc/self/fd";
    let told = std::fs::metadata(folder).ok()?.len();
    if told > 0 {
        return Some(told);
    }
    // One of them is the folder itself while it is read.
    std::fs::read_dir(folder).ok().map(|files| (files.count() as u64).saturating_sub(1))
}
