//! What a ledger said, and what it should have said: the figures, the rows on the screen, and the words of the verdict.

use serde::Serialize;

use super::layout::{BAD, BOLD, DIM, GOOD, MIND, PLAIN, Page};
use super::units::{counted, grouped};
use super::{Report, Warning};
use crate::ledger::book::Sums;
use crate::outcome::Outcome;

/// What a ledger said.
#[derive(Clone, Debug, Serialize)]
pub struct Ledger {
    /// Transactions that each session of this run claims.
    pub transactions: u64,
    /// Bytes of each, its LF included.
    pub line_bytes: u64,
    /// Sessions that we ended with a RST, in percent, as asked for.
    pub reset_percent: u64,
    /// Sessions that stood still for a while.
    pub stall_percent: u64,
    /// Sessions that claimed again although they were answered.
    pub repeat_percent: u64,
    /// How often a session without a reply was repeated at most.
    pub tries: u64,
    /// What chance began with.
    pub seed: u64,
    /// The file with the history.
    pub history: Option<String>,
    /// Sessions that it had before this run.
    pub recalled: u64,
    /// The grand total before the first session of all.
    pub base: Option<u64>,
    /// What the sessions come to at the end, those of the history included.
    pub sums: Sums,
    /// The moments at which the grand total was asked for, in order.
    pub moments: Vec<Moment>,
    /// Boots that replies named: servers, one after the other.
    pub boots: u64,
    /// Where replies contradict each other.
    pub contradictions: Vec<String>,
    /// Whether there are more sessions than a ledger remembers.
    pub forgets: bool,
}

/// A moment at which the grand total was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// `start`, `crowd`, `settling` or `settled`.
    pub name: &'static str,
    /// What it was; `null` where nobody told.
    pub grand_total: Option<u64>,
    /// The server's boot.
    pub boot: Option<String>,
    /// By how much it had grown.
    pub grown: Option<i64>,
    /// Whether that is what the sessions allow.
    pub holds: Option<bool>,
    /// What they came to.
    pub sums: Sums,
}

/// What the books come to, without the period, and what to do.
pub(super) struct Judged {
    /// Whether they are right, and nothing is open.
    pub(super) is_right: bool,
    /// In words.
    pub(super) sentence: String,
    /// What to do.
    pub(super) remedy: Option<String>,
}

/// Judges the books: the first that is wrong.
pub(super) fn judge(ledger: &Ledger) -> Judged {
    let wrong = |sentence: String, remedy: &str| Judged {
        is_right: false,
        sentence,
        remedy: Some(remedy.to_owned()),
    };
    if let Some(moment) = ledger.moments.iter().find(|moment| moment.holds == Some(false)) {
        return wrong_total(ledger, moment);
    }
    if let Some(contradiction) = ledger.contradictions.first() {
        return wrong(
            format!("The replies of the ledger contradict each other: {contradiction}"),
            "Both sessions are in the history (--history FILE), with their times; within one boot grand totals only \
             grow.",
        );
    }
    let Some(last) = ledger.moments.last().filter(|last| last.grand_total.is_some()) else {
        return wrong(
            "The ledger did not tell its grand total at the end, so it is not known whether it is right"
                .to_owned(),
            "If the server was ended meanwhile, start it again and run with the same --history and -c 0; without a \
             history nothing is left to check.",
        );
    };
    let Sums { answered, unseen, open_sessions, .. } = last.sums;
    let grown = last.grown.unwrap_or_default();
    if open_sessions > 0 {
        let open = counted(open_sessions, "session", "sessions");
        return wrong(
            format!(
                "The grand total grew by {}, which is within its bounds: {} answered, {} in the dark; {open} saw no \
                 reply",
                signed(grown),
                grouped(answered),
                grouped(unseen),
            ),
            "Repeat them until they are seen (--tries), or in another run (--history FILE -c 0): the sum must be exact \
             then.",
        );
    }
    Judged {
        is_right: true,
        sentence: format!(
            "The grand total grew by exactly {}, the totals of {}, each once",
            signed(grown),
            counted(last.sums.sessions, "session", "sessions")
        ),
        remedy: None,
    }
}

