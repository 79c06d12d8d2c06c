//! The machine of a measurement.

/// The CPUs, the kernel and the compiler.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("a CPU");
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let plural = if count == 1 { "" } else { "s" };
    let kernel = read("/proc/sys/kernel/osrelease");
    let compiler = std::process::Command::new("rustc").arg("--version").output().ok();
    let compiler = compiler.and_then(|output| String::from_utf8(output.stdout).ok());
    let compiler = compiler.unwrap_or_default();
    format!("{count} CPU{plural} ({model}), Linux {}, {}", kernel.trim(), compiler.trim())
}
