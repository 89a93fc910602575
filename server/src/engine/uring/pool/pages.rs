//! Memory that is shared with the kernel.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

const PAGE: usize = 4096;

/// Zeroed memory that begins on a page.
pub(super) struct Pages {
    pub(super) start: NonNull<u8>,
    pub(super) layout: Layout,
    /// The kernel may write to it for ever: it is not to be given back.
    pub(super) leaked: bool,
}

impl Pages {
    pub(super) fn new(size: usize) -> Self {
        let layout = Layout::from_size_align(size, PAGE).expect("a fixed size");
        // SAFETY: the size is not 0.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        Self { start, layout, leaked: false }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: allocated with this layout, and nobody holds a reference any more.
            unsafe { dealloc(self.start.as_ptr(), self.layout) };
        }
    }
}
