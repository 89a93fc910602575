//! Nothing is answered that a disk could take back, and nothing waits for the disk that need not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use finwait_server::ledger::reply::Status;
use finwait_server::ledger::session::{AtFin, Claim};
use finwait_server::ledger::{Answer, Ledger};
use oorandom::Rand64;

use super::disk::{Disk, Fault, open};
use super::{Teller, claim, said};
use crate::support::wait_until;

/// Losses of power that are tried; `FINWAIT_LEDGER_SEEDS` says how many others, for more of them.
const SEEDS: u64 = 60;

/// A client that knows what it has claimed, and what it was told.
struct Client {
    teller: Teller,
    claims: Vec<Claim>,
    told: BTreeMap<usize, u64>,
}

impl Client {
    fn new(ledger: &Ledger) -> Self {
        Self { teller: Teller::new(ledger), claims: Vec::new(), told: BTreeMap::new() }
    }

    fn claim_more(&mut self, dice: &mut Rand64, most: u64) {
        for _ in 0..dice.rand_range(1..most + 1) {
            let session = u128::from(dice.rand_u64()) << 64 | u128::from(dice.rand_u64());
            let claim = claim(session, dice.rand_range(0..5));
            self.teller.submit(self.claims.len() as u64, claim);
            self.claims.push(claim);
        }
    }

    /// Takes in what was answered until now.
    fn hear(&mut self) {
        for (token, answer) in self.teller.desk.answers() {
            match answer {
                Answer::Replied(reply) => {
                    assert_eq!(reply.status, Status::Ok);
                    self.told.insert(token as usize, reply.grand_total);
                }
                Answer::Lost => {}
                Answer::Bare => panic!("a claim has an answer"),
            }
        }
    }

    /// Claims everything once more, and finds everything that was answered there, and each total counted once.
    #[track_caller]
    fn judge(&self, ledger: &Ledger, seed: u64) {
        let said_last = self.told.values().max().copied().unwrap_or(0);
        assert!(ledger.grand_total() >= said_last, "seed {seed}: the grand total fell");
        let mut again = Teller::new(ledger);
        for (index, &claim) in self.claims.iter().enumerate() {
            let reply = again.ask(claim);
            match self.told.get(&index) {
                Some(&told) => {
                    assert_eq!(said(reply), (Status::Duplicate, told), "seed {seed}: {claim:?} was answered");
                }
                None => {
                    assert!(matches!(reply.status, Status::Ok | Status::Duplicate), "seed {seed}: {reply}");
                }
            }
        }
        let all: u64 = self.claims.iter().map(|claim| claim.total).sum();
        assert_eq!(ledger.grand_total(), all, "seed {seed}: a total is lost, or counted twice");
    }
}

