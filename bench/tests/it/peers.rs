//! The servers that are in this program, with both buffers that they are measured with.

#[cfg(target_os = "linux")]
use crate::check;
use crate::check::Check;
use crate::support::start;

/// Every check on every server.
macro_rules! checks {
    ($($server:ident: $name:literal),* $(,)?) => {$(
        mod $server {
            checks!(@each $name: a_few_bytes_and_the_fin_at_once, four_mib_while_reading,
                sixty_four_that_all_half_close, a_slow_reader, a_reset_ends_no_other, a_fin_alone);
        }
    )*};
    (@each $name:literal: $($check:ident),*) => {$(
        #[test]
        fn $check() {
            super::passes($name, crate::check::$check);
        }
    )*};
}

checks! {
    uring: "uring",
    mio: "mio",
    tokio_uring: "tokio-uring",
    tokio: "tokio",
    tokio_lean: "tokio-lean",
    epoll: "epoll",
    threads: "threads",
}

#[cfg(target_os = "linux")]
checks! {
    monoio: "monoio",
    compio: "compio",
}

fn passes(name: &str, check: Check) {
    for buffer in ["4KiB", "64KiB"] {
        let server = start(&["peer", name, "--buffer", buffer]);
        assert_eq!(check(&server), Ok(()), "{name} with {buffer}");
    }
}

/// What it drops nobody hears of: a FIN behind half of an echo looks like any other.
#[cfg(target_os = "linux")]
#[test]
fn a_server_that_closes_at_the_fin_is_told_apart() {
    for buffer in ["4KiB", "64KiB"] {
        let server = start(&["peer", "abrupt", "--buffer", buffer]);
        let why = check::a_few_bytes_and_the_fin_at_once(&server);
        assert_eq!(why, Err("0 of 123 bytes came back, and a clean EOF".to_owned()));
        // Who has the echo before the FIN sees no difference.
        assert_eq!(check::a_fin_alone(&server), Ok(()));
    }
}
