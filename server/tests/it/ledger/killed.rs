//! A process that is killed at any instant: what it has answered is there when its file is opened again, once.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use finwait_server::ledger::reply::Status;
use finwait_server::ledger::session::Claim;
use finwait_server::ledger::{Answer, Ledger, Options};
use oorandom::Rand64;

use super::{Teller, claim, said};
use crate::support::Scratch;

/// How often it is killed; `FINWAIT_LEDGER_KILLS` says how often instead, for more.
const KILLS: u64 = 12;
/// The longest that one of them lives.
const LIFE_MAX_MS: u64 = 120;
/// The longest that one of them lives which is to be killed while it makes its file.
const EARLY_MAX_US: u64 = 4000;
/// Tells the child where its file is, and which claims are its.
const FILE: &str = "FINWAIT_LEDGER_TEST_FILE";
const LIFE: &str = "FINWAIT_LEDGER_TEST_LIFE";

#[test]
fn no_kill_loses_what_was_answered_or_counts_it_twice() {
    let kills = std::env::var("FINWAIT_LEDGER_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let scratch = Scratch::new("killed");
    let mut dice = Rand64::new(9);
    let mut told: Vec<(Claim, u64)> = Vec::new();
    let (mut least, mut lives_with_answers) = (0, 0);
    for life in 0..kills {
        // Some end while the file is opened.
        let most = if life % 3 == 0 { 12 } else { LIFE_MAX_MS };
        let heard = live(&scratch.file(), life, Duration::from_micros(dice.rand_range(0..most * 1000)));
        lives_with_answers += u64::from(!heard.is_empty());
        // Everything that this life may have claimed, once more: of what it did not get an answer to it does not matter
        // whether it was added by it or is now.
        let ledger = open(&scratch.file());
        let mut teller = Teller::new(&ledger);
        let claimed = heard.last().map_or(0, |&(number, _)| number + 1);
        for number in 0..claimed + BURST {
            let claim = claim_of(life, number);
            let reply = teller.ask(claim);
            match heard.iter().find(|&&(other, _)| other == number) {
                Some(&(_, total)) => {
                    assert_eq!(said(reply), (Status::Duplicate, total), "life {life}: {claim:?}");
                }
                None => {
                    assert!(matches!(reply.status, Status::Ok | Status::Duplicate), "life {life}: {reply}");
                }
            }
            told.push((claim, reply.grand_total));
        }
        let all: u64 = told.iter().map(|(claim, _)| claim.total).sum();
        assert_eq!(ledger.grand_total(), all, "life {life}: a total is lost, or counted twice");
        assert!(ledger.grand_total() >= least, "life {life}: the grand total fell");
        least = ledger.grand_total();
    }
    let ledger = open(&scratch.file());
    let mut teller = Teller::new(&ledger);
    for &(claim, total) in &told {
        assert_eq!(said(teller.ask(claim)), (Status::Duplicate, total), "{claim:?} of a former life");
    }
    assert!(lives_with_answers > 0, "every one was killed before it said anything");
}

/// Whoever is killed while it makes its file leaves one that is whole, or none.
#[test]
fn a_kill_while_the_file_is_made_leaves_nothing_in_the_way() {
    let mut dice = Rand64::new(3);
    for life in 0..KILLS {
        let scratch = Scratch::new("killed-early");
        live(&scratch.file(), life, Duration::from_micros(dice.rand_range(0..EARLY_MAX_US)));
        open(&scratch.file());
    }
}

/// Claims that a life has in flight at a time.
const BURST: u64 = 16;

fn claim_of(life: u64, number: u64) -> Claim {
    claim(u128::from(life) << 64 | u128::from(number), 1 + number % 3)
}

fn open(path: &Path) -> Ledger {
    Ledger::open(path, Options { horizon: 1 << 17, ..Options::default() }).unwrap()
}

/// Starts a process that claims without an end, kills it, and returns what it said: numbers of claims, and grand totals.
fn live(path: &Path, life: u64, time: Duration) -> Vec<(u64, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ledger::killed::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE, path)
        .env(LIFE, life.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the child ended by itself");
    }
    std::thread::sleep(time);
    child.kill().unwrap();
    child.wait().unwrap();
    // Its last line may be cut short, and then it was not seen.
    let lines = said.split(b'\n').map(|line| String::from_utf8(line.unwrap()).unwrap());
    let answers = lines.filter_map(|line| {
        let [number, total] = line.strip_suffix('.')?.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        Some((number.parse().unwrap(), total.parse().unwrap()))
    });
    let mut answers: Vec<(u64, u64)> = answers.collect();
    answers.sort_unstable();
    answers
}

/// The process that is killed.
#[test]
#[ignore = "it is what the case above starts, and never ends"]
fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let life = std::env::var(LIFE).unwrap().parse().unwrap();
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ready").unwrap();
    let ledger = open(path.as_ref());
    let mut teller = Teller::new(&ledger);
    let (mut next, mut awaited) = (0, 0);
    loop {
        while awaited < BURST {
            teller.submit(next, claim_of(life, next));
            (next, awaited) = (next + 1, awaited + 1);
        }
        for (number, answer) in teller.desk.answers() {
            let Answer::Replied(reply) = answer else { panic!("{answer:?}") };
            assert_eq!(reply.status, Status::Ok);
            writeln!(stdout, "{number} {}.", reply.grand_total).unwrap();
            awaited -= 1;
        }
    }
}
