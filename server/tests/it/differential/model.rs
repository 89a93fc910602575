//! Which endings a script allows: exactly one where nothing races, and a set where timing legitimately decides.

use finwait_server::metrics::Tally;

use super::play::{Ending, Seen};
use super::script::{Script, Step, WINDOWS};
use crate::support::{Engine, Running, graceful, outcomes, wait_until};

/// Bytes that are in the server's kernel as soon as `send` has returned: less than the window that a connection on
/// loopback begins with, of a sender that does not pace.
const ARRIVED_AT_ONCE: u64 = 32 << 10;

/// Fills in what `server` counts from now until one more connection has ended.
pub(super) fn since(server: &Running) -> impl FnOnce(&mut Seen) + use<'_> {
    let before = server.tally();
    move |seen| {
        wait_until("the connection is counted", || server.tally().ended() > before.ended());
        seen.tally = difference(server.tally(), before);
    }
}

/// Asserts that what was seen on one engine is what the script allows. An engine that is not `told` of a RST, where the
/// system says EOF instead, may count it as either.
pub(super) fn judge(script: &Script, engine: Engine, told: bool, seen: &Seen) {
    let tally = seen.tally;
    assert_eq!(tally.accepted, 1, "{engine}: accepted {seen:?}");
    assert_eq!(tally.accepted, tally.ended(), "{engine}: one ending each {seen:?}");
    // Bytes that are sent are bytes that were received; in order, as reading has checked.
    assert!(seen.read <= tally.bytes_echoed, "{engine}: echoed more than it counted {seen:?}");
    assert!(tally.bytes_echoed <= tally.bytes_owed, "{engine}: echoed more than it owed {seen:?}");
    assert!(tally.bytes_received <= seen.sent, "{engine}: received more than was sent {seen:?}");
    let (owed, discarded) = (tally.bytes_owed, tally.bytes_discarded);
    assert_eq!(
        tally.bytes_received,
        owed + discarded,
        "{engine}: a byte is neither owed nor discarded {seen:?}"
    );
    if script.has(Step::Reset) {
        judge_cut(script, engine, told, seen);
    } else {
        judge_proper(script, engine, seen);
    }
}

/// Whether nothing raced, so that every engine must have come to the very same end.
pub(super) fn is_decided(script: &Script, seen: &[Seen]) -> bool {
    // A drain decides what is discarded; where nothing is discarded on any engine, all have echoed everything.
    !script.has(Step::Reset) && !script.has(Step::Drain)
        || seen.iter().all(|seen| seen.ending == Ending::Eof && seen.at_drain.is_some_and(is_idle(seen)))
}

/// Nothing was on its way when the drain began, and nothing was sent later.
fn is_idle(seen: &Seen) -> impl Fn(super::play::AtDrain) -> bool {
    let sent = seen.sent;
    move |at| at.read == at.sent && at.sent == sent
}

/// Without a RST of the client there is none of the server either, and both sides have counted the same bytes.
fn judge_proper(script: &Script, engine: Engine, seen: &Seen) {
    assert_eq!(seen.ending, Ending::Eof, "{engine}: the ending {seen:?}");
    let Some(at) = seen.at_drain else {
        assert_eq!(seen.read, seen.sent, "{engine}: a clean EOF after a truncated echo {seen:?}");
        assert_eq!(seen.tally, graceful(1, seen.sent), "{engine}: the tally");
        return;
    };
    let expected =
        Tally { bytes_received: seen.sent, bytes_discarded: seen.sent - seen.read, ..graceful(1, seen.read) };
    assert_eq!(seen.tally, expected, "{engine}: the tally {seen:?}");
    assert!(seen.read >= at.received, "{engine}: received before the drain and not echoed {seen:?}");
    // A last take takes a window's worth of what the kernel holds.
    let unread = at.sent - at.read;
    if !script.narrow && unread <= ARRIVED_AT_ONCE.min(WINDOWS[script.window].into()) {
        assert!(seen.read >= at.sent, "{engine}: it came before the drain and was not echoed {seen:?}");
    }
}

/// With a RST of the client: what was read is a prefix, and only a client that had half-closed may have been served to
/// the end.
fn judge_cut(script: &Script, engine: Engine, told: bool, seen: &Seen) {
    let reset = Tally { accepted: 1, reset: 1, ..Tally::default() };
    let served = outcomes(graceful(1, 0));
    let ended = outcomes(seen.tally);
    let allowed: &[Tally] = match (script.has(Step::Fin), seen.ending) {
        (_, Ending::Cut | Ending::CutAfterEof) if !told => &[served, reset],
        // Our FIN answered the client's, so that connection is over, and nobody is told of the RST.
        (true, Ending::CutAfterEof) if !script.has(Step::Drain) => &[served],
        // Whether the client's FIN was read before the RST came is chance.
        (true, Ending::Cut | Ending::CutAfterEof) => &[served, reset],
        (false, Ending::Cut | Ending::CutAfterEof) => &[reset],
        (_, Ending::Eof | Ending::Reset) => panic!("{engine}: a client that cuts ends by itself {seen:?}"),
    };
    assert!(allowed.contains(&ended), "{engine}: {ended:?} is none of {allowed:?}, {seen:?}");
    if ended == served && told {
        assert_eq!(seen.tally.bytes_received, seen.sent, "{engine}: served and not all received {seen:?}");
    }
}

/// What was counted between two tallies.
fn difference(now: Tally, before: Tally) -> Tally {
    Tally {
        accepted: now.accepted - before.accepted,
        graceful: now.graceful - before.graceful,
        reset: now.reset - before.reset,
        aborted: now.aborted - before.aborted,
        expired: now.expired - before.expired,
        shutdown_failed: now.shutdown_failed - before.shutdown_failed,
        expired_in_drain: now.expired_in_drain - before.expired_in_drain,
        bytes_received: now.bytes_received - before.bytes_received,
        bytes_owed: now.bytes_owed - before.bytes_owed,
        bytes_echoed: now.bytes_echoed - before.bytes_echoed,
        bytes_discarded: now.bytes_discarded - before.bytes_discarded,
        drain_ns: 0,
    }
}
