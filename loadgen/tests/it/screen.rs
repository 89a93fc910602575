//! What a person sees of a report: all of it, within 100 columns, with a unit, and nothing that must be guessed.

use anstream::adapter::strip_str;
use finwait_loadgen::outcome::Outcome;
use finwait_loadgen::report::bars::{bar, rows};
use finwait_loadgen::report::screen::{health_line, render};
use finwait_loadgen::report::units::{bytes, grouped, percent, rate, span};
use finwait_loadgen::report::{Report, Summary};

use crate::sample::{self, LIMIT_NS, ramp};

/// The screen without colours.
fn plain(report: &Report) -> String {
    strip_str(&render(report)).to_string()
}

/// The first line that begins with a word, without regard to indents.
fn line<'a>(screen: &'a str, word: &str) -> &'a str {
    let mut lines = screen.lines();
    lines.find(|line| line.trim_start().starts_with(word)).unwrap_or_else(|| panic!("no {word}:\n{screen}"))
}

/// Whether all of these stand on the screen, in this order.
fn assert_order(screen: &str, parts: &[&str]) {
    let mut rest = screen;
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { panic!("no {part:?} there:\n{screen}") };
        rest = behind;
    }
}

/// Every kind of report, and some that nobody hopes to see.
fn all() -> Vec<Report> {
    let mut wide = sample::invalid_churn();
    // The longest addresses, a host's name without end, and times from nanoseconds to hours.
    let v6 = "[2001:db8:1234:5678:9abc:def0:1234:5678%4294967295]:65535";
    for exemplar in &mut wide.exemplars {
        exemplar.local = Some(v6.parse().unwrap());
        exemplar.remote = v6.parse().unwrap();
        exemplar.connection = u64::MAX;
        exemplar.t3_ns = Some(7_200_000_000_000);
        exemplar.error = Some("e".repeat(300));
    }
    wide.target.name = format!("{}:7", "host.".repeat(50));
    wide.latency.shutdown = Summary::new(7_200_000_000_000);
    for exponent in 0..13 {
        (0..1_000_000 >> exponent).for_each(|_| wide.latency.shutdown.record(10_u64.pow(exponent)));
    }
    for summary in [&mut wide.latency.drain, &mut wide.latency.eof_tail, &mut wide.latency.close] {
        *summary = Summary::new(7_200_000_000_000);
        (0..200_000).for_each(|_| summary.record(7_199_999_999_999));
    }
    let mut wide_rtt = sample::rtt();
    wide_rtt.latency.add(&sample::storm_latency(1_000_000));
    wide_rtt.rtt.as_mut().unwrap().latency = wide.latency.shutdown.clone();
    wide_rtt.config.depth = Some(4096);
    wide.warnings[0].what = "A warning that goes on. ".repeat(20);
    let mut every = sample::clean_storm();
    every.outcomes = sample::outcomes(&Outcome::ALL.map(|outcome| (outcome, u64::from(u32::MAX))));
    every.exemplars = Outcome::ALL.map(|outcome| sample::exemplar(outcome, 1)).into();
    vec![
        sample::clean_storm(),
        sample::truncated_churn(),
        sample::frozen_storm(),
        sample::ledger(),
        sample::rtt(),
        wide_rtt,
        sample::invalid_churn(),
        sample::nothing(),
        wide,
        every,
    ]
}

#[test]
fn lines_have_at_most_100_columns() {
    for report in all() {
        let screen = plain(&report);
        for line in screen.lines() {
            assert!(line.chars().count() <= 100, "{line}\nis too long in\n{screen}");
            assert_eq!(line.trim_end(), line, "a space at the end");
        }
        assert!(
            screen.ends_with('\n') && !screen.ends_with("\n\n") && !screen.contains("\n\n\n"),
            "{screen}"
        );
    }
}

#[test]
fn colours_are_all_that_is_lost_without_them() {
    for report in all() {
        let (coloured, plain) = (render(&report), plain(&report));
        assert!(coloured.contains("\u{1b}["));
        assert!(!plain.contains(|char: char| char.is_control() && char != '\n'), "{plain:?}");
        // Every line ends its own colours, so that a pager or a cut shows no others.
        for line in coloured.lines().filter(|line| line.contains('\u{1b}')) {
            assert!(
                line.ends_with("\u{1b}[0m") || line.rfind("\u{1b}[0m") == line.rfind('\u{1b}'),
                "{line:?}"
            );
        }
    }
}

