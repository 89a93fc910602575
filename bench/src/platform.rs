//! The few things that only Linux has a name for; elsewhere a comparison says so and ends.

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{
    children_cpu, end_with, monotonic, pin_to, process_cpu, socket_from, start_connect, thread_cpu,
    wait_readable,
};
#[cfg(target_os = "linux")]
pub use linux::{
    children_cpu, end_with, monotonic, pin_to, process_cpu, socket_from, start_connect, thread_cpu,
    wait_readable,
};

#[cfg(target_os = "linux")]
mod linux {
    use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::Duration;
    use std::{io, process};

    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sched::{CpuSet, sched_setaffinity};
    use nix::sys::prctl::set_pdeathsig;
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::signal::Signal;
    use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
    use nix::sys::time::TimeVal;
    use nix::time::{ClockId, clock_getcpuclockid};
    use nix::unistd::{Pid, getppid};
    use socket2::{Domain, Protocol, Socket, Type};

    /// Ends this process with the thread that started it, which is one of process `parent` unless that has ended already.
    ///
    /// # Errors
    /// As prctl, PR_SET_PDEATHSIG.
    pub fn end_with(parent: u32) -> io::Result<()> {
        set_pdeathsig(Signal::SIGKILL)?;
        if getppid().as_raw() as u32 != parent {
            process::exit(1);
        }
        Ok(())
    }

    /// Moves this thread to one CPU; what it spawns from now on starts there.
    ///
    /// # Errors
    /// As sched_setaffinity: this process may not use the CPU, or there is none of that number.
    pub fn pin_to(cpu: usize) -> io::Result<()> {
        let mut cpus = CpuSet::new();
        cpus.set(cpu)?;
        Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
    }

    /// The CPU time of all children that have ended and were waited for, with that of theirs.
    ///
    /// # Errors
    /// As getrusage.
    pub fn children_cpu() -> io::Result<Duration> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let duration = |time: TimeVal| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1_000);
        Ok(duration(usage.user_time()) + duration(usage.system_time()))
    }

    /// The CPU time of the process `pid`, 0 for this one, with all of its threads: also those that have ended, and
    /// the kernel's workers of a ring.
    ///
    /// # Errors
    /// There is no such process.
    pub fn process_cpu(pid: u32) -> io::Result<Duration> {
        let pid = Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?);
        Ok(clock_getcpuclockid(pid)?.now()?.into())
    }

    /// The CPU time of the calling thread.
    ///
    /// # Errors
    /// As clock_gettime.
    pub fn thread_cpu() -> io::Result<Duration> {
        Ok(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.into())
    }

    /// The monotonic clock, which is one for all processes.
    ///
    /// # Errors
    /// As clock_gettime.
    pub fn monotonic() -> io::Result<Duration> {
        Ok(ClockId::CLOCK_MONOTONIC.now()?.into())
    }

    /// A socket that does not block and will connect from `source`.
    ///
    /// # Errors
    /// What the operating system lacks.
    pub fn socket_from(source: Ipv4Addr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        // Otherwise bind() takes a port of its own and, with thousands in TIME_WAIT, searches long for one.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddrV4::new(source, 0).into())?;
        Ok(socket)
    }

    /// Starts connecting; the stream says by being writable that it is connected.
    ///
    /// # Errors
    /// As connect.
    pub fn start_connect(socket: Socket, target: SocketAddrV4) -> io::Result<TcpStream> {
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
            Ok(()) | Err(_) => Ok(socket.into()),
        }
    }

    /// Sleeps in poll(2) until somebody waits to be accepted, or `conn` has something to read or has failed. True when
    /// it was the listener, whatever there is at `conn`.
    ///
    /// # Errors
    /// As poll.
    pub fn wait_readable(listener: &TcpListener, conn: Option<&TcpStream>) -> io::Result<bool> {
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [readable(listener.as_fd()), readable(conn.map_or(listener.as_fd(), AsFd::as_fd))];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(error) if error != Errno::EINTR => Err(error.into()),
            Ok(_) | Err(_) => Ok(fds[0].any().unwrap_or(true)),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;
    use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
    use std::time::Duration;

    use socket2::Socket;

    /// Ends this process with another one.
    ///
    /// # Errors
    /// Always.
    pub fn end_with(_parent: u32) -> io::Result<()> {
        Err(unsupported())
    }

    /// Moves this thread to one CPU.
    ///
    /// # Errors
    /// Always.
    pub fn pin_to(_cpu: usize) -> io::Result<()> {
        Err(unsupported())
    }

    /// The CPU time of all children that have ended.
    ///
    /// # Errors
    /// Always.
    pub fn children_cpu() -> io::Result<Duration> {
        Err(unsupported())
    }

    /// The CPU time of a process.
    ///
    /// # Errors
    /// Always.
    pub fn process_cpu(_pid: u32) -> io::Result<Duration> {
        Err(unsupported())
    }

    /// The CPU time of the calling thread.
    ///
    /// # Errors
    /// Always.
    pub fn thread_cpu() -> io::Result<Duration> {
        Err(unsupported())
    }

    /// The monotonic clock.
    ///
    /// # Errors
    /// Always.
    pub fn monotonic() -> io::Result<Duration> {
        Err(unsupported())
    }

    /// A socket that will connect from `source`.
    ///
    /// # Errors
    /// Always.
    pub fn socket_from(_source: Ipv4Addr) -> io::Result<Socket> {
        Err(unsupported())
    }

    /// Starts connecting.
    ///
    /// # Errors
    /// Always.
    pub fn start_connect(_socket: Socket, _target: SocketAddrV4) -> io::Result<TcpStream> {
        Err(unsupported())
    }

    /// Sleeps until there is something to do.
    ///
    /// # Errors
    /// Always.
    pub fn wait_readable(_listener: &TcpListener, _conn: Option<&TcpStream>) -> io::Result<bool> {
        Err(unsupported())
    }

    fn unsupported() -> io::Error {
        io::Error::new(io::ErrorKind::Unsupported, "this comparison runs on Linux")
    }
}
