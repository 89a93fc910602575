//! The exchange of totals at the end of a connection (`server/LEDGER.md`), step by step: (1) the client ends and tells its
//! total, (2) the server sees the graceful close, (3) has the total, (4) adds it up, (5) tells the grand total and ends
//! too, (5') closes, and whenever it likes the client (6) sees that, (7) has the grand total, (8) closes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::{NonZeroU32, NonZeroUsize};
use std::thread;
use std::time::Duration;

use finwait_server::config::Config;
use finwait_server::metrics::Tally;
use socket2::SockRef;

use crate::support::{
    Engine, LIMIT, Program, Running, Scratch, clock, config, engines, outcomes, programs, shows, wait_until,
    wait_until_still,
};

engines!(
    totals_add_up,
    what_is_claimed_twice_counts_once,
    what_does_not_hold_counts_nothing,
    the_server_closes_whatever_the_client_waits_for,
    resets_count_nothing_before_the_fin,
    resets_that_a_send_is_told_of_count_nothing,
    resets_behind_the_fin_count_once,
    drained_clients_are_told_so,
    fins_that_cross_a_drain_are_answered_once,
    every_byte_comes_back_through_a_narrow_window,
    a_claim_that_comes_byte_by_byte,
    crowds_on_two_workers,
    an_echo_beside_it,
    a_file_goes_on_after_the_end,
    a_fin_behind_a_claim_is_answered_at_once,
);
programs!(a_flood_across_a_drain_ends_with_the_reply);

fn totals_add_up(engine: Engine) {
    let server = start(engine);
    let first = Client::connect(&server).exchange("a\nb\n", 2, 1);
    assert_eq!((first.status.as_str(), first.seen, first.grand_total), ("ok", 2, 2));
    let second = Client::connect(&server).exchange("a\nb\r\n\n", 3, 2);
    assert_eq!((second.status.as_str(), second.seen, second.grand_total), ("ok", 3, 5));
    assert_eq!(first.boot, second.boot);
    let nothing = Client::connect(&server).exchange("", 0, 3);
    assert_eq!((nothing.status.as_str(), nothing.seen, nothing.grand_total), ("ok", 0, 5));
    // A FIN without a claim is a graceful close like any other.
    let mut client = Client::connect(&server);
    client.send("a\n");
    client.fin();
    assert_eq!(client.read_to_eof(), "a\n");
    assert_eq!(grand_total(&server), 5);
    assert_eq!(outcomes(server.end()), Tally { accepted: 4, graceful: 4, ..Tally::default() });
}

fn what_is_claimed_twice_counts_once(engine: Engine) {
    let server = start(engine);
    let first = Client::connect(&server).exchange("a\n", 1, 7);
    Client::connect(&server).exchange("a\n", 1, 8);
    let again = Client::connect(&server).exchange("a\n", 1, 7);
    assert_eq!((again.status.as_str(), again.seen), ("duplicate", 1));
    assert_eq!(again.grand_total, first.grand_total, "the first reply is repeated");
    let other = Client::connect(&server).exchange("a\na\n", 2, 7);
    assert_eq!((other.status.as_str(), other.grand_total), ("mismatch", 2));
    assert_eq!(grand_total(&server), 2);
    server.end();
}

fn what_does_not_hold_counts_nothing(engine: Engine) {
    let claim = |total: &str| format!("!disconnect total={total} session={:032x}\n", 9);
    let long = "x".repeat(70_000) + "\n";
    let cases = [
        ("a\n".to_owned() + &claim("2"), "a\n", "mismatch", 1),
        ("a\n".to_owned() + &claim("18446744073709551616"), "a\n", "malformed", 1),
        ("a\n!hello\n".to_owned(), "a\n", "malformed", 1),
        ("a\n".to_owned() + &claim("1") + &claim("1"), "a\n", "malformed", 1),
        (claim("1") + "a\n", "a\n", "malformed", 1),
        ("a\nb".to_owned(), "a\nb", "malformed", 1),
        ("!disconnect total=0 session=0".to_owned(), "", "malformed", 0),
        (long.clone() + &claim("1"), &long, "malformed", 0),
    ];
    let server = start(engine);
    for (said, echoed, status, seen) in &cases {
        let mut client = Client::connect(&server);
        client.send(said);
        client.fin();
        let heard = client.read_to_eof();
        let line =
            heard.strip_prefix(echoed).unwrap_or_else(|| panic!("{heard:?} does not begin with the echo"));
        let reply = Reply::parse(line);
        assert_eq!((reply.status.as_str(), reply.seen, reply.grand_total), (*status, *seen, 0), "{said:?}");
    }
    assert_eq!(grand_total(&server), 0);
    let count = cases.len() as u64;
    assert_eq!(outcomes(server.end()), Tally { accepted: count, graceful: count, ..Tally::default() });
}

