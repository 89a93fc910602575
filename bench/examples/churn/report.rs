//! What is printed: the machine, each side, and the ratios beside the noise that they must exceed.

use std::time::Duration;

use finwait_bench::spread::Spread;
use hdrhistogram::Histogram;

use crate::client::{self, MESSAGE_BYTES, SLOTS};
use crate::machine;
use crate::{CLIENT_CPU, SERVER_CPU};

/// One round of one side.
pub(crate) struct Sample {
    pub(crate) conns: u64,
    pub(crate) elapsed: Duration,
    pub(crate) server_cpu: Duration,
    pub(crate) client_cpu: Duration,
    /// CPU time of everything else on this machine.
    pub(crate) others_cpu: Duration,
    /// CPU time that the host gave to other guests instead.
    pub(crate) steal: Duration,
    pub(crate) fin_to_eof_ns: Histogram<u64>,
}

impl Sample {
    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.conns as f64 / self.server_cpu.as_secs_f64()
    }

    fn per_second(&self) -> f64 {
        self.conns as f64 / self.elapsed.as_secs_f64()
    }

    /// Connections per CPU-second of server and client together.
    fn per_cpu_second_of_both(&self) -> f64 {
        self.conns as f64 / (self.server_cpu + self.client_cpu).as_secs_f64()
    }

    fn us_per_conn(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.conns as f64
    }

    /// `cpu` as percent of one CPU over the round.
    fn percent(&self, cpu: Duration) -> f64 {
        100.0 * cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// Two rounds back to back: a ratio taken between them survives a host that changes its pace.
pub(crate) struct Pair {
    pub(crate) a: Sample,
    pub(crate) b: Sample,
}

impl Pair {
    /// What other work took of a CPU, in the worse of the two rounds.
    pub(crate) fn others_percent(&self) -> f64 {
        [&self.a, &self.b].map(|sample| sample.percent(sample.others_cpu)).into_iter().fold(0.0, f64::max)
    }

    fn ratio(&self) -> f64 {
        self.a.per_cpu_second() / self.b.per_cpu_second()
    }

    /// The same with the client's CPU counted in: a server that only moves work to the client gains nothing here.
    fn ratio_of_both(&self) -> f64 {
        self.a.per_cpu_second_of_both() / self.b.per_cpu_second_of_both()
    }
}

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
    print_quiet(pairs);
    print_ratios("A/B", pairs);
    if !noise.is_empty() {
        print_ratios("A/A", noise);
        println!("  A/A is one program as both sides: what is not clearly outside its range is noise");
    }
}

fn print_side<'a>(side: &str, name: &str, samples: impl Iterator<Item = &'a Sample> + Clone) {
    let median =
        |figure: fn(&Sample) -> f64| Spread::of(&samples.clone().map(figure).collect::<Vec<_>>()).median;
    let mut fin_to_eof_ns = client::histogram();
    for sample in samples.clone() {
        fin_to_eof_ns.add(&sample.fin_to_eof_ns).expect("all rounds record in one shape");
    }
    println!(
        "  {:16} {:>8.0} {:>12.0} {:>7.1} us {:>3.0} % {:>7.1} us {:>3.0} %   p50 {} us, p99 {} us",
        format!("{side} {name}"),
        median(Sample::per_second),
        median(Sample::per_cpu_second),
        median(|sample| sample.us_per_conn(sample.server_cpu)),
        median(|sample| sample.percent(sample.server_cpu)),
        median(|sample| sample.us_per_conn(sample.client_cpu)),
        median(|sample| sample.percent(sample.client_cpu)),
        fin_to_eof_ns.value_at_quantile(0.5) / 1_000,
        fin_to_eof_ns.value_at_quantile(0.99) / 1_000,
    );
}

/// How quiet the machine was: a neighbour on the server's CPU costs it its caches.
fn print_quiet(pairs: &[Pair]) {
    let samples = || pairs.iter().flat_map(|pair| [&pair.a, &pair.b]);
    let others = Spread::of(&samples().map(|sample| sample.percent(sample.others_cpu)).collect::<Vec<_>>());
    let steal = Spread::of(&samples().map(|sample| sample.percent(sample.steal)).collect::<Vec<_>>());
    println!(
        "  other work  {:.0}% of a CPU at the median, {:.0}% at most; stolen by the host {:.0}%, {:.0}%",
        others.median, others.max, steal.median, steal.max
    );
}

fn print_ratios(name: &str, pairs: &[Pair]) {
    let spread = |ratio: fn(&Pair) -> f64| Spread::of(&pairs.iter().map(ratio).collect::<Vec<_>>());
    println!("  {name}  server CPU  {}  ({} pairs)", spread(Pair::ratio), pairs.len());
    println!("  {name}  both CPUs   {}", spread(Pair::ratio_of_both));
}
