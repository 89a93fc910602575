//! The rows of the closing table: every way to end a connection, with every state that it can meet.

/// A call that ends a connection, or begins to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Send,
    Both,
    Disconnect,
    Close,
}

/// SO_LINGER, as {l_onoff, l_linger} with the time in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linger {
    Off,
    Zero,
    OneSecond,
}

/// One row: a call, and what it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) way: Way,
    pub(super) linger: Linger,
    /// The kernel of the side that ends holds bytes which that side has not read.
    pub(super) unread: bool,
    /// It also holds bytes which it could not send yet, for the other side's kernel has no room.
    pub(super) unsent: bool,
}

impl Way {
    pub(super) const ALL: [Self; 4] = [Self::Send, Self::Both, Self::Disconnect, Self::Close];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Send => "shutdown(SD_SEND)",
            Self::Both => "shutdown(SD_BOTH)",
            Self::Disconnect => "WSASendDisconnect(NULL)",
            Self::Close => "closesocket",
        }
    }

    /// Connections that a row takes. What leaves a direction open is seen twice: with a byte that comes late, and without.
    #[cfg(any(target_os = "linux", windows))]
    pub(super) fn rounds(self) -> usize {
        match self {
            Self::Send | Self::Both | Self::Disconnect => 2,
            Self::Close => 1,
        }
    }
}

impl Linger {
    const ALL: [Self; 3] = [Self::Off, Self::Zero, Self::OneSecond];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Off => "{0,0}",
            Self::Zero => "{1,0}",
            Self::OneSecond => "{1,1}",
        }
    }
}

/// All of them, in the order of the document.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for way in Way::ALL {
        for linger in Linger::ALL {
            for (unread, unsent) in [(false, false), (false, true), (true, false), (true, true)] {
                rows.push(Row { way, linger, unread, unsent });
            }
        }
    }
    rows
}
