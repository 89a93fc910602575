//! What is printed: the machine, each side, and the ratios beside the noise that they must exceed.

use finwait_bench::cost::Cost;
use finwait_bench::machine;
use finwait_bench::pairs;
use hdrhistogram::Histogram;

use crate::client::{self, MESSAGE_BYTES, SLOTS};
use crate::{CLIENT_CPU, SERVER_CPU};

/// One round of one side.
pub(crate) struct Sample {
    pub(crate) cost: Cost,
    pub(crate) fin_to_eof_ns: Histogram<u64>,
}

impl AsRef<Cost> for Sample {
    fn as_ref(&self) -> &Cost {
        &self.cost
    }
}

pub(crate) type Pair = pairs::Pair<Sample>;

/// The conditions, so that a figure is never read without them.
pub(crate) fn print_conditions(rounds: usize, seconds: f64) {
    println!("connections per server CPU-second under churn");
    println!(
        "  load     {SLOTS} in flight: connect, {MESSAGE_BYTES} B, echo, client FIN, server FIN; all checked"
    );
    println!("  rounds   {rounds} pairs of {seconds} s a side, order alternating");
    println!("  machine  {}", machine::facts());
    println!("  pinned   servers to CPU {SERVER_CPU}, client to CPU {CLIENT_CPU}");
    println!(
        "  caution  on loopback either side's CPU runs some of the other's work: a sender runs the receiver's TCP,"
    );
    println!(
        "           and pays for waking it when it sleeps. Read the ratio of server CPU beside that of both."
    );
    println!();
}

/// A line for each side, then the ratios.
pub(crate) fn print_results(names: [&str; 2], pairs: &[Pair], noise: &[Pair]) {
    println!(
        "  {:16} {:>8} {:>12} {:>15} {:>15}   FIN to EOF",
        "", "conn/s", "conn/CPU-s", "server CPU", "client CPU"
    );
    print_side("A", names[0], pairs.iter().map(|pair| &pair.a));
    print_side("B", names[1], pairs.iter().map(|pair| &pair.b));
    println!();
    println!("  {}", pairs::quiet(pairs));
    print_ratios("A/B", pairs);
    if !noise.is_empty() {
        print_ratios("A/A", noise);
        println!("  A/A is one program as both sides: what is not clearly outside its range is noise");
    }
}

fn print_side<'a>(side: &str, name: &str, samples: impl Iterator<Item = &'a Sample> + Clone) {
    let median = |figure: fn(&Cost) -> f64| pairs::median(samples.clone().map(AsRef::as_ref), figure);
    let mut fin_to_eof_ns = client::histogram();
    for sample in samples.clone() {
        fin_to_eof_ns.add(&sample.fin_to_eof_ns).expect("all rounds record in one shape");
    }
    println!(
        "  {:16} {:>8.0} {:>12.0} {:>7.1} us {:>3.0} % {:>7.1} us {:>3.0} %   p50 {} us, p99 {} us",
        format!("{side} {name}"),
        median(Cost::per_second),
        median(Cost::per_server_cpu_second),
        median(|cost| cost.us_per_conn(cost.server_cpu)),
        median(|cost| cost.percent(cost.server_cpu)),
        median(|cost| cost.us_per_conn(cost.client_cpu)),
        median(|cost| cost.percent(cost.client_cpu)),
        fin_to_eof_ns.value_at_quantile(0.5) / 1_000,
        fin_to_eof_ns.value_at_quantile(0.99) / 1_000,
    );
}

/// The second line counts the client's CPU in: a server that only moves work to the client gains nothing there.
fn print_ratios(name: &str, pairs: &[Pair]) {
    let spread = |figure: fn(&Cost) -> f64| pairs::spread(pairs, |pair| pair.ratio(figure));
    println!("  {name}  server CPU  {}  ({} pairs)", spread(Cost::per_server_cpu_second), pairs.len());
    println!("  {name}  both CPUs   {}", spread(Cost::per_cpu_second_of_both));
}
