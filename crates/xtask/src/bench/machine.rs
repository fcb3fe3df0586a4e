//! The machine on which is measured, and how much of it others used meanwhile.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

use super::house;

/// How busy the machine had been, up to one moment.
pub(super) struct Load {
    at: Instant,
    /// Seconds of processor time that all processes used.
    all: f64,
    /// Those that this process and its ended children used.
    own: f64,
    average: String,
}

impl Load {
    pub(super) fn now() -> Self {
        let stat = read("/proc/stat");
        let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let fields: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
        // User, nice and system; then, after idle and waiting, interrupts and what the host took.
        let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| fields.get(*at)).sum::<f64>();
        let average = read("/proc/loadavg");
        let average = average.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        let own = house::cpu_seconds_with_children();
        Self { at: Instant::now(), all: busy / 100.0, own, average }
    }

    /// The share of all cores that others used since, in percent.
    fn neighbours(&self, now: &Self, cores: usize) -> f64 {
        let others = (now.all - self.all) - (now.own - self.own);
        let room = (now.at - self.at).as_secs_f64() * cores as f64;
        (others / room * 100.0).max(0.0)
    }
}

/// What there is to know, as a list.
pub(super) fn facts(begun: &Load) -> String {
    let now = Load::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let cpu = cpu.unwrap_or_default().trim_start_matches([' ', '\t', ':']);
    let memory = read("/proc/meminfo");
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let memory = memory.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    let lines = [
        format!("Measured {date} on revision {}", said("git", &["rev-parse", "--short", "HEAD"])),
        format!("{cores} cores of {cpu}, {:.0} GiB", memory.unwrap_or(f64::NAN) / 1_048_576.0),
        format!(
            "Linux {}, {} under the store, {}",
            read("/proc/sys/kernel/osrelease").trim(),
            file_system(),
            said("rustc", &["--version"])
        ),
        format!(
            "it took {:.0} s; load average {} before and {} after; other processes used {:.0} % of \
             the cores meanwhile",
            (now.at - begun.at).as_secs_f64(),
            begun.average,
            now.average,
            begun.neighbours(&now, cores)
        ),
    ];
    lines.iter().fold(String::new(), |mut text, line| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {line}");
        text
    })
}

/// The kind of file system that holds the stores, and its device.
fn file_system() -> String {
    let folder = std::env::temp_dir();
    let mounts = read("/proc/mounts");
    let holds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
        folder.starts_with(at).then_some((at.len(), format!("{kind} ({device})")))
    });
    holds.max().map_or_else(|| "an unknown file system".to_owned(), |(_, what)| what)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(crate::root()).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
