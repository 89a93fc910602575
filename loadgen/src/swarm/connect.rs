//! How a connection begins: a socket, its source address, the handshake.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, SockRef};

use super::{Client, Event, Fault, Interest, Nanos, Swarm, TcpStream, Token};
use crate::sys;

impl Swarm<'_> {
    /// Starts a connection; one that cannot be started has ended.
    pub(super) fn connect(&mut self, now: Nanos, planned: Option<Nanos>) {
        let id = self.next_id;
        self.next_id += self.task.ids.1;
        self.recorder.started(now, planned);
        self.control.count_start();
        let (mut script, wire) = self.next_script(now, planned);
        match self.try_connect(id) {
            Ok(stream) => {
                let client = Client {
                    stream,
                    script,
                    wire,
                    id,
                    unproven: true,
                    writable_at: None,
                    queued: false,
                    unread: false,
                    looked: None,
                    error: None,
                };
                let key = self.clients.insert(client);
                self.unproven += 1;
                self.register(key);
            }
            Err(error) => {
                script.handle(Event::ConnectFailed(Fault::of(&error)), now);
                script.handle(Event::Closed, self.clock.now());
                self.record(id, &script, None, Some(&error));
            }
        }
    }

    fn try_connect(&self, id: u64) -> io::Result<TcpStream> {
        let remote = self.task.remote;
        let socket = sys::nonblocking_socket(Domain::for_address(remote))?;
        // The tail is sent when it is sent, not when the echo of the first bytes was acknowledged.
        socket.set_tcp_nodelay(true)?;
        let sources = &self.task.sources;
        if !sources.is_empty() {
            let source = sources[(id % sources.len() as u64) as usize];
            sys::bind_address_only(&socket)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&remote.into()) {
            Ok(()) => {}
            Err(error) if sys::is_in_progress(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(TcpStream::from_std(socket.into()))
    }

    fn register(&mut self, key: usize) {
        let client = &mut self.clients[key];
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut client.stream, Token(key), both) {
            // What this host has too little of is said by the error; connecting is what it kept us from.
            let now = self.clock.now();
            client.script.handle(Event::ConnectFailed(Fault::of(&error)), now);
            client.error = Some(error);
            self.enqueue(key);
        }
    }
}

/// The error behind an EOF: the one look that anybody takes at SO_ERROR, which would hide a reset from the next receive.
pub(super) fn pending_error(stream: &TcpStream) -> io::Result<Option<io::Error>> {
    SockRef::from(stream).take_error()
}
