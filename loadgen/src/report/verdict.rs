//! What a run comes to: one sentence in plain words, what to do about it, and the exit code.

use super::ledger::{self, Judged};
use super::units::{counted, grouped};
use super::{Generator, Ledger, Rtt, Server, Target, Verdict, Warning, rtt};
use crate::outcome::{Outcome, Outcomes};

/// Every connection ended cleanly, and nothing else went wrong.
pub const EXIT_CLEAN: u8 = 0;
/// Something ended otherwise, or failed.
pub const EXIT_NOT_CLEAN: u8 = 1;
/// The run is invalid: what it measured is the generator.
pub const EXIT_INVALID: u8 = 4;
/// Interrupted, after a report of what was done until then.
pub const EXIT_INTERRUPTED: u8 = 130;

/// All of them but those that are wanted and [`Outcome::Censored`], the worst for the user of a service first: bytes
/// that are wrong or lost, then endings that are wrong, then connections that never came to be.
const WORST_FIRST: [Outcome; 29] = [
    Outcome::LedgerTwice,
    Outcome::LedgerLost,
    Outcome::LedgerDuplicate,
    Outcome::LedgerChanged,
    Outcome::LedgerSeen,
    Outcome::LedgerMismatch,
    Outcome::LedgerMalformed,
    Outcome::LedgerOverflow,
    Outcome::LedgerEchoed,
    Outcome::LedgerBadReply,
    Outcome::LedgerEarly,
    Outcome::Corrupt,
    Outcome::Truncated,
    Outcome::ResetBeforeDrain,
    Outcome::EarlyEof,
    Outcome::DrainTimeout,
    Outcome::EchoTimeout,
    Outcome::ResetAfterDrain,
    Outcome::ResetAfterEof,
    Outcome::EofTimeout,
    Outcome::ShutdownFailed,
    Outcome::LedgerDraining,
    Outcome::ConnectReset,
    Outcome::ConnectRefused,
    Outcome::ConnectTimeout,
    Outcome::ConnectUnreachable,
    Outcome::LocalPorts,
    Outcome::LocalFds,
    Outcome::LocalMemory,
];

/// What is judged.
#[derive(Debug)]
pub struct Facts<'a> {
    /// `storm`, `churn` or `health`.
    pub scenario: &'a str,
    /// The target.
    pub target: &'a Target,
    /// How connections ended.
    pub outcomes: &'a Outcomes,
    /// The generator's own health.
    pub generator: &'a Generator,
    /// The embedded server's account.
    pub server: Option<&'a Server>,
    /// What a ledger said.
    pub ledger: Option<&'a Ledger>,
    /// What messages did.
    pub rtt: Option<&'a Rtt>,
    /// Whether a signal ended the run early.
    pub interrupted: bool,
    /// What failed besides connections: the embedded server that did not end, a process that could not be stopped.
    pub failed: Option<String>,
}

/// Judges a run. The exit code is the first that applies: interrupted, invalid, not clean, clean.
#[must_use]
pub fn verdict(facts: &Facts<'_>) -> Verdict {
    let exit_code = exit_code(facts);
    let Said { sentence, remedy } = said(facts);
    Verdict { sentence, remedy, clean: exit_code == EXIT_CLEAN, exit_code }
}

/// What to do about an outcome, where that is known.
#[must_use]
pub const fn remedy(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Clean | Outcome::SelfReset | Outcome::Censored => None,
        Outcome::Truncated => Some(
            "Look for a proxy that closes both directions when the client's FIN comes (nginx's stream proxy needs \
             `proxy_half_close on;`), or for a server that closes before it has sent all that it read.",
        ),
        Outcome::Corrupt => Some(
            "Check that the target is a plain echo service (no banner, no line endings changed); if it is, look up \
             one of the exemplars in a capture.",
        ),
        Outcome::ResetBeforeDrain => Some(
            "The server, or a proxy before it, closes with unread input, or with SO_LINGER at 0: let it read to the \
             EOF and send all that it owes before it closes.",
        ),
        Outcome::ResetAfterDrain => Some(
            "The server closes with SO_LINGER at 0 or with unread input where its FIN is due: close without linger, \
             after reading to the EOF.",
        ),
        Outcome::ResetAfterEof => Some(
            "The server sends its FIN and then aborts: it closes with input unread, or is killed, right behind its \
             own shutdown; let it read to the EOF first.",
        ),
        Outcome::EarlyEof => Some(
            "The server closes after its first answer, or on an idle limit: an echo service ends when the client \
             does. Compare its idle limit with how long this run kept connections waiting.",
        ),
        Outcome::EchoTimeout => Some(
            "Check that the target is an echo service, and that it answers before its input ends; a service that is \
             only slow needs a longer --timeout.",
        ),
        Outcome::DrainTimeout => Some(
            "The server, or a proxy before it, stops sending after the client's FIN without closing either; one that \
             is only slow needs a longer --timeout.",
        ),
        Outcome::EofTimeout => Some(
            "The server does not close after the client's FIN: it must treat a read of 0 bytes as the end, send what \
             it owes, and close. Such connections pile up there in CLOSE_WAIT.",
        ),
        Outcome::ShutdownFailed => {
            Some("Each exemplar names the error; a reset just before is the usual cause.")
        }
        Outcome::LedgerTwice
        | Outcome::LedgerLost
        | Outcome::LedgerDuplicate
        | Outcome::LedgerChanged
        | Outcome::LedgerSeen
        | Outcome::LedgerMismatch
        | Outcome::LedgerMalformed
        | Outcome::LedgerOverflow
        | Outcome::LedgerEarly
        | Outcome::LedgerEchoed
        | Outcome::LedgerBadReply
        | Outcome::LedgerDraining => ledger::remedy(outcome),
        Outcome::ConnectRefused
        | Outcome::ConnectTimeout
        | Outcome::ConnectReset
        | Outcome::ConnectUnreachable
        | Outcome::LocalPorts
        | Outcome::LocalFds
        | Outcome::LocalMemory => no_connection(outcome),
    }
}