fn wrong_total(ledger: &Ledger, moment: &Moment) -> Judged {
    let Sums { answered, unseen, .. } = moment.sums;
    let grown = i128::from(moment.grown.unwrap_or_default());
    let (least, most) = (i128::from(answered), i128::from(answered) + i128::from(unseen));
    let (what, remedy) = if grown < least {
        let remedy = if ledger.boots > 1 {
            "The server was started again meanwhile: without --ledger-file its books end with it."
        } else {
            "Totals that were answered are not in the books: replies were sent before, or without, adding up."
        };
        (format!("{} of what was answered is missing", grouped_wide(least - grown)), remedy)
    } else {
        let remedy = if ledger.forgets {
            "There are more sessions than a ledger remembers, and an older one that is repeated is added again; or \
             somebody else adds to this ledger."
        } else {
            "Does somebody else add to this ledger? If not, something was added twice, or without a FIN."
        };
        (format!("{} more than was ever claimed", grouped_wide(grown - most)), remedy)
    };
    let sentence = format!(
        "The grand total is wrong ({}): it grew by {}, where {} were answered and {} may have been added, so {what}",
        when(moment.name),
        grouped_wide(grown),
        grouped(answered),
        grouped(unseen)
    );
    Judged { is_right: false, sentence, remedy: Some(remedy.to_owned()) }
}

impl Ledger {
    /// What is to be minded.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let ledger = self;
        let mut warnings = Vec::new();
        if ledger.boots > 1 {
            let what =
                format!("Replies named {} boots: the server was started again during the run.", ledger.boots);
            let remedy = "None is needed where that was meant; grand totals are compared within a boot only.";
            warnings.push(Warning { what, remedy: Some(remedy.to_owned()) });
        }
        if ledger.forgets {
            let what = "There are more sessions than the 262,144 that a ledger remembers.".to_owned();
            let remedy =
                "One that is repeated late may be added twice, rightly: use fewer (-c), or a new history.";
            warnings.push(Warning { what, remedy: Some(remedy.to_owned()) });
        }
        warnings
    }
}

/// What to do about an ending that only a ledger's connections have.
pub(super) const fn remedy(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::LedgerTwice => {
            Some("The server must remember a session whose claim it has added, and say duplicate.")
        }
        Outcome::LedgerLost => Some(
            "The client cannot know whether its total was added; the server must say so before its FIN, or end with a \
             RST. A session with a total that went unseen must be repeated.",
        ),
        Outcome::LedgerDuplicate => {
            Some("Was this --seed used on this ledger before? If not, the server takes two sessions for one.")
        }
        Outcome::LedgerChanged => {
            Some("A duplicate must be told the grand total that the session was told the first time.")
        }
        Outcome::LedgerSeen => Some(
            "Every line that ends and does not begin with `!` counts, on its own connection: look one up in a capture.",
        ),
        Outcome::LedgerMismatch => Some(
            "The total was the number of lines sent. Compare `seen`, and whether the session had another total before.",
        ),
        Outcome::LedgerMalformed => Some("Look one up in a capture, and hold it against server/LEDGER.md."),
        Outcome::LedgerOverflow => Some("The ledger is full to 2^64 - 1: begin a new one."),
        Outcome::LedgerEarly => Some("A claim counts by the FIN behind it: the reply must wait for that."),
        Outcome::LedgerEchoed => {
            Some("Is this the port of a ledger (finwait-server --ledger)? An echo sends the claim back.")
        }
        Outcome::LedgerBadReply => {
            Some("Hold an exemplar in a capture against the grammar in server/LEDGER.md.")
        }
        Outcome::LedgerDraining => {
            Some("The server was being ended, or has an --idle-timeout: repeat the sessions.")
        }
        Outcome::Clean
        | Outcome::Truncated
        | Outcome::Corrupt
        | Outcome::ResetBeforeDrain
        | Outcome::ResetAfterDrain
        | Outcome::ResetAfterEof
        | Outcome::EarlyEof
        | Outcome::EchoTimeout
        | Outcome::DrainTimeout
        | Outcome::EofTimeout
        | Outcome::ShutdownFailed
        | Outcome::ConnectRefused
        | Outcome::ConnectTimeout
        | Outcome::ConnectReset
        | Outcome::ConnectUnreachable
        | Outcome::LocalPorts
        | Outcome::LocalFds
        | Outcome::LocalMemory
        | Outcome::SelfReset
        | Outcome::Censored => None,
    }
}

