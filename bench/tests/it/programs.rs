//! The programs that people run. They are not on every machine, so `.ci/steps/peers` alone runs these.

use finwait_bench::peers::cpu;
use finwait_bench::server::Server;

use crate::check::{self, Check};
use crate::support::{runs, start, wait_until};

const CHECKS: [(&str, Check); 6] = [
    ("a few bytes and the FIN at once", check::a_few_bytes_and_the_fin_at_once),
    ("4 MiB while reading", check::four_mib_while_reading),
    ("64 that all half-close", check::sixty_four_that_all_half_close),
    ("a slow reader", check::a_slow_reader),
    ("a reset ends no other", check::a_reset_ends_no_other),
    ("a FIN alone", check::a_fin_alone),
];

#[test]
#[ignore = "it takes the program socat"]
fn socat() {
    passes("socat");
}

#[test]
#[ignore = "it takes the program haproxy"]
fn haproxy() {
    passes("haproxy");
}

#[test]
#[ignore = "it takes the program node, of Debian's package nodejs"]
fn node() {
    passes("node");
}

fn passes(name: &str) {
    for buffer in ["4KiB", "64KiB"] {
        let server = start(&["peer", name, "--buffer", buffer]);
        for (what, check) in CHECKS {
            assert_eq!(check(&server), Ok(()), "{name} with {buffer}: {what}");
        }
        ends_with_all_that_it_started(server);
    }
}

/// A SIGKILL, which is how every server is ended, leaves nothing behind.
fn ends_with_all_that_it_started(server: Server) {
    let pids = cpu::processes(server.pid()).unwrap();
    assert!(pids.contains(&server.pid()));
    drop(server);
    wait_until("nothing that the server started runs", || !pids.iter().any(|&pid| runs(pid)));
}
