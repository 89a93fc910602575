//! The two things that only Linux has a name for; elsewhere the comparison says so and ends.

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{connect_from, pin_to};
#[cfg(target_os = "linux")]
pub(crate) use linux::{connect_from, pin_to};

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

    use nix::errno::Errno;
    use nix::sched::{CpuSet, sched_setaffinity};
    use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
    use nix::unistd::Pid;
    use socket2::{Domain, Protocol, Socket, Type};

    /// Moves this thread to one CPU; what it spawns from now on starts there.
    pub(crate) fn pin_to(cpu: usize) -> io::Result<()> {
        let mut cpus = CpuSet::new();
        cpus.set(cpu)?;
        Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
    }

    /// Starts connecting; the stream does not block and says by being writable that it is connected.
    pub(crate) fn connect_from(source: Ipv4Addr, target: SocketAddrV4) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        // Otherwise bind() takes a port of its own and, with thousands in TIME_WAIT, searches long for one.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddrV4::new(source, 0).into())?;
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
            Ok(()) | Err(_) => Ok(socket.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;
    use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

    pub(crate) fn pin_to(_cpu: usize) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this comparison runs on Linux"))
    }

    pub(crate) fn connect_from(_source: Ipv4Addr, _target: SocketAddrV4) -> io::Result<TcpStream> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this comparison runs on Linux"))
    }
}