/// The same where no connection came to be.
const fn no_connection(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::ConnectRefused => Some("Is anything listening at that address and port?"),
        Outcome::ConnectTimeout => Some(
            "Is there a firewall that drops, or a full accept queue (nstat TcpExtListenOverflows on the server)? \
             Raise its backlog and net.core.somaxconn, or offer less.",
        ),
        Outcome::ConnectReset => Some(
            "The server accepts and at once aborts: look for its connection limit, or for a proxy without a working \
             upstream.",
        ),
        Outcome::ConnectUnreachable => {
            Some("Check the address, the route to it (ip route get ADDRESS), and that -b can reach it.")
        }
        Outcome::LocalPorts => Some(
            "Give more source addresses with -b, or widen net.ipv4.ip_local_port_range, or start connections at a \
             lower rate.",
        ),
        Outcome::LocalFds => {
            Some("Raise the limit of descriptors (ulimit -n, fs.file-max), or use fewer with -c.")
        }
        Outcome::LocalMemory => {
            Some("Use fewer connections (-c) or bytes (-s, --tail), or raise net.ipv4.tcp_mem.")
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
        | Outcome::LedgerTwice
        | Outcome::LedgerLost
        | Outcome::LedgerDuplicate
        | Outcome::LedgerChanged
        | Outcome::LedgerSeen
        | Outcome::LedgerMismatch
        | Outcome::LedgerMalformed
        | Outcome::LedgerOverflow
        | Outcome::LedgerEarly
        | Outcome::LedgerEchoed
        | Outcome::LedgerBadReply
        | Outcome::LedgerDraining
        | Outcome::SelfReset
        | Outcome::Censored => None,
    }
}

struct Said {
    sentence: String,
    remedy: Option<String>,
}

fn exit_code(facts: &Facts<'_>) -> u8 {
    let wanted = facts.outcomes.sum(Outcome::is_wanted);
    let clean = facts.outcomes[Outcome::Clean];
    let censored = facts.outcomes[Outcome::Censored];
    if facts.interrupted {
        EXIT_INTERRUPTED
    } else if !facts.generator.valid {
        EXIT_INVALID
    } else if clean == 0
        || wanted + censored < facts.outcomes.total()
        || facts.ledger.is_some_and(|ledger| !ledger::judge(ledger).is_right)
        || facts.rtt.is_some_and(|rtt| rtt.messages == 0)
        || facts.failed.is_some()
        || contradiction(facts).is_some()
    {
        EXIT_NOT_CLEAN
    } else {
        EXIT_CLEAN
    }
}

/// What comes first is what the exit code is about; wrong endings are named behind it, for they are true in an invalid
/// run too.
fn said(facts: &Facts<'_>) -> Said {
    let endings = match (facts.ledger, facts.rtt) {
        (Some(ledger), _) => with_books(ledger::judge(ledger), endings(facts), facts),
        (None, Some(rtt)) => with_messages(rtt, endings(facts)),
        (None, None) => endings(facts),
    };
    let mut said = if !facts.generator.valid {
        invalid(facts, endings)
    } else if let Some(failed) = &facts.failed {
        let sentence =
            format!("The run failed ({}); {}.", stripped(failed), uncapitalised(&endings.sentence));
        Said { sentence, remedy: endings.remedy }
    } else if let Some(contradiction) = contradiction(facts) {
        let sentence =
            format!("{}, but the server's own account contradicts that: {contradiction}.", endings.sentence);
        Said { sentence, remedy: endings.remedy.or_else(embedded_remedy) }
    } else {
        Said { sentence: format!("{}.", endings.sentence), remedy: endings.remedy }
    };
    if facts.interrupted {
        let censored = match facts.outcomes[Outcome::Censored] {
            0 => String::new(),
            count => format!(" with {} under way", counted(count, "connection", "connections")),
        };
        said.sentence = format!("Interrupted{censored}; until then: {}", uncapitalised(&said.sentence));
    }
    said
}

