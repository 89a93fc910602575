//! The program: parse, run, print, exit code.
fn main() {
    use clap::Parser;
    let _ = finwait_loadgen::config::Cli::parse();
}
