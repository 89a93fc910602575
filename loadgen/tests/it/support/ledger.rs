//! Ledgers to be judged, written from `server/LEDGER.md`: an honest one, and others that are wrong in one way each.
//! Blocking, a thread for each connection.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

/// A connection's thread holds a line, and little else.
const STACK_BYTES: usize = 128 * 1024;

/// In what way a ledger is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// In none.
    Nowhere,
    /// It adds, and sends its FIN without a reply, now and then.
    Mute,
    /// It adds each total twice.
    AddsTwice,
    /// It answers `ok`, now and then without adding.
    Forgets,
    /// It counts a transaction too few.
    Miscounts,
    /// It answers the claim's LF, and not the FIN behind it.
    Hasty,
    /// It tells a grand total that is lower than one that it told before, now and then.
    Falls,
    /// It tells another boot, now and then.
    Boots,
    /// The last byte of the echo is missing, now and then.
    Truncates,
    /// It echoes the claim as well.
    EchoesClaim,
    /// It remembers no session.
    Forgetful,
    /// It says `duplicate` to a repetition, with the grand total as it is by then.
    Late,
    /// It calls new sessions duplicates, now and then.
    Suspicious,
    /// It calls right totals a mismatch, now and then.
    Stubborn,
    /// It says what is no reply, now and then.
    Babbles,
    /// It sends a line behind the reply, now and then.
    Chatters,
    /// It ends with a RST behind the whole echo, without a reply, having added, now and then.
    Aborts,
    /// It never answers, now and then.
    Silent,
    /// It adds what no FIN came behind.
    Eager,
    /// It ends first, now and then, and says so.
    Drains,
}

/// A ledger on a free port of 127.0.0.1. Dropping it ends its connections and its threads.
pub(crate) struct Ledger {
    target: String,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    wrong: Wrong,
    boot: u128,
    books: Arc<Mutex<Books>>,
    accepted: AtomicU64,
    claims: AtomicU64,
    ending: Mutex<bool>,
    ended: Condvar,
    connections: Mutex<Vec<Weak<TcpStream>>>,
    handlers: Mutex<Vec<JoinHandle<()>>>,
}

/// What is kept, as by a file: the next server on the same books goes on with them.
#[derive(Clone, Default)]
pub(crate) struct Books {
    grand_total: u64,
    sessions: HashMap<u128, (u64, u64)>,
}

impl Books {
    /// As a file is found after a kill: what was in it then.
    pub(crate) fn clone_of(books: &Arc<Mutex<Self>>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(books.lock().unwrap().clone()))
    }

    /// Makes it wrong.
    pub(crate) fn falsify(&mut self, change: i64) {
        self.grand_total = self.grand_total.checked_add_signed(change).unwrap();
    }

    /// All that was ever added.
    pub(crate) fn grand_total(&self) -> u64 {
        self.grand_total
    }
}

impl Ledger {
    /// A ledger that is wrong in one way.
    pub(crate) fn start(wrong: Wrong) -> Self {
        Self::on(SocketAddr::from(([127, 0, 0, 1], 0)), wrong, 1, Arc::default())
    }

