//! The ledger of a server in a process of its own: what it says of it, and the file that it cannot have.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::support::{Engine, LIMIT, Program, Scratch, programs, run_to_end};

programs!(its_address_and_its_end_are_told, plain_lines_tell_the_same);

const TWO: &str = "a\nb\n!disconnect total=2 session=00000000000000000000000000000001\n";

fn its_address_and_its_end_are_told(engine: Engine) {
    let program = Program::start(engine, &["--ledger", "127.0.0.1:0"]);
    let [_, ledger] = program.addrs() else { panic!("{:?}", program.addrs()) };
    let heard = exchange(*ledger, TWO);
    let boot = heard
        .strip_prefix("a\nb\n!disconnect status=ok seen=2 grand_total=2 boot=")
        .expect(&heard)
        .trim_end();
    let ended = program.end();
    assert_eq!((ended.code, ended.tally.graceful), (Some(0), 1));
    assert_eq!((ended.ledger["grand_total"].as_u64(), ended.ledger["boot"].as_str()), (Some(2), Some(boot)));
}

fn plain_lines_tell_the_same(engine: Engine) {
    let mut program = Program::start_plain_with(engine, &["--ledger", "127.0.0.1:0"]);
    assert!(program.plain_line().starts_with("listening on "));
    let line = program.plain_line();
    let addr = line.strip_prefix("listening on ").and_then(|rest| rest.strip_suffix(" for the ledger"));
    exchange(addr.expect(&line).parse().unwrap(), TWO);
    program.signal("TERM");
    let lines: Vec<_> = (0..4).map(|_| program.plain_line()).collect();
    assert!(lines[3].starts_with("ledger: grand total 2, boot "), "{lines:?}");
    assert_eq!((program.plain_line().as_str(), program.exit_code()), ("", Some(0)));
}

/// A file that is somebody else's is left alone: exit code 1, and one line that names it and what to do.
#[test]
fn a_file_of_another_program_is_one_clear_line() {
    let scratch = Scratch::new("somebody-elses");
    let path = scratch.file();
    std::fs::write(&path, "a letter").unwrap();
    let path = path.to_str().unwrap();
    let ledger = ["--listen", "127.0.0.1:0", "--ledger", "127.0.0.1:0", "--ledger-file", path];
    let ended = run_to_end(&[&ledger[..], &["--log-level", "warn", "--engine", "mio"]].concat());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(path) && ended.stderr.contains("choose another"), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "a letter");
}

fn exchange(addr: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    heard
}