/// (5') follows (5), and has nothing to do with (6), (7) and (8).
fn the_server_closes_whatever_the_client_waits_for(engine: Engine) {
    const DELAY: Duration = Duration::from_secs(2);
    let server = start(engine);
    let mut client = Client::connect(&server);
    client.send("a\n");
    client.claim(1, 1);
    client.fin();
    let began = clock();
    wait_until("the server has closed", || server.tally().graceful == 1);
    assert!(began.elapsed() < DELAY, "it waited for the client");
    thread::sleep(DELAY);
    let heard = client.read_to_eof();
    let reply = Reply::parse(heard.strip_prefix("a\n").expect("the echo comes first"));
    assert_eq!((reply.status.as_str(), reply.grand_total), ("ok", 1));
    assert_eq!(outcomes(server.end()), Tally { accepted: 1, graceful: 1, ..Tally::default() });
}

/// A claim that is complete, and the connection is not.
fn resets_count_nothing_before_the_fin(engine: Engine) {
    const ROUNDS: u64 = 20;
    let server = start(engine);
    for round in 0..ROUNDS {
        let mut client = Client::connect(&server);
        client.send("a\n");
        client.hear("a\n");
        client.claim(1, u128::from(round));
        // On every other connection the claim was received before the RST.
        let received = (round + 1) * 2 + (round / 2 + 1) * claim(1, 0).len() as u64;
        wait_until("the claim is there", || round % 2 == 1 || server.tally().bytes_received >= received);
        client.reset();
    }
    wait_until("all have ended", || server.tally().ended() == ROUNDS);
    let counted_max = if shows("resets_count_nothing_before_the_fin", engine) { 0 } else { ROUNDS };
    assert!(grand_total(&server) <= counted_max, "{} are counted", grand_total(&server));
    server.end();
}

/// The echo is under way when the RST comes: a send may be told of it, and what the receive is told then is an EOF.
fn resets_that_a_send_is_told_of_count_nothing(engine: Engine) {
    const ROUNDS: u64 = 300;
    const LINES: usize = 100;
    let server = start(engine);
    let lines = format!("{}\n", "x".repeat(63)).repeat(LINES);
    let told = shows("resets_that_a_send_is_told_of_count_nothing", engine);
    for round in 0..ROUNDS {
        let mut client = Client::connect(&server);
        client.send(&(lines.clone() + &claim(LINES as u64, round.into())));
        client.reset();
        // One at a time: among others its bytes and its RST would be found together.
        wait_until("it has ended", || !told || server.tally().ended() == round + 1);
    }
    wait_until_still(|| server.tally().ended());
    assert_eq!(grand_total(&server), 0);
    server.end();
}

/// Whether the FIN was seen before the RST is chance; that a session counts once is not.
fn resets_behind_the_fin_count_once(engine: Engine) {
    const ROUNDS: u64 = 50;
    let server = start(engine);
    for round in 0..ROUNDS {
        let mut client = Client::connect(&server);
        client.send("a\n");
        client.claim(1, u128::from(round));
        client.fin();
        client.reset();
    }
    if shows("resets_behind_the_fin_count_once", engine) {
        wait_until("all have ended", || server.tally().ended() == ROUNDS);
    } else {
        wait_until_still(|| server.tally().ended());
    }
    let before = grand_total(&server);
    assert!(before <= ROUNDS);
    let mut repeated = 0;
    for round in 0..ROUNDS {
        let reply = Client::connect(&server).exchange("a\n", 1, u128::from(round));
        assert!(["ok", "duplicate"].contains(&reply.status.as_str()), "{reply:?}");
        repeated += u64::from(reply.status == "ok");
    }
    assert_eq!(before + repeated, ROUNDS);
    assert_eq!(grand_total(&server), ROUNDS);
    server.end();
}

