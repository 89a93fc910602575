//! What the replies of several sessions say of each other: what cannot be, in whatever order they were added.

use std::collections::BTreeMap;

use super::answer::Status;
use super::{Attempt, Nanos, Reply};

/// Where replies contradict each other, a sentence for each kind, with the first case and how many there are.
#[must_use]
pub fn contradictions(attempts: &[Attempt]) -> Vec<String> {
    let seen: Vec<Seen<'_>> = attempts.iter().filter_map(Seen::of).collect();
    [overlaps(&seen), falls(&seen), returns(&seen)].into_iter().flatten().collect()
}

/// An `ok`, and between which moments it was added.
#[derive(Clone, Copy)]
struct Seen<'a> {
    attempt: &'a Attempt,
    reply: Reply,
    /// It was added after this.
    from: Nanos,
    /// And before that.
    to: Nanos,
}

impl<'a> Seen<'a> {
    fn of(attempt: &'a Attempt) -> Option<Self> {
        let reply = attempt.reply.filter(|reply| reply.status == Status::Ok)?;
        // Without a FIN the reply was wrong by itself; it was still not added before the connection began.
        let from = attempt.fin.unwrap_or(attempt.started);
        Some(Self { attempt, reply, from, to: attempt.replied? })
    }

    /// The grand total before it was added; what is less than its own total was never one.
    fn before(&self) -> i128 {
        i128::from(self.reply.grand_total) - i128::from(self.attempt.session.total)
    }

    fn name(&self) -> String {
        format!("session {:032x}", self.attempt.session.id)
    }
}

/// Each `ok` says what the grand total was before and behind it; what two of them added cannot be the same.
fn overlaps(seen: &[Seen<'_>]) -> Option<String> {
    let mut sorted = seen.to_vec();
    sorted.sort_by_key(|seen| (seen.reply.boot, seen.before(), seen.reply.grand_total));
    let mut first = None;
    let mut count = 0;
    for pair in sorted.windows(2).filter(|pair| pair[0].reply.boot == pair[1].reply.boot) {
        if pair[1].before() < i128::from(pair[0].reply.grand_total) {
            count += 1;
            first.get_or_insert((pair[0], pair[1]));
        }
    }
    let (one, other) = first?;
    Some(format!(
        "{} and {} were both told that their totals, {} and {}, made it {} and {}: one of them was not added{}",
        one.name(),
        other.name(),
        one.attempt.session.total,
        other.attempt.session.total,
        one.reply.grand_total,
        other.reply.grand_total,
        and_more(count)
    ))
}

/// Whoever sent its FIN after another's reply was added behind it.
fn falls(seen: &[Seen<'_>]) -> Option<String> {
    let mut by_from = seen.to_vec();
    by_from.sort_by_key(|seen| seen.from);
    let mut by_to = seen.to_vec();
    by_to.sort_by_key(|seen| seen.to);
    let mut earlier = by_to.into_iter().peekable();
    let mut highest: BTreeMap<u128, Seen<'_>> = BTreeMap::new();
    let mut first = None;
    let mut count = 0;
    for later in by_from {
        while let Some(before) = earlier.next_if(|before| before.to < later.from) {
            let most = highest.entry(before.reply.boot).or_insert(before);
            if before.reply.grand_total > most.reply.grand_total {
                *most = before;
            }
        }
        let Some(most) = highest.get(&later.reply.boot) else { continue };
        if later.before() < i128::from(most.reply.grand_total) {
            count += 1;
            first.get_or_insert((*most, later));
        }
    }
    let (most, later) = first?;
    Some(format!(
        "the grand total fell: {} with its total of {} was told {}, though {} had been told {} before that one's FIN{}",
        later.name(),
        later.attempt.session.total,
        later.reply.grand_total,
        most.name(),
        most.reply.grand_total,
        and_more(count)
    ))
}

/// A boot begins once: none is seen again behind another that began after it.
fn returns(seen: &[Seen<'_>]) -> Option<String> {
    let mut spans: BTreeMap<u128, (Nanos, Nanos)> = BTreeMap::new();
    for one in seen {
        // From the first moment at which it must have been over with what came before, to the last at which it was still.
        let (known, last) = spans.entry(one.reply.boot).or_insert((one.to, one.from));
        *known = (*known).min(one.to);
        *last = (*last).max(one.from);
    }
    let boots: Vec<_> = spans.into_iter().collect();
    let crossed = boots.iter().enumerate().find_map(|(index, one)| {
        let other = boots[index + 1..].iter().find(|other| one.1.0 < other.1.1 && other.1.0 < one.1.1)?;
        Some((one.0, other.0))
    });
    let (one, other) = crossed?;
    Some(format!("the boots {one:032x} and {other:032x} were seen by turns, though each begins only once"))
}

fn and_more(count: u64) -> String {
    if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() }
}
