//! The one integration-test binary.
//!
//! - `arguments`: what the command line refuses, and what it says then.
//! - `endings`: servers that end connections wrongly, each named with its own outcome.
//! - `freeze`: servers that stand still, and that are never left so.
//! - `ledger`: a ledger's books are found right or wrong, and what is wrong has a name.
//! - `limits`: ports, source addresses and the law of TIME_WAIT.
//! - `pacer`: when connections are started.
//! - `payload`: what is sent.
//! - `program`: the program as its users see it: runs, rates, output, signals.
//! - `progress`: what is said while a run is under way.
//! - `sample`: reports made by hand, for those who read one.
//! - `schema`: the shipped JSON Schema describes what is printed, and nothing else.
//! - `screen`: what a person sees of a report.
//! - `script`: every way through the machine of a connection, and the outcome that it comes to.
//! - `summary`: what a histogram says of its samples.
//! - `support`: the small vocabulary that the cases are written in.
//! - `validity`: when a run is about its generator.
//! - `verdict`: what a run comes to, and the exit code.
// It signals processes and sets their processors: a Windows program is judged from here, by .ci/steps/wine.
#![cfg(unix)]

mod arguments;
mod endings;
mod freeze;
mod ledger;
mod limits;
mod pacer;
mod payload;
mod program;
mod progress;
mod rtt;
mod sample;
mod schema;
mod screen;
mod script;
mod summary;
mod support;
mod validity;
mod verdict;