/// The server is the one that ends: what it was told by then is answered, and a total that comes later is not counted.
fn drained_clients_are_told_so(engine: Engine) {
    let server = start(engine);
    Client::connect(&server).exchange("a\n", 1, 1);
    let mut silent = Client::connect(&server);
    let mut counting = Client::connect(&server);
    counting.send("b\nc\nd");
    counting.hear("b\nc\nd");
    silent.send("e");
    silent.hear("e");
    server.drain();
    for (client, seen) in [(&mut silent, 0), (&mut counting, 2)] {
        let reply = Reply::parse(&client.read_to_eof());
        assert_eq!((reply.status.as_str(), reply.seen, reply.grand_total), ("draining", seen, 1));
    }
    counting.send("\n");
    counting.claim(3, 2);
    counting.fin();
    silent.fin();
    let ledger = server.server().ledger().expect("there is one");
    assert_eq!(outcomes(server.join()), Tally { accepted: 3, graceful: 3, ..Tally::default() });
    assert_eq!(ledger.grand_total(), 1);
}

/// Which of the two comes first is chance, and either way the client is told the truth.
fn fins_that_cross_a_drain_are_answered_once(engine: Engine) {
    const PEERS: u64 = 50;
    for _ in 0..5 {
        let server = start(engine);
        let clients: Vec<_> = (0..PEERS)
            .map(|_| {
                let mut client = Client::connect(&server);
                client.send("a\n");
                client.hear("a\n");
                client
            })
            .collect();
        let ledger = server.server().ledger().expect("there is one");
        let counted = thread::scope(|scope| {
            let crowd = scope.spawn(|| {
                let mut counted = 0;
                for (session, mut client) in clients.into_iter().enumerate() {
                    client.claim(1, session as u128);
                    client.fin();
                    let reply = Reply::parse(&client.read_to_eof());
                    assert!(["ok", "draining"].contains(&reply.status.as_str()), "{reply:?}");
                    counted += u64::from(reply.status == "ok");
                }
                counted
            });
            server.drain();
            crowd.join().unwrap()
        });
        assert_eq!(outcomes(server.join()), Tally { accepted: PEERS, graceful: PEERS, ..Tally::default() });
        assert_eq!(ledger.grand_total(), counted);
    }
}