/// The books come first: they are what a ledger is for.
fn with_books(books: Judged, endings: Said, facts: &Facts<'_>) -> Said {
    let Judged { is_right, sentence, remedy } = books;
    let is_well = worst(facts.outcomes).is_none();
    let sentence = format!("{sentence}; {}", uncapitalised(&endings.sentence));
    Said {
        sentence,
        remedy: if is_right || (remedy.is_none() && !is_well) { endings.remedy } else { remedy },
    }
}

fn with_messages(rtt: &Rtt, endings: Said) -> Said {
    let sentence = format!("{}; {}", rtt::sentence(rtt), uncapitalised(&endings.sentence));
    let remedy = endings.remedy.or_else(|| {
        (rtt.messages == 0).then(|| "Let it last longer (-d), or send smaller messages (-s).".to_owned())
    });
    Said { sentence, remedy }
}

fn invalid(facts: &Facts<'_>, endings: Said) -> Said {
    let Warning { what, remedy } = facts.generator.invalid.first().cloned().unwrap_or_else(|| Warning {
        what: "the generator did not keep up".to_owned(),
        remedy: Some("Offer less, give it more processors (-t), or run it on a host of its own.".to_owned()),
    });
    let more = match facts.generator.invalid.len() {
        0 | 1 => String::new(),
        several => format!(" (and {})", counted(several as u64 - 1, "reason more", "reasons more")),
    };
    let mut sentence = format!(
        "The run is invalid, its figures are about the generator and not about the target: {}{more}",
        uncapitalised(stripped(&what))
    );
    // A wrong ending is the target's however slow the generator was; what failed on this host is the reason itself.
    if worst(facts.outcomes).is_some_and(|outcome| !outcome.is_local()) {
        sentence = format!("{sentence}; besides, {}", uncapitalised(&endings.sentence));
    }
    Said { sentence: format!("{sentence}."), remedy: remedy.or(endings.remedy) }
}

/// The first contradiction, and how many more.
fn contradiction(facts: &Facts<'_>) -> Option<String> {
    let contradictions = &facts.server?.contradictions;
    let first = stripped(contradictions.first()?);
    Some(match contradictions.len() {
        1 => first.to_owned(),
        several => format!("{first} (and {more} more)", more = several - 1),
    })
}

/// How connections ended, without the period.
fn endings(facts: &Facts<'_>) -> Said {
    let outcomes = facts.outcomes;
    let ended = outcomes.sum(|outcome| outcome != Outcome::Censored);
    let Some(worst) = worst(outcomes) else {
        return match ended {
            0 => nothing(facts),
            1 => Said {
                sentence: "The connection ended cleanly: every byte came back, then the server's FIN"
                    .to_owned(),
                remedy: None,
            },
            _ if outcomes[Outcome::SelfReset] > 0 => Said {
                sentence: format!(
                    "All {} connections that we did not reset ourselves ended cleanly: every byte came back, then the \
                     server's FIN",
                    grouped(outcomes[Outcome::Clean])
                ),
                remedy: None,
            },
            _ => Said {
                sentence: format!(
                    "All {} connections ended cleanly: every byte came back, then the server's FIN",
                    grouped(ended)
                ),
                remedy: None,
            },
        };
    };
    let mut sentence = sentence(worst, outcomes[worst], ended);
    let others: Vec<String> = WORST_FIRST
        .into_iter()
        .filter(|&outcome| outcome != worst && outcomes[outcome] > 0)
        .map(|outcome| format!("{} {}", grouped(outcomes[outcome]), outcome.name()))
        .collect();
    if !others.is_empty() {
        let count = ended - outcomes.sum(Outcome::is_wanted) - outcomes[worst];
        let others = others.join(", ");
        sentence = format!(
            "{sentence}; {} not end cleanly either ({others})",
            counted(count, "other did", "others did")
        );
    }
    let remedy = match remedy(worst) {
        Some(_) if facts.target.embedded && !worst.is_local() => embedded_remedy(),
        remedy => remedy.map(str::to_owned),
    };
    Said { sentence, remedy }
}

fn nothing(facts: &Facts<'_>) -> Said {
    let sentence = "No connection ended, so nothing is known about the target".to_owned();
    let remedy = match facts.scenario {
        _ if facts.interrupted => None,
        "churn" => Some("Let it last longer (-d), or start more connections (-n, -r).".to_owned()),
        _ => None,
    };
    Said { sentence, remedy }
}

