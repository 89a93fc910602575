//! What a run comes to: the sentence, the remedy and the exit code.

use finwait_loadgen::outcome::Outcome::{self, *};
use finwait_loadgen::report::verdict::{Facts, remedy, verdict};
use finwait_loadgen::report::{Generator, Server, Target, Verdict, Warning};

use crate::sample::{embedded, healthy, outcomes, overloaded, remote, server};

/// A run that is put together by what is odd about it.
struct Run {
    counts: Vec<(Outcome, u64)>,
    target: Target,
    generator: Generator,
    server: Option<Server>,
    interrupted: bool,
    failed: Option<String>,
}

fn run(counts: &[(Outcome, u64)]) -> Run {
    Run {
        counts: counts.to_vec(),
        target: remote(),
        generator: healthy(),
        server: None,
        interrupted: false,
        failed: None,
    }
}

impl Run {
    fn invalid(mut self, reasons: &[Warning]) -> Self {
        self.generator.valid = false;
        self.generator.invalid = reasons.to_vec();
        self
    }

    fn embedded(mut self, contradictions: &[&str]) -> Self {
        self.target = embedded();
        let contradictions = contradictions.iter().map(|&text| text.to_owned()).collect();
        self.server = Some(Server { contradictions, ..server() });
        self
    }

    fn interrupted(mut self) -> Self {
        self.interrupted = true;
        self
    }

    fn failed(mut self, how: &str) -> Self {
        self.failed = Some(how.to_owned());
        self
    }

    fn verdict(&self) -> Verdict {
        verdict(&Facts {
            scenario: "churn",
            target: &self.target,
            outcomes: &outcomes(&self.counts),
            generator: &self.generator,
            server: self.server.as_ref(),
            ledger: None,
            rtt: None,
            interrupted: self.interrupted,
            failed: self.failed.clone(),
        })
    }

    fn sentence(&self) -> String {
        self.verdict().sentence
    }

    fn exit_code(&self) -> u8 {
        self.verdict().exit_code
    }
}

#[test]
fn all_clean_is_the_only_success() {
    let verdict = run(&[(Clean, 10_000)]).verdict();
    assert_eq!(
        verdict.sentence,
        "All 10,000 connections ended cleanly: every byte came back, then the server's FIN."
    );
    assert_eq!((verdict.exit_code, verdict.clean, verdict.remedy), (0, true, None));
    assert!(run(&[(Clean, 1)]).sentence().starts_with("The connection ended cleanly:"));
}

#[test]
fn one_other_ending_is_enough_for_exit_code_1() {
    for outcome in Outcome::ALL.into_iter().filter(|outcome| ![Clean, SelfReset, Censored].contains(outcome))
    {
        let verdict = run(&[(Clean, 9_999), (outcome, 1)]).verdict();
        assert_eq!((verdict.exit_code, verdict.clean), (1, false), "{}", outcome.name());
        assert!(verdict.sentence.starts_with("1 of 10,000 "), "{}", verdict.sentence);
        assert!(verdict.sentence.ends_with('.'), "{}", verdict.sentence);
        assert!(verdict.remedy.is_some_and(|remedy| remedy.len() > 20), "{}", outcome.name());
    }
}

#[test]
fn what_is_worst_is_said_first_and_the_others_are_counted() {
    let sentence = run(&[(Clean, 9_963), (Truncated, 37)]).sentence();
    assert_eq!(
        sentence,
        "37 of 10,000 echoes were cut short with a clean FIN; only counting bytes shows it."
    );
    let sentence = run(&[(ConnectRefused, 5_000), (EofTimeout, 1), (Truncated, 1), (Clean, 1)]).sentence();
    assert_eq!(
        sentence,
        "1 of 5,003 echoes was cut short with a clean FIN; only counting bytes shows it; \
         5,001 others did not end cleanly either (1 eof_timeout, 5,000 connect_refused)."
    );
    let sentence = run(&[(Corrupt, 2), (LocalPorts, 1)]).sentence();
    assert_eq!(
        sentence,
        "2 of 3 echoes came back with a wrong byte or with one too many; \
         1 other did not end cleanly either (1 local_ports)."
    );
    assert_eq!(run(&[(ConnectRefused, 64)]).sentence(), "All 64 connects were refused.");
    assert_eq!(run(&[(ConnectRefused, 1)]).sentence(), "The connect was refused.");
}

#[test]
fn remedies_name_what_to_look_at() {
    let says = |outcome, what: &str| {
        let remedy = run(&[(Clean, 5), (outcome, 5)]).verdict().remedy.unwrap();
        assert!(remedy.contains(what), "{remedy}");
    };
    says(Truncated, "proxy_half_close on;");
    says(ResetBeforeDrain, "SO_LINGER");
    says(EofTimeout, "CLOSE_WAIT");
    says(ConnectRefused, "listening");
    says(LocalPorts, "-b");
    says(LocalFds, "ulimit -n");
    assert_eq!((remedy(Clean), remedy(Censored)), (None, None));
}

