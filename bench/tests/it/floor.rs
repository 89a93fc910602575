//! The floor does the work of a server: the same checks, and the loads that it is made for.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::check::{self, payload};
use crate::support::{connect, start};

/// With connections that do not wait for each other, any order will do.
#[test]
fn churn_does_the_work_of_a_server() {
    let floor = start(&["floor", "churn"]);
    for check in [
        check::a_few_bytes_and_the_fin_at_once,
        check::four_mib_while_reading,
        check::sixty_four_that_all_half_close,
        check::a_slow_reader,
        check::a_reset_ends_no_other,
        check::a_fin_alone,
    ] {
        assert_eq!(check(&floor), Ok(()));
    }
}

#[test]
fn churn_goes_on_beside_a_connection_that_is_silent() {
    let floor = start(&["floor", "churn"]);
    let silent = connect(floor.port);
    assert_eq!(check::a_fin_alone(&floor), Ok(()));
    silent.shutdown(Shutdown::Write).unwrap();
    assert_eq!(check::heard(silent, &[]), Ok(()));
}

#[test]
fn churn_serves_many_at_a_time() {
    let floor = start(&["floor", "churn"]);
    thread::scope(|scope| {
        let clients = [(); 8]
            .map(|()| scope.spawn(|| (0..5).try_for_each(|_| check::sixty_four_that_all_half_close(&floor))));
        for client in clients {
            assert_eq!(client.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn echo_does_the_work_of_a_server() {
    let floor = start(&["floor", "echo"]);
    for check in [
        check::a_few_bytes_and_the_fin_at_once,
        check::four_mib_while_reading,
        check::sixty_four_that_all_half_close,
        check::a_slow_reader,
        check::a_fin_alone,
    ] {
        assert_eq!(check(&floor), Ok(()));
    }
}

#[test]
fn echo_goes_round_as_many_as_come() {
    goes_round(&["floor", "echo", "--size", "64"], 300, 64);
}

#[test]
fn echo_takes_a_message_in_several_receives() {
    goes_round(&["floor", "echo", "--size", "200000"], 3, 200_000);
}

/// Two crowds, one after the other; in each round everybody sends before the first one reads.
fn goes_round(args: &[&str], connections: usize, size: usize) {
    let floor = start(args);
    for crowd in 0..2 {
        let mut streams: Vec<TcpStream> = (0..connections).map(|_| connect(floor.port)).collect();
        for round in 0..3 {
            let message = payload(size, 3 * crowd + round);
            for stream in &mut streams {
                stream.write_all(&message).unwrap();
            }
            for stream in &mut streams {
                let mut echo = vec![0; size];
                stream.read_exact(&mut echo).unwrap();
                assert_eq!(echo, message);
            }
        }
        for stream in streams {
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(check::heard(stream, &[]), Ok(()));
        }
    }
}
