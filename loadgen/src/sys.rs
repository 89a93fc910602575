//! What differs between operating systems and has no portable wrapper.

use std::io;
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Whether every address of 127/8 belongs to this host without further ado.
pub const LOOPBACK_IS_A_NETWORK: bool = cfg!(any(target_os = "linux", target_os = "windows"));

/// Whether a read that brought less than there was room for need not be followed by another: the next arrival is
/// reported. So it is with epoll; elsewhere readiness is armed again by the read that would block.
pub const SHORT_READ_SUFFICES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Raises the soft limit of descriptors as far as it goes, and says what it is then.
///
/// # Errors
/// As setrlimit(2).
pub fn raise_descriptor_limit() -> io::Result<Option<u64>> {
    #[cfg(unix)]
    return rlimit::increase_nofile_limit(u64::MAX).map(Some);
    #[cfg(not(unix))]
    Ok(None)
}

/// Makes room for `count` descriptors at once. Otherwise the kernel doubles the table of a process with threads again
/// and again, and waits for all processors each time: 5 to 25 ms in which every connection stood still.
///
/// # Errors
/// As fcntl(2); nothing is lost then but the time.
pub fn reserve_descriptors(count: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        use nix::fcntl::{FcntlArg, fcntl};
        let last = i32::try_from(count).map_err(io::Error::other)?;
        nix::unistd::close(fcntl(io::stderr(), FcntlArg::F_DUPFD_CLOEXEC(last))?)?;
    }
    #[cfg(not(unix))]
    let _ = count;
    Ok(())
}

/// Processors of this host, whoever may use them, where it tells.
#[must_use]
pub fn cpus_online() -> Option<u32> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok()??.try_into().ok();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    None
}

/// The processors that the calling thread may run on.
///
/// # Errors
/// As sched_getaffinity(2); where there is no such thing.
pub fn cpus_allowed() -> io::Result<Vec<usize>> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use nix::sched::{CpuSet, sched_getaffinity};
        let allowed = sched_getaffinity(nix::unistd::Pid::from_raw(0))?;
        Ok((0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).is_ok_and(|is_set| is_set)).collect())
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    Err(io::ErrorKind::Unsupported.into())
}

/// Lets the calling thread, and what it starts from now on, run on these processors only.
///
/// # Errors
/// As sched_setaffinity(2); where there is no such thing.
pub fn run_on(cpus: &[usize]) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use nix::sched::{CpuSet, sched_setaffinity};
        let mut set = CpuSet::new();
        for &cpu in cpus {
            set.set(cpu)?;
        }
        Ok(sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = cpus;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A TCP socket that never waits: in one call where the kernel has one for it.
///
/// # Errors
/// As socket(2).
pub fn nonblocking_socket(domain: Domain) -> io::Result<Socket> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    return Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP));
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    {
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// Lets `bind` take an address and leave the choice of the port to `connect`, which knows the target: one port serves
/// several connections then (ip(7), IP_BIND_ADDRESS_NO_PORT).
///
/// # Errors
/// As setsockopt(2).
pub fn bind_address_only(socket: &Socket) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = socket;
    Ok(())
}

/// Whether a connect that would block has begun all the same.
#[must_use]
pub fn is_in_progress(error: &io::Error) -> bool {
    #[cfg(unix)]
    return error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32);
    #[cfg(not(unix))]
    return error.kind() == io::ErrorKind::WouldBlock;
}

/// Waits until a poll has something to show, at most `wait`, and returns for how long it must wait itself: it counts in
/// milliseconds, where this does not.
///
/// # Errors
/// As ppoll(2).
pub fn wait_for(poll: &mio::Registry, wait: Duration) -> io::Result<Duration> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if !wait.is_zero() {
        use nix::poll::{PollFd, PollFlags, ppoll};
        let poll = PollFd::new(std::os::fd::AsFd::as_fd(poll), PollFlags::POLLIN);
        ppoll(&mut [poll], Some(wait.into()), None)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Ok(Duration::ZERO);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = poll;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return Ok(wait);
}

/// Keeps a signal that the terminal sends from reaching what `command` starts.
pub fn in_group_of_its_own(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(windows)]
    // CREATE_NEW_PROCESS_GROUP.
    std::os::windows::process::CommandExt::creation_flags(command, 0x0000_0200);
    #[cfg(not(any(unix, windows)))]
    let _ = command;
}

/// The processor time that this process has used; nothing where that cannot be asked for.
#[must_use]
pub fn cpu_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        use nix::sys::resource::{UsageWho, getrusage};
        use nix::sys::time::TimeValLike;
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let used = usage.user_time() + usage.system_time();
        Some(Duration::from_micros(used.num_microseconds().unsigned_abs()))
    }
    #[cfg(not(unix))]
    None
}

/// The permissions of a file that anybody creates, before the umask; a temporary file would be its owner's alone.
#[must_use]
pub fn permissions_of_files() -> Option<std::fs::Permissions> {
    #[cfg(unix)]
    return Some(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    #[cfg(not(unix))]
    None
}

/// Stops a process (SIGSTOP).
///
/// # Errors
/// As kill(2), and `Unsupported` where there is no such signal.
pub fn stop(pid: u32) -> io::Result<()> {
    #[cfg(unix)]
    return kill(pid, Some(nix::sys::signal::Signal::SIGSTOP));
    #[cfg(not(unix))]
    return unsupported(pid);
}

/// Lets a stopped process go on (SIGCONT); one that runs does not notice.
///
/// # Errors
/// As [`stop`].
pub fn go_on(pid: u32) -> io::Result<()> {
    #[cfg(unix)]
    return kill(pid, Some(nix::sys::signal::Signal::SIGCONT));
    #[cfg(not(unix))]
    return unsupported(pid);
}

/// Whether a process exists and may be stopped by us.
///
/// # Errors
/// As [`stop`].
pub fn may_stop(pid: u32) -> io::Result<()> {
    #[cfg(unix)]
    return kill(pid, None);
    #[cfg(not(unix))]
    return unsupported(pid);
}

/// Whether every thread of a process stands still; `None` where that cannot be seen.
#[must_use]
pub fn stands_still(pid: u32) -> Option<bool> {
    // /proc is Linux's; elsewhere the folder is missing.
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    // The state is the field behind the name, which is in parentheses and may hold anything (proc(5)).
    let is_stopped = |stat: String| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
    Some(tasks.flatten().all(|task| std::fs::read_to_string(task.path().join("stat")).is_ok_and(is_stopped)))
}

#[cfg(unix)]
fn kill(pid: u32, signal: Option<nix::sys::signal::Signal>) -> io::Result<()> {
    // 0 and negative numbers would mean groups of processes.
    let pid = i32::try_from(pid).ok().filter(|&pid| pid > 0).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal)?)
}

#[cfg(not(unix))]
fn unsupported(_pid: u32) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "no process can be stopped on this system"))
}
