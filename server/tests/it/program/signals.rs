//! One signal drains, a second one expires.

use finwait_server::metrics::Tally;

use crate::support::{Engine, Program, graceful, programs, shows};

programs!(
    either_signal_drains,
    a_second_signal_expires,
    the_drain_timeout_expires,
    a_drain_that_ends_in_time_is_a_success,
);

fn either_signal_drains(engine: Engine) {
    if !shows("either_signal_drains", engine) {
        let mut program = Program::start(engine, &[]);
        // By its number: its name stands for Ctrl-C there.
        program.signal("15");
        assert_eq!(program.exit_code().filter(|&code| code == 0), None, "Wine drained it");
    }
    for signal in ["TERM", "INT"] {
        let program = Program::start(engine, &["--drain-grace", "0s"]);
        let peer = program.connect_and_echo();
        program.signal(signal);
        peer.echo_and_eof();
        peer.fin();
        let ended = program.ended();
        assert_eq!((ended.code, ended.tally), (Some(0), graceful(1, 1)), "{}", ended.stderr);
    }
}

fn a_second_signal_expires(engine: Engine) {
    let program = Program::start(engine, &["--drain-grace", "1h", "--drain-timeout", "2h"]);
    let peers = [program.connect_and_echo(), program.connect_and_echo()];
    program.signal("TERM");
    // Two signals at once are one to the kernel.
    program.wait_for_log("draining");
    peers.iter().for_each(|peer| {
        peer.send(10);
        peer.echo(10);
    });
    program.signal("TERM");
    peers.iter().for_each(|peer| peer.echo_to_reset());
    let ended = program.ended();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(ended.tally, Tally { graceful: 0, expired: 2, expired_in_drain: 2, ..graceful(2, 22) });
}

fn the_drain_timeout_expires(engine: Engine) {
    let program = Program::start(engine, &["--drain-grace", "0s", "--drain-timeout", "300ms"]);
    let peer = program.connect_and_echo();
    program.signal("TERM");
    peer.echo_and_eof();
    // Its FIN never comes. All was echoed and our FIN was sent, so there is nothing that a RST would have to say.
    let ended = program.ended();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(ended.tally, Tally { graceful: 0, expired: 1, expired_in_drain: 1, ..graceful(1, 1) });
}

/// Connections that expired before the drain are no failure of the drain.
fn a_drain_that_ends_in_time_is_a_success(engine: Engine) {
    let args = ["--idle-timeout", "100ms", "--linger-timeout", "100ms", "--log-level", "debug"];
    let program = Program::start(engine, &args);
    let peer = program.connect_and_echo();
    peer.echo_and_eof();
    program.wait_for_log("outcome=Expired");
    let ended = program.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.tally, Tally { graceful: 0, expired: 1, ..graceful(1, 1) });
}