    /// A ledger with these books at `addr`, in its `boot`-th life.
    pub(crate) fn on(addr: SocketAddr, wrong: Wrong, boot: u128, books: Arc<Mutex<Books>>) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        // A server before it may have left connections in TIME_WAIT.
        socket.set_reuse_address(true).unwrap();
        socket.bind(&addr.into()).unwrap();
        socket.listen(1024).unwrap();
        let listener = Arc::new(TcpListener::from(socket));
        let shared = Arc::new(Shared {
            wrong,
            boot,
            books,
            accepted: AtomicU64::new(0),
            claims: AtomicU64::new(0),
            ending: Mutex::new(false),
            ended: Condvar::new(),
            connections: Mutex::default(),
            handlers: Mutex::default(),
        });
        let acceptor = thread::spawn({
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
            move || {
                while let Ok((stream, _)) = listener.accept() {
                    treat(&shared, stream);
                }
            }
        });
        let target = listener.local_addr().unwrap().to_string();
        Self { target, listener, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens, as an argument.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Claims that it has got, with a FIN behind them.
    pub(crate) fn claims(&self) -> u64 {
        self.shared.claims.load(Ordering::Relaxed)
    }

    /// What it keeps.
    pub(crate) fn books(&self) -> Arc<Mutex<Books>> {
        Arc::clone(&self.shared.books)
    }
}

impl Drop for Ledger {
    /// As a kill does: every connection is reset, and nothing is said.
    fn drop(&mut self) {
        *self.shared.ending.lock().unwrap() = true;
        self.shared.ended.notify_all();
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        let acceptor = self.acceptor.take().map(JoinHandle::join);
        for connection in self.shared.connections.lock().unwrap().iter().filter_map(Weak::upgrade) {
            let _ = SockRef::from(&*connection).set_linger(Some(Duration::ZERO));
            let _ = connection.shutdown(Shutdown::Read);
        }
        let handlers = std::mem::take(&mut *self.shared.handlers.lock().unwrap());
        let failed =
            handlers.into_iter().map(JoinHandle::join).chain(acceptor).filter(Result::is_err).count();
        assert!(failed == 0 || thread::panicking(), "{failed} threads of the ledger panicked");
    }
}

fn treat(shared: &Arc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let stream = Arc::new(stream);
    shared.connections.lock().unwrap().push(Arc::downgrade(&stream));
    let own = Arc::clone(shared);
    let handler = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        // An error says that the peer went away first, or that the ledger ends: nothing is added then.
        let _ = serve(&own, &stream);
    });
    shared.handlers.lock().unwrap().push(handler.unwrap());
}

/// A claim.
#[derive(Clone, Copy)]
struct Claim {
    total: u64,
    session: u128,
}

/// Echoes lines up to the FIN, and answers what was claimed.
fn serve(shared: &Shared, stream: &TcpStream) -> io::Result<()> {
    let wrong = shared.wrong;
    let nth = shared.accepted.fetch_add(1, Ordering::Relaxed);
    let mut input = BufReader::with_capacity(16 * 1024, stream);
    let (mut seen, mut claim, mut eager, mut line) = (0, None, None, Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let is_whole = line.ends_with(b"\n");
        if !line.starts_with(b"!") {
            assert!(claim.is_none(), "a transaction behind the claim");
            seen += u64::from(is_whole);
            // Whoever is cut short got its first line: otherwise it would not go on.
            if wrong != Wrong::Truncates || seen <= 1 || nth % 7 != 3 {
                send(stream, &line)?;
            }
        } else if is_whole {
            claim = Some(parse(&line));
            if wrong == Wrong::EchoesClaim {
                send(stream, &line)?;
            }
            if wrong == Wrong::Hasty || wrong == Wrong::Eager {
                shared.claims.fetch_add(1, Ordering::Relaxed);
                let said = shared.answer(claim.unwrap(), seen);
                if wrong == Wrong::Hasty {
                    send(stream, said.as_bytes())?;
                    return stream.shutdown(Shutdown::Write);
                }
                eager = Some(said);
            }
        }
    }
    // A kill, which a thread sees as an end of its input.
    if *shared.ending.lock().unwrap() {
        return Ok(());
    }
    let Some(claim) = claim.filter(|_| wrong != Wrong::EchoesClaim) else {
        return stream.shutdown(Shutdown::Write);
    };
    if let Some(said) = eager {
        send(stream, String::as_bytes(&said))?;
        return stream.shutdown(Shutdown::Write);
    }
    let nth = shared.claims.fetch_add(1, Ordering::Relaxed);
    finish(shared, stream, claim, seen, nth % 7 == 3)
}