#[test]
fn round_trips_are_told_with_what_is_unfinished() {
    let screen = plain(&sample::rtt());
    assert_order(
        &screen,
        &[
            "rtt: 1,000 connections, 50,000/s messages planned for 100 ms to the embedded",
            "after 200 ms of that they count",
            "\n\n5,003 messages came back as they were sent; all 1,000 connections ended cleanly: every byte came",
            "50,030/s of 50,000/s offered: 5,003 of 64 B in 100 ms\n",
            "3.20 MB/s each way, 320,192 in all\n",
            "60 at the end of the window: 13 came back behind it, 46 waited for a place",
            "1 never came back\n",
            "8.2 us of the generator's processor time for each\n",
            "round trip",
            "How round trips spread: messages by time, in ",
            "start lag  how long after its planned moment a message was sent that had a place",
        ],
    );
    assert!(!screen.contains("observation"), "{screen}");
    let mut closed = sample::rtt();
    closed.config.rate = None;
    closed.config.depth = Some(16);
    closed.rtt = Some(sample::messages(None));
    let screen = plain(&closed);
    assert_order(
        &screen,
        &[
            "each keeps 16 messages under way",
            "50,030/s, in a closed loop: ",
            "from when the one before it was back",
        ],
    );
}

#[test]
fn a_clean_storm_is_told_from_the_verdict_on() {
    let screen = plain(&sample::clean_storm());
    assert_order(
        &screen,
        &[
            "storm: 10,000 connections to the embedded finwait-server at 127.0.0.1:40123 (uring, 1 worker)\n",
            "from 16 addresses 127.0.0.2 to 127.0.0.17",
            "\n\nAll 10,000 connections ended cleanly: every byte came back, then the server's FIN.\n",
            "25.4 ms from the first SHUT_WR to the last EOF",
            "in ms  ",
            "p50     p90     p99   p99.9  p99.99     max    mean   count\n",
            "shutdown  ",
            "connections by time, in ms",
            "█ ",
            "How 10,000 connections ended\n  clean  10,000     100 %  every byte came back, then the server's FIN",
            "The slowest clean connections",
            "-> 127.0.0.1:40123 at 2026-08-01T12:00:01.",
            "Can the figures be believed?",
            "yes",
            "as it came, shutdown's p50 lies between 11.9 ms and 11.9 ms, its p99 between 22.9 ms",
            "observation  ",
            "The embedded server's own account",
            "engine uring, 1 worker; 402 ms of processor time",
            "accepted 10,000, graceful 10,000",
            "To be minded",
            "loopback",
            "-> Run the generator on another host",
        ],
    );
    for outcome in Outcome::ALL.into_iter().filter(|&outcome| outcome != Outcome::Clean) {
        assert!(!screen.contains(outcome.name()), "{} did not occur", outcome.name());
    }
}

#[test]
fn a_percentile_that_rests_on_too_few_is_a_dash_and_explained() {
    let screen = plain(&sample::clean_storm());
    let row: Vec<&str> = line(&screen, "shutdown").split_whitespace().collect();
    assert_eq!(row[0..6], ["shutdown", "11.903", "20.939", "22.970", "23.167", "-"]);
    assert_eq!(row[6..], ["23.180", "11.900", "10,000"]);
    assert!(screen.contains("- stands where fewer than ten samples lie beyond"));
}

#[test]
fn one_table_has_one_unit() {
    // Microseconds for what is fast, with a time-out of seconds beside it.
    let screen = plain(&sample::truncated_churn());
    assert!(line(&screen, "in us").contains("p50"), "{screen}");
    assert!(line(&screen, "with timeouts").contains("10,000,000.0"), "{screen}");
    // What is too short for the unit is not shown as no time at all.
    let mut report = sample::clean_storm();
    report.latency.close = ramp(1_000, 40, 80);
    assert!(line(&plain(&report), "close").contains("<0.001"));
}