fn seeds() -> u64 {
    std::env::var("FINWAIT_LEDGER_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap())
}

#[test]
fn what_was_answered_survives_a_loss_of_power() {
    for seed in 0..seeds() {
        let mut dice = Rand64::new(seed.into());
        let (path, disk) = Disk::new("power", Vec::new());
        disk.slow_down(Duration::from_micros(dice.rand_range(0..400)));
        let ledger = open(&path);
        let mut client = Client::new(&ledger);
        for _ in 0..dice.rand_range(1..30) {
            client.claim_more(&mut dice, 8);
            std::thread::sleep(Duration::from_micros(dice.rand_range(0..400)));
            client.hear();
        }
        client.hear();
        // While the committer goes on.
        let bytes = disk.after_power_loss(&mut dice);
        let (path, _) = Disk::new("power, and again", bytes);
        client.judge(&open(&path), seed);
    }
}

/// Faults come while it runs, and then the power goes as well.
#[test]
fn what_was_answered_survives_a_disk_that_fails() {
    for seed in 0..seeds() {
        let mut dice = Rand64::new(seed.into());
        let (path, disk) = Disk::new("faults", Vec::new());
        let ledger = open(&path);
        let mut client = Client::new(&ledger);
        for _ in 0..dice.rand_range(1..12) {
            let fault = match dice.rand_range(0..6) {
                0 => Fault::SyncFailsAfter,
                1 => Fault::SyncForgets,
                _ => Fault::None,
            };
            disk.set_fault(fault);
            client.claim_more(&mut dice, 8);
            std::thread::sleep(Duration::from_micros(dice.rand_range(0..1500)));
            client.hear();
        }
        let bytes = disk.after_power_loss(&mut dice);
        let (again, _) = Disk::new("faults, and again", bytes);
        client.judge(&open(&again), seed);
    }
}

/// What a disk took without saying so is in the books after the failure, and is not added a second time.
#[test]
fn a_failed_commit_that_reached_the_disk_is_not_added_twice() {
    for fault in [Fault::SyncFailsAfter, Fault::SyncForgets] {
        let (path, disk) = Disk::new("twice", Vec::new());
        let ledger = open(&path);
        let mut teller = Teller::new(&ledger);
        assert_eq!(said(teller.ask(claim(1, 5))), (Status::Ok, 5));
        disk.set_fault(fault);
        teller.submit(2, claim(2, 2));
        assert_eq!(teller.wait(1), [(2, Answer::Lost)]);
        assert_eq!(ledger.grand_total(), 5, "what is not known to be on the disk is not told");
        assert_eq!(said(teller.ask(claim(2, 2))), (Status::Duplicate, 7));
        // It is on the disk by now, though to the system nothing was left to write.
        for seed in 0..8 {
            let bytes = disk.after_power_loss(&mut Rand64::new(seed));
            let (path, _) = Disk::new("twice, and again", bytes);
            assert_eq!(said(Teller::new(&open(&path)).ask(claim(2, 2))), (Status::Duplicate, 7));
        }
        assert_eq!(said(teller.ask(claim(3, 1))), (Status::Ok, 8));
    }
}

/// And a disk that dies for good while the file is opened again.
#[test]
fn a_disk_that_dies_while_it_is_believed_again_keeps_what_was_answered() {
    for (syncs, seed) in (0..5).flat_map(|syncs| (0..4).map(move |seed| (syncs, seed))) {
        let (path, disk) = Disk::new("dead", Vec::new());
        let ledger = open(&path);
        let mut teller = Teller::new(&ledger);
        assert_eq!(said(teller.ask(claim(1, 5))), (Status::Ok, 5));
        disk.set_fault(Fault::SyncForgets);
        teller.submit(2, claim(2, 2));
        assert_eq!(teller.wait(1), [(2, Answer::Lost)]);
        disk.set_fault(Fault::DiesIn(syncs));
        teller.submit(2, claim(2, 2));
        let was_answered = teller.wait(1) != [(2, Answer::Lost)];
        let bytes = disk.after_power_loss(&mut Rand64::new(seed));
        let (path, _) = Disk::new("dead, and again", bytes);
        let again = open(&path);
        let mut teller = Teller::new(&again);
        assert_eq!(said(teller.ask(claim(1, 5))), (Status::Duplicate, 5), "{syncs} syncs, seed {seed}");
        let status = teller.ask(claim(2, 2)).status;
        assert!(!was_answered || status == Status::Duplicate, "{syncs} syncs, seed {seed}: {status:?}");
    }
}

#[test]
fn a_full_disk_loses_answers_until_there_is_room() {
    let (path, disk) = Disk::new("full", Vec::new());
    let ledger = open(&path);
    let mut teller = Teller::new(&ledger);
    assert_eq!(said(teller.ask(claim(1, 5))), (Status::Ok, 5));
    disk.set_fault(Fault::Full);
    for session in 2..6 {
        teller.submit(0, claim(session, 1));
        assert_eq!(teller.wait(1), [(0, Answer::Lost)]);
    }
    // Nothing has to be written for these.
    teller.desk.submit(1, AtFin::Malformed, 3);
    assert!(matches!(teller.wait(1)[..], [(1, Answer::Replied(reply))] if reply.grand_total == 5));
    disk.set_fault(Fault::None);
    for session in 2..6 {
        assert_eq!(said(teller.ask(claim(session, 1))), (Status::Ok, 4 + session as u64));
    }
}

#[test]
fn a_stalled_disk_stops_nobody_and_what_waited_is_one_commit() {
    const CLAIMS: usize = 1000;
    let (path, disk) = Disk::new("stalled", Vec::new());
    let ledger = open(&path);
    let (mut teller, mut other) = (Teller::new(&ledger), Teller::new(&ledger));
    let stall = disk.stall();
    teller.submit(0, claim(0, 1));
    wait_until("the first commit stalls", || disk.is_waited_for());
    let before = disk.syncs();
    for number in 1..CLAIMS {
        teller.submit(number as u64, claim(number as u128, 1));
    }
    assert_eq!(teller.desk.answers().count(), 0, "answered before it was on the disk");
    assert_eq!(ledger.grand_total(), 0, "told before it was on the disk");
    other.desk.submit(1, AtFin::Malformed, 0);
    other.desk.submit(2, AtFin::Plain, 0);
    assert_eq!(other.wait(2).len(), 2, "nothing to write, nothing to wait for");
    drop(stall);
    let answers = teller.wait(CLAIMS);
    for (number, (token, answer)) in answers.into_iter().enumerate() {
        let Answer::Replied(reply) = answer else { panic!("{answer:?}") };
        assert_eq!((token, said(reply)), (number as u64, (Status::Ok, number as u64 + 1)));
    }
    // The first one, and all the others together.
    assert_eq!(disk.syncs() - before, 2);
    // More than twice where it was fetching meanwhile, but not for each.
    assert!((1..CLAIMS / 10).contains(&teller.wakes()), "woken {} times", teller.wakes());
    assert_eq!(other.wakes(), 0);
}

/// A client never waits for a thread that is gone: what it asked is lost, and so is what it asks from then on.
#[test]
fn a_committer_that_panics_answers_all_the_same() {
    let (path, disk) = Disk::new("panic", Vec::new());
    let ledger = open(&path);
    let mut teller = Teller::new(&ledger);
    assert_eq!(said(teller.ask(claim(1, 5))), (Status::Ok, 5));
    disk.set_fault(Fault::SyncPanics);
    for token in 2..10 {
        teller.submit(token, claim(token.into(), 1));
    }
    assert!(teller.wait(8).iter().all(|(_, answer)| *answer == Answer::Lost));
    assert!(teller.wakes() > 0);
    teller.submit(10, claim(10, 1));
    assert_eq!(teller.wait(1), [(10, Answer::Lost)]);
    assert_eq!(ledger.grand_total(), 5);
    drop((ledger, teller));
    disk.set_fault(Fault::None);
    let bytes = disk.after_power_loss(&mut Rand64::new(0));
    let (path, _) = Disk::new("panic, and again", bytes);
    assert_eq!(said(Teller::new(&open(&path)).ask(claim(1, 5))), (Status::Duplicate, 5));
}

/// A claim that adds nothing costs no fsync.
#[test]
fn only_what_is_added_is_written() {
    let (path, disk) = Disk::new("quiet", Vec::new());
    let ledger = open(&path);
    let mut teller = Teller::new(&ledger);
    assert_eq!(said(teller.ask(claim(1, u64::MAX))), (Status::Ok, u64::MAX));
    let before = disk.syncs();
    assert_eq!(said(teller.ask(claim(1, u64::MAX))), (Status::Duplicate, u64::MAX));
    assert_eq!(said(teller.ask(claim(1, 5))), (Status::Mismatch, u64::MAX));
    assert_eq!(said(teller.ask(claim(2, 5))), (Status::Overflow, u64::MAX));
    assert_eq!(disk.syncs(), before);
}

#[test]
fn what_was_handed_in_is_written_before_the_ledger_ends() {
    let (path, disk) = Disk::new("end", Vec::new());
    disk.slow_down(Duration::from_millis(5));
    let ledger = open(&path);
    let mut teller = Teller::new(&ledger);
    drop(ledger);
    for number in 0..100 {
        teller.submit(0, claim(number, 1));
    }
    let wakes = std::sync::Arc::clone(&teller.wakes);
    drop(teller);
    assert!(wakes.0.load(std::sync::atomic::Ordering::SeqCst) > 0, "answered nobody");
    assert_eq!(open(&path).grand_total(), 100);
}

#[test]
fn the_file_forgets_what_the_books_forget() {
    const HORIZON: usize = 1 << 12;
    let (path, _disk) = Disk::new("horizon", Vec::new());
    let claims = HORIZON as u64 + 10;
    fill(&path, claims);
    let ledger = open(&path);
    assert_eq!(ledger.grand_total(), claims);
    let mut teller = Teller::new(&ledger);
    assert_eq!(said(teller.ask(claim(10, 1))), (Status::Duplicate, 11), "the oldest that is remembered");
    assert_eq!(said(teller.ask(claim(9, 1))), (Status::Ok, claims + 1), "the youngest that is forgotten");
}

fn fill(path: &Path, claims: u64) {
    let ledger = open(path);
    let mut teller = Teller::new(&ledger);
    for number in 0..claims {
        teller.submit(number, claim(number.into(), 1));
    }
    teller.wait(claims as usize);
}