fn every_byte_comes_back_through_a_narrow_window(engine: Engine) {
    let lines: String = (0..40_000).map(|line| format!("{line} {}\n", "x".repeat(line % 97))).collect();
    for window in [1000, 65_536] {
        let window = NonZeroU32::new(window).unwrap();
        let server = start_with(Config { window, ..config(engine) });
        let client = Client::connect(&server);
        let mut writer = client.0.try_clone().unwrap();
        let mut reader = client;
        let heard = thread::scope(|scope| {
            scope.spawn(|| {
                writer.write_all(lines.as_bytes()).unwrap();
                writer.write_all(claim(40_000, 5).as_bytes()).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            reader.read_to_eof()
        });
        let reply = Reply::parse(heard.strip_prefix(&lines).expect("the echo comes first, and whole"));
        assert_eq!((reply.status.as_str(), reply.seen, reply.grand_total), ("ok", 40_000, 40_000));
        server.end();
    }
}

fn a_claim_that_comes_byte_by_byte(engine: Engine) {
    let server = start(engine);
    let mut client = Client::connect(&server);
    client.0.set_nodelay(true).unwrap();
    client.send("ab\n");
    for (byte, sent) in claim(1, 1).as_bytes().iter().zip(4..) {
        client.0.write_all(&[*byte]).unwrap();
        wait_until("it has come", || server.tally().bytes_received == sent);
    }
    client.fin();
    let heard = client.read_to_eof();
    let reply = Reply::parse(heard.strip_prefix("ab\n").expect("the claim is not sent back"));
    assert_eq!((reply.status.as_str(), reply.seen), ("ok", 1));
    server.end();
}

fn crowds_on_two_workers(engine: Engine) {
    const THREADS: u64 = 4;
    const CLIENTS: u64 = 50;
    const LINES: u64 = 20;
    let server = start_with(Config { workers: NonZeroUsize::new(2).unwrap(), ..config(engine) });
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let server = &server;
            scope.spawn(move || {
                let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server)).collect();
                let mut last = 0;
                for client in &mut clients {
                    client.send(&"line\n".repeat(LINES as usize));
                }
                for (at, mut client) in clients.into_iter().enumerate() {
                    client.claim(LINES, u128::from(thread * CLIENTS) + at as u128);
                    client.fin();
                    let heard = client.read_to_eof();
                    let reply = Reply::parse(heard.strip_prefix(&"line\n".repeat(LINES as usize)).unwrap());
                    assert_eq!(reply.status, "ok");
                    assert!(reply.grand_total > last, "the grand total of one thread's clients falls");
                    last = reply.grand_total;
                }
            });
        }
    });
    let count = THREADS * CLIENTS;
    assert_eq!(grand_total(&server), count * LINES);
    assert_eq!(outcomes(server.end()), Tally { accepted: count, graceful: count, ..Tally::default() });
}

fn an_echo_beside_it(engine: Engine) {
    let server = start(engine);
    let text = "a\n!disconnect total=1 session=1\n!\n";
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut client = Client::connect(&server);
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut echo = String::new();
    stream.read_to_string(&mut echo).unwrap();
    assert_eq!(echo, text, "an echo has no protocol");
    client.send("a\n");
    client.hear("a\n");
    drop(client);
    server.end();
}

/// What was answered is there again, with its sessions.
fn a_file_goes_on_after_the_end(engine: Engine) {
    let scratch = Scratch::new(&format!("goes-on-{engine}"));
    let with_file = || start_with(Config { ledger_file: Some(scratch.file()), ..config(engine) });
    let server = with_file();
    let first = Client::connect(&server).exchange("a\n", 1, 1);
    let second = Client::connect(&server).exchange("a\nb\n", 2, 2);
    assert_eq!((first.grand_total, second.grand_total), (1, 3));
    server.end();
    let server = with_file();
    assert_eq!(grand_total(&server), 3);
    let again = Client::connect(&server).exchange("a\nb\n", 2, 2);
    assert_eq!((again.status.as_str(), again.grand_total), ("duplicate", 3));
    assert_ne!(again.boot, second.boot);
    let third = Client::connect(&server).exchange("a\n", 1, 3);
    assert_eq!((third.status.as_str(), third.grand_total), ("ok", 4));
    server.end();
}

/// The FIN comes when the engine has nothing else to do, and there is no disk to wait for.
fn a_fin_behind_a_claim_is_answered_at_once(engine: Engine) {
    const ROUNDS: u32 = 20;
    // An engine that is not woken finds the answer with its next deadline, an eighth of a second later.
    const ALL_MAX: Duration = Duration::from_millis(500);
    let server = start(engine);
    let mut waited = Duration::ZERO;
    for round in 0..ROUNDS {
        let mut client = Client::connect(&server);
        client.send("a\n");
        client.hear("a\n");
        client.claim(1, round.into());
        let received = u64::from(round + 1) * (2 + claim(1, 0).len() as u64);
        wait_until("the claim is there", || server.tally().bytes_received == received);
        let began = clock();
        client.fin();
        Reply::parse(&client.read_to_eof());
        waited += began.elapsed();
    }
    assert!(waited < ALL_MAX, "{ROUNDS} FINs were answered in {waited:?}");
    server.end();
}

