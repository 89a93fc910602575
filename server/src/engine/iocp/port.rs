//! The completion port: where the ends of operations queue up, and how other threads wake whoever waits there.

use std::io;
use std::os::windows::io::{AsRawHandle, AsRawSocket, FromRawHandle, OwnedHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::Duration;

use socket2::Socket;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::Storage::FileSystem::SetFileCompletionNotificationModes;
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED_ENTRY, PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::WindowsProgramming::{
    FILE_SKIP_COMPLETION_PORT_ON_SUCCESS, FILE_SKIP_SET_EVENT_ON_HANDLE,
};

/// Completions taken out with one system call.
pub(super) const BATCH: usize = 256;

/// A completion port of one thread. Wakers hold it too, and may outlive the engine.
pub(super) struct Port {
    handle: OwnedHandle,
    /// The key that wakes it.
    wake_key: usize,
    /// A wake is in the queue and was not seen yet: another one would say nothing new.
    woken: AtomicBool,
}

impl Port {
    pub(super) fn new(wake_key: usize) -> io::Result<Self> {
        // SAFETY: no handle comes in, so a port is made. One thread at a time is all that ever waits there.
        let raw = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, std::ptr::null_mut(), 0, 1) };
        if raw.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle was just made for us, and nobody else knows it.
        let handle = unsafe { OwnedHandle::from_raw_handle(raw) };
        Ok(Self { handle, wake_key, woken: AtomicBool::new(false) })
    }

    fn raw(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }

    /// Has the ends of all operations on `socket` come here under `key`, but for those that end at once: their caller
    /// knows already.
    pub(super) fn adopt(&self, socket: &Socket, key: usize) -> io::Result<()> {
        let handle = socket.as_raw_socket() as HANDLE;
        // SAFETY: both handles are open.
        if unsafe { CreateIoCompletionPort(handle, self.raw(), key, 0) }.is_null() {
            return Err(io::Error::last_os_error());
        }
        let modes = (FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE) as u8;
        // SAFETY: the handle is open.
        match unsafe { SetFileCompletionNotificationModes(handle, modes) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Waits for completions, and returns how many of `entries` were filled: none when the time is over.
    pub(super) fn take(
        &self,
        entries: &mut [OVERLAPPED_ENTRY],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let mut taken = 0;
        // SAFETY: the port is open, and there is room for as many entries as are asked for.
        let ok = unsafe {
            GetQueuedCompletionStatusEx(
                self.raw(),
                entries.as_mut_ptr(),
                entries.len() as u32,
                &raw mut taken,
                timeout.map_or(u32::MAX, milliseconds),
                0,
            )
        };
        if ok != 0 {
            return Ok(taken as usize);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(WAIT_TIMEOUT as i32) { Ok(0) } else { Err(error) }
    }

    /// The wake was taken out; from here on the next one counts again.
    pub(super) fn seen_wake(&self) {
        self.woken.swap(false, Ordering::AcqRel);
    }
}

/// Rounded up: waking too early would only mean to wait again.
fn milliseconds(timeout: Duration) -> u32 {
    let rounded = timeout.as_nanos().div_ceil(1_000_000);
    // The largest number means for ever.
    u32::try_from(rounded).unwrap_or(u32::MAX).min(u32::MAX - 1)
}

impl Wake for Port {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.woken.swap(true, Ordering::AcqRel) {
            return;
        }
        // SAFETY: the port is open, and a packet of our own names no operation.
        if unsafe { PostQueuedCompletionStatus(self.raw(), 0, self.wake_key, std::ptr::null_mut()) } == 0 {
            self.seen_wake();
            tracing::error!("a worker could not be woken: {}", io::Error::last_os_error());
        }
    }
}