#[test]
fn the_embedded_server_has_no_proxy_to_look_at() {
    let remedy = run(&[(Truncated, 1)]).embedded(&[]).verdict().remedy.unwrap();
    assert!(remedy.contains("issue") && !remedy.contains("proxy"), "{remedy}");
    let remedy = run(&[(LocalFds, 1)]).embedded(&[]).verdict().remedy.unwrap();
    assert!(remedy.contains("ulimit"), "{remedy}");
}

#[test]
fn an_invalid_run_says_that_it_is_about_the_generator_and_why() {
    let one = run(&[(Clean, 100)]).invalid(&[overloaded()]).verdict();
    assert_eq!(
        one.sentence,
        "The run is invalid, its figures are about the generator and not about the target: observation's p99 \
         (9.1 ms) exceeds 5 % of shutdown's (23.2 ms)."
    );
    assert_eq!((one.exit_code, one.clean), (4, false));
    assert_eq!(one.remedy, overloaded().remedy);
    let several = run(&[(Clean, 100)]).invalid(&[overloaded(), overloaded(), overloaded()]).sentence();
    assert!(several.ends_with("(and 2 reasons more)."), "{several}");
    // Nobody said why, and still there is something to do.
    assert!(run(&[(Clean, 1)]).invalid(&[]).verdict().remedy.is_some());
}

#[test]
fn a_wrong_ending_is_named_in_an_invalid_run_too() {
    let both = run(&[(Clean, 63), (Truncated, 37)]).invalid(&[overloaded()]).verdict();
    assert!(both.sentence.contains("; besides, 37 of 100 echoes were cut short"), "{}", both.sentence);
    assert_eq!(both.exit_code, 4);
    // What failed on this host is the reason itself, and not said twice.
    let local = run(&[(Clean, 63), (LocalPorts, 37)]).invalid(&[overloaded()]).sentence();
    assert!(!local.contains("besides"), "{local}");
}

#[test]
fn no_connection_is_no_success() {
    let verdict = run(&[]).verdict();
    assert_eq!(verdict.sentence, "No connection ended, so nothing is known about the target.");
    assert_eq!((verdict.exit_code, verdict.clean), (1, false));
    assert_eq!(run(&[(Censored, 5)]).exit_code(), 1);
}

#[test]
fn a_contradiction_or_a_failure_is_no_success() {
    let contradicted =
        run(&[(Clean, 10)]).embedded(&["it counted 9 graceful endings", "and 1 reset"]).verdict();
    assert_eq!(
        contradicted.sentence,
        "All 10 connections ended cleanly: every byte came back, then the server's FIN, but the server's own \
         account contradicts that: it counted 9 graceful endings (and 1 more)."
    );
    assert_eq!((contradicted.exit_code, contradicted.clean), (1, false));
    assert!(contradicted.remedy.is_some());
    let failed = run(&[(Clean, 10)]).failed("The embedded server did not end.").verdict();
    assert!(
        failed.sentence.starts_with("The run failed (The embedded server did not end); all 10 connections")
    );
    assert_eq!((failed.exit_code, failed.clean), (1, false));
}

#[test]
fn an_interrupt_comes_first() {
    let clean = run(&[(Clean, 50), (Censored, 14)]).interrupted().verdict();
    assert_eq!(
        clean.sentence,
        "Interrupted with 14 connections under way; until then: all 50 connections ended cleanly: every byte came \
         back, then the server's FIN."
    );
    assert_eq!((clean.exit_code, clean.clean), (130, false));
    assert_eq!(run(&[(Clean, 50)]).invalid(&[overloaded()]).interrupted().exit_code(), 130);
    assert_eq!(run(&[(Truncated, 50)]).interrupted().exit_code(), 130);
    assert_eq!(
        run(&[(Censored, 1)]).interrupted().sentence(),
        "Interrupted with 1 connection under way; until then: no connection ended, so nothing is known about the \
         target."
    );
}

#[test]
fn the_first_exit_code_that_applies_is_taken() {
    let counts = [(Clean, 1), (Truncated, 1)];
    assert_eq!(run(&counts).invalid(&[]).embedded(&["x"]).failed("y").interrupted().exit_code(), 130);
    assert_eq!(run(&counts).invalid(&[]).embedded(&["x"]).failed("y").exit_code(), 4);
    assert_eq!(run(&counts).embedded(&["x"]).failed("y").exit_code(), 1);
    // What was under way at an interrupt is no bar.
    assert_eq!(run(&[(Clean, 1), (Censored, 1)]).exit_code(), 0);
}