/// The section with the books.
pub(super) fn write(page: &mut Page, report: &Report) {
    let Some(ledger) = &report.ledger else { return };
    page.heading("The ledger: what its grand total grew by, and what it had to");
    let width = ledger.moments.iter().map(|moment| when(moment.name).len()).max().unwrap_or_default();
    for moment in &ledger.moments {
        let Sums { answered, answered_sessions, unseen, unseen_sessions, .. } = moment.sums;
        let (style, grown) = match (moment.grown, moment.holds) {
            (Some(grown), Some(true)) => (GOOD, format!("grew by {}", signed(grown))),
            (Some(grown), _) => (BAD, format!("grew by {}", signed(grown))),
            (None, _) => (MIND, "was not told".to_owned()),
        };
        let told = moment.grand_total.map(|total| format!(" to {}", grouped(total))).unwrap_or_default();
        let text = format!(
            "{grown}{told}; answered: {} of {} (O), may be added: {} of {} (U)",
            grouped(answered),
            counted(answered_sessions, "session", "sessions"),
            grouped(unseen),
            counted(unseen_sessions, "session", "sessions"),
        );
        page.item(style, when(moment.name), width, &text);
    }
    for contradiction in &ledger.contradictions {
        page.item(BAD, "contradiction", width, contradiction);
    }
    let recalled = match &ledger.history {
        Some(history) => {
            format!(
                "; the history in {history} had {} before",
                counted(ledger.recalled, "session", "sessions")
            )
        }
        None => String::new(),
    };
    page.item(PLAIN, "chance", width, &format!("--seed {}{recalled}", ledger.seed));
    page.paragraph(
        DIM,
        2,
        "The growth must lie between O and O + U. It was asked for by sessions with a total of 0.",
    );
}

/// What every session does, and the trouble that some get into.
pub(super) fn script(ledger: &Ledger, report: &Report) -> String {
    let each = counted(ledger.transactions, "transaction", "transactions");
    let trouble: Vec<String> = [
        (ledger.reset_percent, "reset by us"),
        (ledger.stall_percent, "stalled"),
        (ledger.repeat_percent, "repeated although answered"),
    ]
    .into_iter()
    .filter(|&(percent, _)| percent > 0)
    .map(|(percent, what)| format!("{percent} % {what}"))
    .collect();
    let trouble =
        if trouble.is_empty() { String::new() } else { format!(" Trouble: {}.", trouble.join(", ")) };
    // Only sessions that follow one another have a rate.
    let others = if report.rate.achieved.is_none() { " and for all others" } else { "" };
    format!(
        "Each session sends one of {each} of {}, waits for its echo{others}, sends the rest and its total \
         with its FIN (SHUT_WR). It is clean when every byte came back, then a right reply and the server's FIN; without \
         progress for {} it is given up.{trouble}",
        super::units::bytes(ledger.line_bytes),
        super::units::span(report.config.timeout_ns)
    )
}

/// The headline among the figures.
pub(super) fn figure(page: &mut Page, report: &Report, width: usize) {
    let Some(ledger) = &report.ledger else { return };
    let Sums { answered, unseen, .. } = ledger.sums;
    let grown = ledger.moments.last().and_then(|moment| moment.grown);
    let grown = grown.map_or_else(|| "was not told".to_owned(), |grown| format!("grew by {}", signed(grown)));
    let text = format!("{grown}; answered {} (O), may be added {} (U)", grouped(answered), grouped(unseen));
    page.item(BOLD, "grand total", width, &text);
}

fn when(name: &str) -> &'static str {
    match name {
        "start" => "at the start",
        "crowd" => "behind the crowd",
        "settling" => "between repetitions",
        _ => "behind the repetitions",
    }
}

fn signed(number: i64) -> String {
    grouped_wide(number.into())
}

fn grouped_wide(number: i128) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(u64::try_from(number.unsigned_abs()).unwrap_or(u64::MAX)))
}
