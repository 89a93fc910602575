//! The transition table of the machine, one line per transition: a changed transition is a changed line.
//!
//! The walk judges; this only shows, and knows nothing of the promise, so that a change of the machine can be read
//! here whatever it breaks. Around the machine is no peer and no kernel: every event comes that an operation in
//! flight can bring. A drain and an expiry may come in every state, and are shown where they change it.
//!
//! insta never writes over the committed table by itself: a difference fails the test, and outside of CI it leaves
//! a `.snap.new` beside it to be looked at (`cargo insta review`, or rename the file). Under `INSTA_UPDATE=no`, for
//! CI, nothing is written at all; `INSTA_UPDATE=always` is for nobody.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use finwait_server::conn::{Conn, Event, Fault, Op, OpKind};

/// Enough for every kind of transition: a receive can fill the window, or half of it.
const WINDOW: u32 = 2;

/// A machine and what it has in flight.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Driven {
    conn: Conn,
    /// The most bytes that the receive in flight brings; 0 when there is none.
    recv: u32,
    send: u32,
    is_fin_in_flight: bool,
    is_cancelled: bool,
    is_closing: bool,
}

impl Driven {
    fn events(&self) -> Vec<Event> {
        let mut events = vec![Event::Drain, Event::Expired];
        if self.recv > 0 {
            events.extend((1..=self.recv).map(|taken| Event::Received { taken, owed: taken }));
            events.push(Event::PeerFin { owed: 0 });
            self.add_faults(OpKind::Recv, &mut events);
        }
        if self.send > 0 {
            events.extend((1..=self.send).map(Event::Sent));
            self.add_faults(OpKind::Send, &mut events);
        }
        if self.is_fin_in_flight {
            events.push(Event::FinSent);
            events.push(Event::Failed { op: OpKind::Fin, fault: Fault::Shutdown });
            self.add_faults(OpKind::Fin, &mut events);
        }
        if self.conn.is_taking() {
            events.push(Event::Dry);
        }
        if self.conn.is_parting() {
            events.push(Event::Parted { owed: 0 });
        }
        if self.is_closing {
            events.push(Event::Closed);
        }
        events
    }

    fn add_faults(&self, op: OpKind, events: &mut Vec<Event>) {
        let faults = [Fault::Reset, Fault::Aborted, Fault::TimedOut, Fault::Local];
        events.extend(faults.map(|fault| Event::Failed { op, fault }));
        if self.is_cancelled {
            events.push(Event::Failed { op, fault: Fault::Cancelled });
        }
    }

    fn handle(&mut self, event: Event) -> Vec<Op> {
        match event {
            Event::Received { .. } | Event::PeerFin { .. } | Event::Failed { op: OpKind::Recv, .. } => {
                self.recv = 0;
            }
            Event::Sent(_) | Event::Failed { op: OpKind::Send, .. } => self.send = 0,
            Event::FinSent | Event::Failed { op: OpKind::Fin, .. } => self.is_fin_in_flight = false,
            Event::Closed => self.is_closing = false,
            Event::Drain | Event::Dry | Event::Parted { .. } | Event::Expired => {}
        }
        self.conn.handle(event);
        self.drive()
    }

    fn drive(&mut self) -> Vec<Op> {
        let mut ops = Vec::new();
        while let Some(op) = self.conn.next_op() {
            match op {
                Op::Recv { max } => self.recv = max,
                // How much is thrown away changes nothing.
                Op::Discard => self.recv = 1,
                Op::Send { len } => self.send = len,
                Op::Fin => self.is_fin_in_flight = true,
                Op::Cancel => self.is_cancelled = true,
                Op::Close | Op::Reset => self.is_closing = true,
            }
            ops.push(op);
        }
        ops
    }
}

#[test]
fn the_transition_table() {
    let conn = Conn::new(WINDOW);
    let mut start =
        Driven { conn, recv: 0, send: 0, is_fin_in_flight: false, is_cancelled: false, is_closing: false };
    let ops = start.drive();
    // States of the machine that differ only in what the receive in flight may bring share their lines.
    let mut table: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    table.entry("accepted".to_owned()).or_default().insert(String::new(), line(&start.conn, &ops));
    let mut known = HashSet::from([start.clone()]);
    let mut open = vec![start];
    while let Some(from) = open.pop() {
        for event in from.events() {
            let mut to = from.clone();
            let ops = to.handle(event);
            if !matches!(event, Event::Drain | Event::Expired) || to != from {
                let row = table.entry(state(&from.conn)).or_default();
                row.insert(name(event), line(&to.conn, &ops));
            }
            if known.insert(to.clone()) {
                open.push(to);
            }
        }
    }
    let mut text = String::new();
    for (from, row) in &table {
        writeln!(text, "{from}").unwrap();
        for (event, line) in row {
            writeln!(text, "    {event:<21} -> {line}").unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

/// The fields of the machine that are not as they were at the start, the phase first.
fn state(conn: &Conn) -> String {
    let debug = format!("{conn:?}").replace("Some(Faulted(", "Some((");
    let fields = debug.trim_start_matches("Conn { ").trim_end_matches(" }").split(", ");
    let mut words = Vec::new();
    for (field, value) in fields.filter_map(|field| field.split_once(": ")) {
        match (field, value) {
            ("phase", phase) => words.insert(0, phase.to_owned()),
            ("window", _) | (_, "0" | "false" | "None" | "Unasked") => {}
            (_, "true") => words.push(field.to_owned()),
            ("outcome", outcome) => {
                words.push(outcome.replace("Some", "").replace(['(', ')'], "").to_lowercase());
            }
            (_, value) => words.push(format!("{field}={value}")),
        }
    }
    words.join(" ")
}

fn line(conn: &Conn, ops: &[Op]) -> String {
    let mut line = state(conn);
    for op in ops {
        line.push_str(&match op {
            Op::Recv { max } => format!(" | Recv {max}"),
            Op::Send { len } => format!(" | Send {len}"),
            Op::Discard | Op::Fin | Op::Cancel | Op::Close | Op::Reset => format!(" | {op:?}"),
        });
    }
    line
}

fn name(event: Event) -> String {
    match event {
        Event::Received { taken, owed: _ } => format!("Received {taken}"),
        Event::PeerFin { owed: _ } => "PeerFin".to_owned(),
        Event::Parted { owed: _ } => "Parted".to_owned(),
        Event::Sent(sent) => format!("Sent {sent}"),
        Event::Failed { op, fault } => format!("Failed {op:?} {fault:?}"),
        Event::FinSent | Event::Closed | Event::Drain | Event::Dry | Event::Expired => format!("{event:?}"),
    }
}