/// The embedded server has no proxy before it and no settings to look at.
fn embedded_remedy() -> Option<String> {
    let remedy = "The target was this program's own server, so this is a fault of it or of the generator: keep the \
                  report (-o run.json) and file an issue.";
    Some(remedy.to_owned())
}

fn worst(outcomes: &Outcomes) -> Option<Outcome> {
    WORST_FIRST.into_iter().find(|&outcome| outcomes[outcome] > 0)
}

/// What happened to `count` of `total`, without the period.
fn sentence(outcome: Outcome, count: u64, total: u64) -> String {
    let many = count != 1;
    let were = if many { "were" } else { "was" };
    let connections = subject(count, total, "connection", "connections");
    let connects = subject(count, total, "connect", "connects");
    match outcome {
        Outcome::Clean => format!("{connections} ended cleanly"),
        Outcome::Truncated => {
            let echoes = subject(count, total, "echo", "echoes");
            format!("{echoes} {were} cut short with a clean FIN; only counting bytes shows it")
        }
        Outcome::Corrupt => {
            let echoes = subject(count, total, "echo", "echoes");
            format!("{echoes} came back with a wrong byte or with one too many")
        }
        Outcome::ResetBeforeDrain => format!("{connections} {were} reset before every byte was back"),
        Outcome::ResetAfterDrain => {
            format!("{connections} {were} reset where the server's FIN was due, after every byte was back")
        }
        Outcome::ResetAfterEof => format!("{connections} {were} reset right behind the server's FIN"),
        Outcome::EarlyEof => format!("{connections} got the server's FIN before the client had sent its own"),
        Outcome::EchoTimeout => format!("{connections} waited in vain for an echo"),
        Outcome::DrainTimeout => {
            format!("{connections} stalled after the client's FIN, with bytes missing until the timeout")
        }
        Outcome::EofTimeout => format!("{connections} got every byte back, but not the server's FIN in time"),
        Outcome::ShutdownFailed => {
            format!("{connections} could not be half-closed: shutdown(SHUT_WR) failed")
        }
        Outcome::ConnectRefused => format!("{connects} {were} refused"),
        Outcome::ConnectTimeout => format!("{connects} {were} not answered in time"),
        Outcome::ConnectReset => format!("{connections} {were} reset before the first byte was sent"),
        Outcome::ConnectUnreachable => format!("{connects} found no way to the target"),
        Outcome::LedgerTwice => format!("{connections} {were} added twice: answered ok once more"),
        Outcome::LedgerLost => format!("{connections} got the server's FIN and no reply to the claim"),
        Outcome::LedgerDuplicate => format!("{connections} {were} called duplicates at the first claim"),
        Outcome::LedgerChanged => {
            format!("{connections} {were} told another grand total than at the first time")
        }
        Outcome::LedgerSeen => format!("{connections} {were} told of other transactions than were sent"),
        Outcome::LedgerMismatch => format!("{connections} {were} told mismatch, though the total was right"),
        Outcome::LedgerMalformed => format!("{connections} {were} told malformed, though nothing was"),
        Outcome::LedgerOverflow => format!("{connections} found the grand total full"),
        Outcome::LedgerEarly => format!("{connections} got the reply before the client had sent its FIN"),
        Outcome::LedgerEchoed => format!("{connections} got the claim itself back"),
        Outcome::LedgerBadReply => format!("{connections} got what is no reply behind the echo"),
        Outcome::LedgerDraining => format!("{connections} {were} ended by the server first, which said so"),
        Outcome::SelfReset => format!("{connections} {were} ended by our own RST"),
        Outcome::LocalPorts => format!("{connects} failed for want of a free port on this host"),
        Outcome::LocalFds => format!("{connects} failed for want of a descriptor in this process"),
        Outcome::LocalMemory => format!("{connects} failed for want of socket memory on this host"),
        Outcome::Censored => format!("{connections} {were} under way at the interrupt"),
    }
}

/// `All 10,000 echoes`, `37 of 10,000 echoes`.
fn subject(count: u64, total: u64, one: &str, many: &str) -> String {
    match (count, total) {
        (1, 1) => format!("The {one}"),
        _ if count == total => format!("All {} {many}", grouped(total)),
        _ => format!("{} of {} {many}", grouped(count), grouped(total)),
    }
}

/// A sentence to go on behind: without its period.
fn stripped(sentence: &str) -> &str {
    sentence.trim_end_matches('.')
}

/// A sentence to stand behind a colon: a first word that has more capitals, like SYN or FIN, keeps them.
fn uncapitalised(sentence: &str) -> String {
    let mut chars = sentence.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => first.to_lowercase().chain(chars).collect(),
        _ => sentence.to_owned(),
    }
}
