//! What names an entry of the ring: its kind, and the connection or listener that it is for.

/// What an entry in the ring is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Accept,
    AcceptCancel,
    Wake,
    Recv,
    Poll,
    Cancel,
    Timer,
    // For direct descriptors only.
    Send,
    Shutdown,
    FinLook,
    PeerLook,
    Look,
    Linger,
}

pub(super) const KINDS: [Kind; 13] = [
    Kind::Accept,
    Kind::AcceptCancel,
    Kind::Wake,
    Kind::Recv,
    Kind::Poll,
    Kind::Cancel,
    Kind::Timer,
    Kind::Send,
    Kind::Shutdown,
    Kind::FinLook,
    Kind::PeerLook,
    Kind::Look,
    Kind::Linger,
];
pub(super) const GENERATION: u32 = 0x00ff_ffff;

pub(super) fn tag(kind: Kind, generation: u32, index: u32) -> u64 {
    (kind as u64) << 56 | u64::from(generation & GENERATION) << 32 | u64::from(index)
}