/// A client that was faster than the window allows: what the server has of it beyond that is not owed, and stands in
/// nobody's way.
fn a_flood_across_a_drain_ends_with_the_reply(engine: Engine) {
    for _ in 0..5 {
        let args = ["--ledger", "127.0.0.1:0", "--window", "64KiB", "--drain-grace", "0s"];
        let program = Program::start(engine, &args);
        let stream = TcpStream::connect(program.addrs()[1]).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut client = Client(stream);
        client.send("a\n");
        client.hear("a\n");
        program.stop();
        client.0.set_nonblocking(true).unwrap();
        let lines = "line\n".repeat(10_000);
        while client.0.write(lines.as_bytes()).is_ok() {}
        client.0.set_nonblocking(false).unwrap();
        program.signal("TERM");
        program.go_on();
        let heard = client.read_to_eof();
        let (echo, _) = heard.rsplit_once("!disconnect status=").expect("a reply before the FIN");
        assert_eq!(Reply::parse(&heard[echo.len()..]).status, "draining");
        assert!(
            echo.bytes().zip("line\n".bytes().cycle()).all(|(byte, sent)| byte == sent),
            "the echo is another one"
        );
        client.fin();
        drop(client);
        let ended = program.ended();
        assert_eq!((ended.code, ended.tally.accepted), (Some(0), 1));
    }
}

fn start(engine: Engine) -> Running {
    start_with(config(engine))
}

fn start_with(config: Config) -> Running {
    let ledger = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    Running::start_with(&Config { ledger, drain_grace: Duration::ZERO, ..config })
}

fn grand_total(server: &Running) -> u64 {
    server.server().ledger().expect("there is one").grand_total()
}

fn claim(total: u64, session: u128) -> String {
    format!("!disconnect total={total} session={session:032x}\n")
}

/// A client by hand.
struct Client(TcpStream);

impl Client {
    fn connect(server: &Running) -> Self {
        let stream = TcpStream::connect(server.server().ledger_addrs()[0]).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Self(stream)
    }

    /// The whole of it: `lines`, which come back, a claim, and the reply.
    fn exchange(mut self, lines: &str, total: u64, session: u128) -> Reply {
        self.send(lines);
        self.claim(total, session);
        self.fin();
        let heard = self.read_to_eof();
        Reply::parse(heard.strip_prefix(lines).expect("the echo comes first"))
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    fn claim(&mut self, total: u64, session: u128) {
        // Where the server has ended already, nobody counts it.
        let _ = self.0.write_all(claim(total, session).as_bytes());
    }

    fn fin(&mut self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    fn hear(&mut self, text: &str) {
        let mut heard = vec![0; text.len()];
        self.0.read_exact(&mut heard).unwrap();
        assert_eq!(heard, text.as_bytes());
    }

    #[track_caller]
    fn read_to_eof(&mut self) -> String {
        let mut heard = String::new();
        self.0.read_to_string(&mut heard).unwrap();
        heard
    }

    fn reset(self) {
        SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

#[derive(Debug)]
struct Reply {
    status: String,
    seen: u64,
    grand_total: u64,
    boot: String,
}

impl Reply {
    #[track_caller]
    fn parse(line: &str) -> Self {
        let words = line.strip_prefix("!disconnect ").and_then(|rest| rest.strip_suffix('\n'));
        let words: Vec<_> = words.unwrap_or_else(|| panic!("{line:?} is no reply")).split(' ').collect();
        let [status, seen, grand_total, boot] = words[..] else { panic!("{line:?} has other words") };
        let value = |word: &str, name| {
            word.strip_prefix(name).unwrap_or_else(|| panic!("{word} in {line:?}")).to_owned()
        };
        let boot = value(boot, "boot=");
        assert!(boot.len() == 32 && boot.bytes().all(|byte| byte.is_ascii_hexdigit()), "{boot}");
        Self {
            status: value(status, "status="),
            seen: value(seen, "seen=").parse().unwrap(),
            grand_total: value(grand_total, "grand_total=").parse().unwrap(),
            boot,
        }
    }
}
