//! The comparison as a whole, and the crowds: short runs, in which every figure is there and whoever is wrong has none.

use serde_json::Value;

use crate::support::run;

fn compared(args: &[&str]) -> Value {
    let line = [&["compare", "--quick", "--pairs", "1", "--json"], args].concat();
    let output = run(&line);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
}

fn side<'a>(findings: &'a Value, name: &str) -> &'a Value {
    let sides = findings["rows"][0]["sides"].as_array().unwrap();
    sides.iter().find(|side| side["name"] == name).unwrap()
}

/// Whoever closes without a drain must not get a figure: it would be a good one.
#[test]
#[ignore = "it measures on two processors: run it alone, as .ci/steps/peers does"]
fn who_closes_too_early_is_caught() {
    let findings = compared(&["--only", "churn-64", "--with", "abrupt", "--against", "abrupt"]);
    let wrong = side(&findings, "abrupt")["wrong"].as_str().unwrap();
    assert!(wrong.contains("connections ended cleanly"), "{wrong}");
    assert_eq!(side(&findings, "abrupt")["cpu_ns"], Value::Null);
    assert_eq!(findings["rows"][0]["ratios"].as_array().unwrap().len(), 0);
}

#[test]
#[ignore = "it measures on two processors: run it alone, as .ci/steps/peers does"]
fn every_figure_of_a_row_is_there() {
    let findings = compared(&["--only", "churn-64", "--against", "epoll"]);
    for name in ["uring", "epoll", "floor"] {
        let side = side(&findings, name);
        assert_eq!(side["wrong"], Value::Null);
        // A connection costs more than a microsecond, and less than a millisecond.
        let cpu = side["cpu_ns"]["median"].as_f64().unwrap();
        assert!((1e3..1e6).contains(&cpu), "{name}: {cpu}");
        assert!(side["p50_ns"].as_f64().unwrap() > 0.0, "{name}");
        assert!(side["floors"].as_f64().unwrap() > 0.0, "{name}");
    }
    let ratios = findings["rows"][0]["ratios"].as_array().unwrap();
    let cpu = ratios.iter().find(|ratio| ratio["figure"] == "cpu").unwrap();
    assert_eq!((cpu["against"].as_str(), cpu["pairs"].as_u64()), (Some("epoll"), Some(1)));
    // One pair: the ratio is that of the two sides' figures.
    let each = |name| side(&findings, name)["cpu_ns"]["median"].as_f64().unwrap();
    let ratio = cpu["spread"]["median"].as_f64().unwrap();
    assert!((ratio - each("epoll") / each("uring")).abs() < 1e-9, "{ratio}");
    assert!(findings["rows"][0]["noise"].as_array().unwrap().iter().any(|noise| noise["figure"] == "cpu"));
    assert!(findings["generator"]["rtt_p50_ns"].as_u64().unwrap() > 0);
    assert!(findings["generator"]["fin_p99_ns"].as_u64().unwrap() > 0);
    assert_eq!(findings["failed"].as_array().unwrap().len(), 0);
}

#[test]
fn a_crowd_stands_echoes_and_ends() {
    let output = run(&["many", "--connections", "17k", "--workers", "2", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (findings["crowds"].as_u64(), findings["outcomes"]["clean"].as_u64()),
        (Some(2), Some(17_000))
    );
    assert!(findings["messages"].as_u64().unwrap() >= 17_000);
    // They are in the rings' tables, not in that of the process.
    assert!(findings["descriptors"].as_u64().unwrap() < 100);
    let bytes = |name: &str| findings[name].as_u64().unwrap();
    assert!(bytes("resident_bytes") > bytes("resident_empty_bytes"));
    assert!(bytes("slab_bytes") > 17_000 * 1_000, "a connection has two sockets");
    assert!(bytes("drain_ns") > 0);
}
