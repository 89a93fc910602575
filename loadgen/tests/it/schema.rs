//! The shipped JSON Schema describes what is printed, and nothing else.

use finwait_loadgen::outcome::Outcome;
use finwait_loadgen::report::{Report, SCHEMA, Summary};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::sample;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../report.schema.json")).unwrap()
}

fn validator() -> Validator {
    let schema = schema();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}

fn assert_valid(report: &Report) {
    let json = serde_json::to_value(report).unwrap();
    let errors: Vec<String> =
        validator().iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// A report that has all there is, a server's account, a ledger's and one of messages, after a change.
fn changed(change: impl FnOnce(&mut Value)) -> bool {
    let mut json = serde_json::to_value(fullest()).unwrap();
    change(&mut json);
    validator().is_valid(&json)
}

fn fullest() -> Report {
    let mut report = Report { ledger: sample::ledger().ledger, ..sample::rtt() };
    report.config.hold_ns = Some(1);
    report
}

#[test]
fn reports_are_as_it_says() {
    assert_valid(&sample::clean_storm());
    assert_valid(&sample::truncated_churn());
    assert_valid(&sample::frozen_storm());
    assert_valid(&sample::invalid_churn());
    assert_valid(&sample::nothing());
    assert_valid(&sample::ledger());
    assert_valid(&sample::rtt());
    for outcome in Outcome::ALL {
        assert_valid(&sample::health(outcome));
    }
}

#[test]
fn what_the_system_does_not_tell_may_be_missing() {
    let mut report = sample::clean_storm();
    report.host.kernel = None;
    report.host.cpu = None;
    report.host.descriptors_max = None;
    report.host.port_range = None;
    report.host.congestion_control = None;
    report.exemplars[0].local = None;
    report.config.sources = vec!["2001:db8::1".parse().unwrap()];
    report.target.addr = "[2001:db8::2]:7".parse().unwrap();
    assert_valid(&report);
}

#[test]
fn another_shape_is_refused() {
    assert!(changed(|_| ()));
    assert!(!changed(|report| *report = json!([])));
    assert!(!changed(|report| report["schema"] = json!("finwait-loadgen/0")));
    assert!(!changed(|report| report["scenario"] = json!("drain")));
    assert!(!changed(|report| report["verdict"]["exit_code"] = json!(3)));
    assert!(!changed(|report| report["host"]["port_range"] = json!([1])));
    assert!(!changed(|report| report["config"]["sources"] = json!(["localhost"])));
    assert!(!changed(|report| report["latency"]["shutdown"]["hdr"] = json!("")));
    assert!(!changed(|report| report["generator"]["cpu_ns"] = json!(-1)));
    // The tally is the server's matter.
    assert!(changed(|report| report["server"]["tally"]["news"] = json!("any")));
}

#[test]
fn every_field_is_required_and_has_its_type() {
    let report = serde_json::to_value(fullest()).unwrap();
    let mut paths = Vec::new();
    walk(&report, String::new(), &mut paths);
    assert!(paths.len() > 150, "{paths:?}");
    for path in paths {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let missing = changed(|report| {
            report.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        });
        assert!(!missing, "{path} may be missing");
        // Nothing in a report is an array in an array.
        let odd = changed(|report| *report.pointer_mut(&path).unwrap() = json!([["?"]]));
        assert!(!odd, "{path} may be anything");
        let number = changed(|report| {
            let value = report.pointer_mut(&path).unwrap();
            *value = value.as_number().map_or_else(|| json!(["?"]), |number| json!(number.to_string()));
        });
        assert!(!number || path.ends_with("contradictions"), "{path} may be a text");
    }
}

#[test]
fn no_other_field_is_allowed() {
    for path in [
        "",
        "/target",
        "/config",
        "/host",
        "/outcomes",
        "/latency",
        "/latency/shutdown",
        "/rate",
        "/generator",
        "/server",
        "/ledger",
        "/ledger/sums",
        "/ledger/moments/0",
        "/rtt",
        "/rtt/latency",
        "/exemplars/0",
        "/warnings/0",
        "/verdict",
    ] {
        let extra = changed(|report| report.pointer_mut(path).unwrap()["news"] = json!(1));
        assert!(!extra, "{path} may hold anything");
    }
}

#[test]
fn it_names_every_outcome_and_every_histogram() {
    let schema = schema();
    let names = |path: &str| -> Vec<String> {
        let names = schema.pointer(path).unwrap().as_array().unwrap();
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let outcomes = Outcome::ALL.map(Outcome::name);
    assert_eq!(names("/$defs/outcome/enum"), outcomes);
    assert_eq!(names("/$defs/outcomes/required"), outcomes);
    let latency = sample::no_latency();
    let histograms: [(&str, &Summary); 12] = latency.all();
    assert_eq!(names("/$defs/latency/required"), histograms.map(|(name, _)| name));
    assert_eq!(schema["properties"]["schema"]["const"], SCHEMA);
}

#[test]
fn every_field_is_explained() {
    let schema = schema();
    let defs = schema["$defs"].as_object().unwrap();
    for (owner, def) in defs.iter().map(|(name, def)| (name.as_str(), def)).chain([("report", &schema)]) {
        let Some(fields) = def.get("properties").and_then(Value::as_object) else { continue };
        for (name, field) in fields {
            let text = field["description"].as_str().unwrap_or_default();
            assert!(text.len() > 5 && text.ends_with('.'), "{owner}.{name}: {text:?}");
            let unit = if name.ends_with("_unix_ns") { "Nanoseconds since" } else { "Nanoseconds." };
            assert!(!name.ends_with("_ns") || text.contains(unit), "{owner}.{name}: {text:?}");
        }
    }
}

/// Where the fields of all objects are, but for those of the tally; of an array only the first.
fn walk(value: &Value, at: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) if at != "/server/tally" => {
            for (name, field) in fields {
                paths.push(format!("{at}/{name}"));
                walk(field, format!("{at}/{name}"), paths);
            }
        }
        Value::Array(items) => {
            if let Some(first) = items.first() {
                walk(first, format!("{at}/0"), paths);
            }
        }
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