#[test]
fn every_row_is_explained() {
    for report in [sample::clean_storm(), sample::truncated_churn()] {
        let screen = plain(&report);
        for (name, summary) in [
            ("drain", &report.latency.drain),
            ("EOF tail", &report.latency.eof_tail),
            ("from schedule", &report.latency.scheduled_shutdown),
            ("connect ", &report.latency.connect),
            ("echo", &report.latency.echo),
            ("close", &report.latency.close),
            ("observation", &report.latency.observation),
            ("loop lag", &report.latency.loop_lag),
            ("start lag", &report.latency.start_lag),
        ] {
            // Exemplars, which stand deeper, have steps of the same names.
            let lines = screen.lines().filter(|line| !line.starts_with("     "));
            let lines = lines.filter(|line| line.trim_start().starts_with(name)).count();
            assert_eq!(lines, if summary.count() > 0 { 2 } else { 0 }, "{name}:\n{screen}");
        }
    }
}

#[test]
fn a_truncating_proxy_is_named_with_its_remedy() {
    let screen = plain(&sample::truncated_churn());
    assert_order(
        &screen,
        &[
            "churn: 2,000/s planned for 5 s, at most 64 connections at a time, to echo.example:7 (10.0.0.9:7)",
            "37 of 10,000 echoes were cut short with a clean FIN; only counting bytes shows it",
            "proxy_half_close",
            "of 2,000/s offered; no planned start was missed",
            "truncated           37    0.37 %  the server's FIN came with bytes missing",
            "Connections that were not clean",
            "truncated  #12 10.0.0.2:32780 -> 10.0.0.9:7 at 2026-08-01T12:00:00.001428Z, got 64 of 128 bytes",
            "SHUT_WR +5 us, EOF +61 us, close +6 us",
            "connect_timeout  #9,120",
            "The slowest clean connections",
        ],
    );
    assert!(!screen.contains("embedded"), "{screen}");
}

#[test]
fn an_invalid_run_says_so_with_every_reason_and_remedy() {
    let screen = plain(&sample::invalid_churn());
    assert_order(
        &screen,
        &[
            "The run is invalid, its figures are about the generator",
            "1,204/s achieved of 2,000/s offered; 3,979 planned starts missed",
            "valid        no",
            "3,979 planned starts were missed.",
            "-> Allow more connections at a time (-c)",
            "Observation's p99",
            "-> Give the generator more processors",
        ],
    );
}

#[test]
fn a_frozen_storm_leads_with_the_servers_own_time() {
    let screen = plain(&sample::frozen_storm());
    assert_order(
        &screen,
        &[
            "while the server is stopped",
            "ended cleanly",
            "thaw to last EOF",
            "41.7 ms, or 4.17 us an ending: the server's own time",
            "p50",
        ],
    );
    assert!(screen.contains("stopped is in it"), "{screen}");
}

#[test]
fn without_connections_there_are_dashes() {
    let screen = plain(&sample::nothing());
    assert!(screen.contains("No connection ended, so nothing is known about the target."), "{screen}");
    let row: Vec<&str> = line(&screen, "shutdown").split_whitespace().collect();
    assert_eq!(row, ["shutdown", "-", "-", "-", "-", "-", "-", "-", "0"]);
    assert!(screen.contains("too few clean connections to say"), "{screen}");
    assert!(!screen.contains('█') && !screen.contains("look up"), "{screen}");
}

#[test]
fn a_contradiction_is_shown() {
    let mut report = sample::clean_storm();
    report
        .server
        .as_mut()
        .unwrap()
        .contradictions
        .push("9,999 graceful endings, where 10,000 were clean".into());
    let screen = plain(&report);
    assert!(line(&screen, "contradicts").contains("9,999 graceful endings"), "{screen}");
    assert!(!screen.contains("it counted what the generator saw"), "{screen}");
}

#[test]
fn a_probe_gets_exactly_one_line() {
    for outcome in Outcome::ALL {
        let mut report = sample::health(outcome);
        let line = health_line(&report);
        assert!(!line.contains('\n') && !line.contains('\u{1b}'), "{line:?}");
        assert!(line.starts_with(&format!("{}: 10.0.0.9:7 ", outcome.name())), "{line}");
        assert_eq!(plain(&report), format!("{line}\n"));
        if outcome != Outcome::Clean {
            assert!(line.contains(outcome.meaning()), "{line}");
        }
        // Nor may a name or an error from elsewhere make two of it.
        report.exemplars[0].error = Some("two\r\nlines".to_owned());
        assert_eq!(plain(&report).lines().count(), 1);
        report.exemplars.clear();
        assert_eq!(plain(&report).lines().count(), 1);
    }
}

