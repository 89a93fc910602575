//! What the ledger says, byte for byte.

use finwait_server::ledger::reply::{Boot, REPLY_MAX, Reply, Status};

fn line(status: Status, seen: u64, grand_total: u64, boot: u128) -> String {
    let line = Reply { status, seen, grand_total, boot: Boot(boot) }.line();
    String::from_utf8(line.as_ref().to_vec()).unwrap()
}

#[test]
fn replies_are_lines() {
    assert_eq!(
        line(Status::Ok, 2, 40, 0xab),
        "!disconnect status=ok seen=2 grand_total=40 boot=000000000000000000000000000000ab\n"
    );
    for (status, name) in [
        (Status::Duplicate, "duplicate"),
        (Status::Mismatch, "mismatch"),
        (Status::Malformed, "malformed"),
        (Status::Overflow, "overflow"),
        (Status::Draining, "draining"),
    ] {
        let boot = "0".repeat(32);
        assert_eq!(
            line(status, 0, 1, 0),
            format!("!disconnect status={name} seen=0 grand_total=1 boot={boot}\n")
        );
    }
}

#[test]
fn the_longest_reply_fits_exactly() {
    assert_eq!(line(Status::Duplicate, u64::MAX, u64::MAX, u128::MAX).len(), REPLY_MAX);
    assert_eq!(line(Status::Malformed, u64::MAX, u64::MAX, u128::MAX).len(), REPLY_MAX);
}

#[test]
fn each_boot_has_another_number() {
    let mut boots: Vec<u128> = (0..1000).map(|_| Boot::by_chance().0).collect();
    // No half of it is always the same.
    assert!(boots.iter().any(|boot| boot >> 64 != boots[0] >> 64));
    assert!(boots.iter().any(|boot| *boot as u64 != boots[0] as u64));
    boots.sort_unstable();
    boots.dedup();
    assert_eq!(boots.len(), 1000);
}
