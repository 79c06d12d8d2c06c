//! The official schema of SARIF 2.1.0, which the package `serde-sarif` has.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Fails if a report is not as the schema wants it.
#[track_caller]
pub(crate) fn check(report: &Value) {
    let schema = schema();
    let validator = jsonschema::draft7::options()
        .should_validate_formats(true)
        .build(&schema)
        .expect("a schema");
    let errors: Vec<_> = validator
        .iter_errors(report)
        .map(|error| format!("{}: {error}", error.instance_path))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{report:#}");
}

fn schema() -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    let output = cargo.output().expect("cargo");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|it| it["name"] == "serde-sarif").expect("a dependency");
    let manifest = package["manifest_path"].as_str().expect("a path");
    let schema = Path::new(manifest).with_file_name("src/schema.json");
    let schema: Value =
        serde_json::from_slice(&std::fs::read(schema).expect("a schema")).expect("JSON");
    let id = schema["$id"].as_str().expect("an id");
    assert!(id.ends_with("oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json"), "{id}");
    schema
}

#[test]
fn what_is_no_report_is_found() {
    let validator = jsonschema::draft7::new(&schema()).expect("a schema");
    let without_tool = serde_json::json!({ "version": "2.1.0", "runs": [{ "results": [] }] });
    assert!(!validator.is_valid(&without_tool));
}