#[test]
fn a_probe_is_told_what_took_how_long() {
    assert_eq!(
        health_line(&sample::health(Outcome::Clean)),
        "clean: 10.0.0.9:7 connect 31 us, echo 44 us, shutdown 23.2 ms (drain 23.2 ms, EOF 5 us after), close 6 us"
    );
    let truncated = health_line(&sample::health(Outcome::Truncated));
    assert!(
        truncated.starts_with(
            "truncated: 10.0.0.9:7 connect 31 us, echo 44 us, EOF 61 us after SHUT_WR, close 6 us: the server's FIN \
             came with bytes missing, 64 of 128 bytes came back. Look for a proxy"
        ),
        "{truncated}"
    );
    let refused = health_line(&sample::health(Outcome::ConnectRefused));
    assert_eq!(
        refused,
        "connect_refused: 10.0.0.9:7 no connection: the handshake was answered with a RST (Connection refused, errno \
         111). Is anything listening at that address and port?"
    );
}

#[test]
fn bars_hold_every_sample_in_rows_without_a_gap() {
    let spreads = [
        ramp(1, 5_000, 5_000),
        ramp(10_000, 620_000, 23_180_000),
        ramp(1_000, 1, 30),
        ramp(7, 999, 1_001),
        sample::churn_latency(9_961).shutdown,
        ramp(50, 0, LIMIT_NS * 4),
    ];
    for summary in spreads {
        let rows = rows(&summary);
        assert!((1..=16).contains(&rows.len()), "{rows:?}");
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), summary.count(), "{rows:?}");
        assert!(rows.windows(2).all(|two| two[0].to_ns == two[1].from_ns), "{rows:?}");
        assert!(rows.iter().all(|row| row.from_ns < row.to_ns), "{rows:?}");
        assert!(rows[0].count > 0 && rows[rows.len() - 1].count > 0, "an empty row at an end: {rows:?}");
    }
    assert_eq!(rows(&Summary::new(LIMIT_NS)), []);
}

#[test]
fn rows_are_equal_for_a_queue_and_grow_for_a_tail() {
    let edges =
        |summary: &Summary| -> Vec<u64> { rows(summary).iter().map(|row| row.to_ns / 1_000).collect() };
    let queue = edges(&ramp(10_000, 620_000, 23_180_000));
    assert_eq!(queue, (1..=12).map(|row| row * 2_000).collect::<Vec<_>>());
    let tail = edges(&sample::churn_latency(9_961).shutdown);
    assert_eq!(tail, [70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000, 7_000]);
}

#[test]
fn a_bar_is_as_long_as_its_count_and_one_is_seen() {
    assert_eq!(bar(0, 100, 10), "");
    assert_eq!(bar(1, 1_000_000, 10), "▏");
    assert_eq!(bar(50, 100, 10), "█████");
    assert_eq!(bar(55, 100, 10), "█████▌");
    assert_eq!(bar(u64::MAX, u64::MAX, 10), "██████████");
}

#[test]
fn figures_are_rounded_before_their_unit_is_chosen() {
    let spans =
        [0, 7, 999, 1_000, 45_249, 999_499, 999_600, 12_345_678, 10_000_000_000, 7_200_000_000_000].map(span);
    assert_eq!(
        spans,
        ["0 ns", "7 ns", "999 ns", "1 us", "45.2 us", "999 us", "1 ms", "12.3 ms", "10 s", "7,200 s"]
    );
    assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!(
        [64, 1_024, 1_500, 65_536, 1 << 30].map(bytes),
        ["64 B", "1 KiB", "1,500 B", "64 KiB", "1 GiB"]
    );
    assert_eq!([0.5, 200.0, 999.96, 4_115.4].map(rate), ["0.5/s", "200/s", "999.96/s", "4,115/s"]);
}

#[test]
fn a_share_is_never_rounded_to_all_or_none() {
    assert_eq!(percent(0, 10), "0 %");
    assert_eq!(percent(10, 10), "100 %");
    assert_eq!(percent(37, 10_000), "0.37 %");
    assert_eq!(percent(1, 10_000_000), "<0.01 %");
    assert_eq!(percent(9_999_999, 10_000_000), ">99.99 %");
    assert_eq!(percent(0, 0), "0 %");
}