/// Answers a claim whose FIN has come; wrongly, if it is `odd` and that is its way.
fn finish(shared: &Shared, stream: &TcpStream, claim: Claim, seen: u64, odd: bool) -> io::Result<()> {
    let wrong = if odd { shared.wrong } else { Wrong::Nowhere };
    if wrong == Wrong::Drains {
        let total = shared.books.lock().unwrap().grand_total;
        send(stream, shared.line("draining", seen, total).as_bytes())?;
        return stream.shutdown(Shutdown::Write);
    }
    let said = match wrong {
        Wrong::Stubborn => shared.line("mismatch", seen, shared.books.lock().unwrap().grand_total),
        Wrong::Suspicious => shared.answer(claim, seen).replace("=ok", "=duplicate"),
        Wrong::Miscounts => {
            shared.answer(claim, seen).replace(&format!("seen={seen}"), &format!("seen={}", seen + 1))
        }
        Wrong::Babbles => shared.answer(claim, seen).replace("=ok seen", "=OK seen"),
        Wrong::Chatters => shared.answer(claim, seen) + "bye\n",
        Wrong::Boots => shared.answer(claim, seen).replace("boot=0", "boot=f"),
        Wrong::Forgets if claim.total > 0 => {
            let total = shared.books.lock().unwrap().grand_total;
            shared.line("ok", seen, total + claim.total)
        }
        Wrong::Falls if claim.total > 0 => {
            shared.answer(claim, seen);
            shared.line("ok", seen, claim.total)
        }
        Wrong::Nowhere
        | Wrong::Mute
        | Wrong::AddsTwice
        | Wrong::Forgets
        | Wrong::Hasty
        | Wrong::Falls
        | Wrong::Truncates
        | Wrong::EchoesClaim
        | Wrong::Forgetful
        | Wrong::Late
        | Wrong::Aborts
        | Wrong::Silent
        | Wrong::Eager
        | Wrong::Drains => shared.answer(claim, seen),
    };
    if wrong == Wrong::Mute {
        return stream.shutdown(Shutdown::Write);
    }
    if wrong == Wrong::Aborts {
        return SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    if wrong == Wrong::Silent {
        let ending = shared.ending.lock().unwrap();
        drop(shared.ended.wait_while(ending, |ending| !*ending).unwrap());
        return Ok(());
    }
    send(stream, said.as_bytes())?;
    stream.shutdown(Shutdown::Write)
}

impl Shared {
    /// The rows of the table in `server/LEDGER.md`, as far as a sane client comes by them.
    fn answer(&self, Claim { total, session }: Claim, seen: u64) -> String {
        let mut books = self.books.lock().unwrap();
        let known = books.sessions.get(&session).copied().filter(|_| self.wrong != Wrong::Forgetful);
        match known {
            Some((_, _)) if self.wrong == Wrong::Late => self.line("duplicate", seen, books.grand_total),
            Some((had, told)) if had == total => self.line("duplicate", seen, told),
            Some(_) => self.line("mismatch", seen, books.grand_total),
            None if total != seen => self.line("mismatch", seen, books.grand_total),
            None => {
                books.grand_total += total;
                let told = books.grand_total;
                if self.wrong == Wrong::AddsTwice {
                    books.grand_total += total;
                }
                books.sessions.insert(session, (total, told));
                self.line("ok", seen, told)
            }
        }
    }

    fn line(&self, status: &str, seen: u64, grand_total: u64) -> String {
        format!("!disconnect status={status} seen={seen} grand_total={grand_total} boot={:032x}\n", self.boot)
    }
}

fn parse(line: &[u8]) -> Claim {
    let line = std::str::from_utf8(line).unwrap();
    let fields = line.strip_prefix("!disconnect total=").and_then(|rest| rest.strip_suffix('\n')).unwrap();
    let (total, session) = fields.split_once(" session=").unwrap();
    assert_eq!(session.len(), 32, "{line}");
    Claim { total: total.parse().unwrap(), session: u128::from_str_radix(session, 16).unwrap() }
}

fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}
