//! One operation's place in the kernel: its OVERLAPPED, which neither moves nor goes away while the kernel has it.

use std::ptr::NonNull;

use windows_sys::Win32::System::IO::OVERLAPPED;

/// The OVERLAPPED of one operation at a time, and whether the kernel has it now.
pub(super) struct Overlap {
    at: NonNull<OVERLAPPED>,
    in_flight: bool,
}

impl Overlap {
    pub(super) fn new() -> Self {
        Self { at: NonNull::from(Box::leak(Box::new(OVERLAPPED::default()))), in_flight: false }
    }

    /// What a call takes that starts an operation. It is in flight from here on, until [`Overlap::end`].
    pub(super) fn begin(&mut self) -> *mut OVERLAPPED {
        assert!(!self.in_flight, "an operation was started over one that is in flight");
        self.in_flight = true;
        // SAFETY: it came from a box, and the kernel has no operation that it would write the end of here.
        unsafe { self.at.write(OVERLAPPED::default()) };
        self.at.as_ptr()
    }

    /// The operation is over: its completion was taken out of the port, or none will ever be put there.
    pub(super) fn end(&mut self) {
        assert!(self.in_flight, "an operation ended that was not in flight");
        self.in_flight = false;
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// What names the operation to the kernel, and in its completion.
    pub(super) fn name(&self) -> *const OVERLAPPED {
        self.at.as_ptr()
    }
}

impl Drop for Overlap {
    fn drop(&mut self) {
        // The kernel writes the end of an operation here whenever that comes: then it is never freed. Only a worker
        // that failed leaves any behind.
        if !self.in_flight {
            // SAFETY: it came from a box, and nothing refers to it any more.
            drop(unsafe { Box::from_raw(self.at.as_ptr()) });
        }
    }
}
