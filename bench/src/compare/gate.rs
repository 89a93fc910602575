//! Before any number is taken: whether a server sends back every byte, and ends every connection as it should.

use std::path::Path;
use std::time::Duration;

use super::entrant::Entrant;
use super::load::{self, Load};
use crate::Result;

/// Connections, and bytes that each sends right before its FIN: far more than a socket's buffers hold.
const LONG: (u32, u64) = (16, 4 << 20);
/// The same while the server stands still, so that it finds bytes and FIN together: all of the echo is owed then.
const AT_ONCE: (u32, u64) = (64, 16 << 10);

/// Lets a server through that is right.
///
/// # Errors
/// What it did wrong.
pub(super) fn pass(entrant: &Entrant, program: &Path, round: Duration) -> Result<()> {
    let is_echo = match entrant.load {
        Load::Echo { .. } | Load::Churn { .. } | Load::Storm { .. } | Load::Idle { .. } => true,
        Load::Ledger { .. } => false,
    };
    // The floor can do nothing but the work that it is the floor of.
    if is_echo && entrant.side.name != "floor" {
        load::trial(entrant, program, LONG, false)?;
        load::trial(entrant, program, AT_ONCE, true)?;
    }
    // One round that nobody looks at: caches, pools and page faults are met in it.
    entrant.round(program, None, round)?;
    Ok(())
}
