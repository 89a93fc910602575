//! What is printed for each engine: both clients, and the ratios beside the noise and the goals.

use finwait_bench::cost::Cost;
use finwait_bench::machine;
use finwait_bench::pairs::{self, Pair};
use finwait_bench::spread::Spread;

use crate::{CLIENT_CPU, MESSAGE_BYTES, SERVER_CPU, SLOTS, SOURCES};

/// The least share of the bare client's rate that the generator is to achieve.
const RATE_MIN: f64 = 0.85;
/// The most CPU per connection that it may use, in units of the bare client's.
const CPU_MAX: f64 = 1.25;

/// The conditions, so that a figure is never read without them.
pub(crate) fn print_conditions(rounds: usize, seconds: f64) {
    println!("the generator (A) and a bare epoll client (B) in the same cycle, on one core each round");
    println!(
        "  load     {SLOTS} in flight from {SOURCES} addresses: connect, {MESSAGE_BYTES} B, echo, {MESSAGE_BYTES} B \
         and FIN, echo, server FIN; all checked"
    );
    println!("  rounds   {rounds} pairs of {seconds} s a side, order alternating, one server for both");
    println!("  machine  {}", machine::facts());
    println!("  pinned   server to CPU {SERVER_CPU}, clients to CPU {CLIENT_CPU}");
    println!("  counted  a client's whole process, from its start to its end");
}

/// A line for each client, then the ratios; whether both goals are met.
pub(crate) fn print_results(
    engine: &str,
    names: [&str; 2],
    pairs: &[Pair<Cost>],
    noise: &[Pair<Cost>],
) -> bool {
    println!();
    println!("{engine:18} {:>8} {:>16} {:>16}", "conn/s", "client CPU", "server CPU");
    print_side("A", names[0], pairs.iter().map(|pair| &pair.a));
    print_side("B", names[1], pairs.iter().map(|pair| &pair.b));
    println!("  {}", pairs::quiet(pairs));
    let [rate, cpu] = ratios(pairs);
    let met = [rate.median >= RATE_MIN, cpu.median <= CPU_MAX];
    let word = |met| if met { "met" } else { "MISSED" };
    println!("  A/B  rate                {rate}  (at least {RATE_MIN}: {})", word(met[0]));
    println!("  A/B  CPU per connection  {cpu}  (at most {CPU_MAX}: {})", word(met[1]));
    if !noise.is_empty() {
        let [rate, cpu] = ratios(noise);
        println!("  B/B  rate                {rate}");
        println!("  B/B  CPU per connection  {cpu}");
    }
    met == [true, true]
}

fn ratios(pairs: &[Pair<Cost>]) -> [Spread; 2] {
    [Cost::per_second, client_us].map(|figure| pairs::spread(pairs, |pair| pair.ratio(figure)))
}

/// Microseconds of the client's CPU for each connection.
pub(crate) fn client_us(cost: &Cost) -> f64 {
    cost.us_per_unit(cost.client_cpu)
}

fn print_side<'a>(side: &str, name: &str, costs: impl Iterator<Item = &'a Cost> + Clone) {
    let median = |figure: fn(&Cost) -> f64| pairs::median(costs.clone(), figure);
    println!(
        "  {:16} {:>8.0} {:>8.2} us {:>3.0} % {:>8.2} us {:>3.0} %",
        format!("{side} {name}"),
        median(Cost::per_second),
        median(client_us),
        median(|cost| cost.percent(cost.client_cpu)),
        median(|cost| cost.us_per_unit(cost.server_cpu)),
        median(|cost| cost.percent(cost.server_cpu)),
    );
}
