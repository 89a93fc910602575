//! What Wine 8 cannot show, case by case: each stands here with why, and the case then asserts what Wine does instead.

use finwait_server::engine::EngineKind;

use super::Engine;

/// Cases by name, the engine under Wine that they are about, and what they meet there.
const TABLE: [(&str, EngineKind, &str); 38] = [
    ("a_byte_each_does_not_take_all_buffers", EngineKind::Iocp, NO_SMALL_SEGMENTS),
    ("a_byte_each_does_not_take_all_buffers", EngineKind::Mio, NO_SMALL_SEGMENTS),
    ("after_our_fin", EngineKind::Mio, RESET_IS_EOF),
    ("among_others", EngineKind::Mio, GONE),
    ("before_accept", EngineKind::Iocp, GONE),
    ("before_accept_with_bytes_in_the_queue", EngineKind::Iocp, GONE),
    ("closed_with_our_bytes_unread", EngineKind::Mio, RESET_IS_EOF),
    ("descriptors_run_out_and_come_back", EngineKind::Iocp, NO_LIMIT),
    ("descriptors_run_out_and_the_drain_begins", EngineKind::Iocp, NO_LIMIT),
    ("during_the_grace", EngineKind::Mio, RESET_IS_EOF),
    ("either_signal_drains", EngineKind::Iocp, NO_SIGTERM),
    ("engines_do_the_same_with_any_client", EngineKind::Iocp, RESET_IS_EOF),
    ("engines_do_the_same_with_any_client", EngineKind::Mio, RESET_IS_EOF),
    ("engines_do_the_same_with_any_client_across_a_drain", EngineKind::Iocp, RESET_IS_EOF),
    ("engines_do_the_same_with_any_client_across_a_drain", EngineKind::Mio, RESET_IS_EOF),
    ("engines_do_the_same_with_known_clients", EngineKind::Iocp, RESET_IS_EOF),
    ("engines_do_the_same_with_known_clients", EngineKind::Mio, RESET_IS_EOF),
    ("expiry_resets_what_is_open", EngineKind::Iocp, RESET_IS_EOF),
    ("expiry_resets_what_is_open", EngineKind::Mio, RESET_IS_EOF),
    ("expiry_while_bytes_come", EngineKind::Iocp, RESET_IS_EOF),
    ("expiry_while_bytes_come", EngineKind::Mio, RESET_IS_EOF),
    ("idle", EngineKind::Mio, RESET_IS_EOF),
    ("mid_echo", EngineKind::Mio, RESET_IS_EOF),
    ("our_reset_behind_an_unread_echo", EngineKind::Iocp, RESET_IS_EOF),
    ("our_reset_behind_an_unread_echo", EngineKind::Mio, RESET_IS_EOF),
    ("peer_that_receives_no_more", EngineKind::Iocp, NO_RECEIVE_AFTER_SD_RECEIVE),
    ("peer_that_receives_no_more", EngineKind::Mio, NO_RECEIVE_AFTER_SD_RECEIVE),
    ("peer_that_receives_no_more_and_closes", EngineKind::Mio, RESET_IS_EOF),
    ("reconnecting_clients_at_a_drain_without_grace", EngineKind::Iocp, NO_FILTER),
    ("reconnecting_clients_at_the_drain", EngineKind::Iocp, NO_FILTER),
    ("resets_behind_the_fin_count_once", EngineKind::Iocp, GONE),
    ("resets_behind_the_fin_count_once", EngineKind::Mio, GONE),
    ("resets_count_nothing_before_the_fin", EngineKind::Iocp, RESET_IS_EOF),
    ("resets_count_nothing_before_the_fin", EngineKind::Mio, RESET_IS_EOF),
    ("resets_that_a_send_is_told_of_count_nothing", EngineKind::Iocp, GONE),
    ("resets_that_a_send_is_told_of_count_nothing", EngineKind::Mio, GONE),
    ("right_after_connecting", EngineKind::Iocp, GONE),
    ("right_after_connecting", EngineKind::Mio, GONE),
];

const NO_SMALL_SEGMENTS: &str =
    "without small segments a peer holds megabytes, which a window of one byte fills in minutes";
const GONE: &str = "accepting fails for a client that is gone (WSAENOTCONN), and a reset with no receive pending reads as EOF";
const NO_LIMIT: &str =
    "descriptors are wineserver's, which all programs share: a limit on the program is none on it";
const NO_RECEIVE_AFTER_SD_RECEIVE: &str =
    "after SD_RECEIVE the peer receives nothing, not even what had come; so on Windows";
const NO_SIGTERM: &str =
    "SIGTERM ends any program at once, and SIGINT is a Ctrl-C: that is sent in its place";
const RESET_IS_EOF: &str = "a RST that comes while no receive is pending reads as EOF, on either side";
const NO_FILTER: &str =
    "a SYN cannot be dropped, so a handshake that ends as the listener closes is reset; so on Windows";

/// Whether `case` can see on `engine` what it is about. Under Wine it says so when that is not what it asserts.
#[track_caller]
pub(crate) fn shows(case: &str, engine: Engine) -> bool {
    let mut rows = TABLE.iter().filter(|&&(name, of, _)| name == case && of == engine.kind);
    let is_wine =
        std::env::var_os("FINWAIT_UNDER_WINE").is_some() || !cfg!(windows) && engine.kind == EngineKind::Iocp;
    match rows.next().filter(|_| is_wine) {
        Some((_, _, why)) => {
            println!("WINE: {case} {engine}: {why}");
            false
        }
        None => {
            assert!(TABLE.iter().any(|&(name, ..)| name == case), "{case} is not in the table");
            true
        }
    }
}

/// A row whose case was renamed, or no longer asks, would claim what nobody looks at.
#[test]
fn every_row_has_a_case_that_asks() {
    let sources = [
        include_str!("../conformance/backpressure.rs"),
        include_str!("../conformance/closing.rs"),
        include_str!("../conformance/ending.rs"),
        include_str!("../conformance/exhaustion.rs"),
        include_str!("../conformance/ledger.rs"),
        include_str!("../conformance/reset.rs"),
        include_str!("../conformance/storm.rs"),
        include_str!("../differential.rs"),
        include_str!("../program/signals.rs"),
    ];
    for (name, ..) in TABLE {
        let (case, question) = (format!("fn {name}("), format!("\"{name}\""));
        let asks = |source: &&str| source.contains(&case) && source.contains(&question);
        assert!(sources.iter().any(asks), "no case {name} asks what Wine shows");
    }
}
