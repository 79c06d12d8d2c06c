//! `/stalls.json` has the shape that `docs/stalls.schema.json` says, and no field more.

mod support;

use std::process::Command;
use std::time::Duration;

use jsonschema::Validator;
use serde_json::{Value, json};
use support::{LIMIT, Scene, wait_until};

/// The schema of the docs, with each of its objects closed: a field that is not documented fails.
fn validator() -> Validator {
    let text = include_str!("../../../docs/stalls.schema.json");
    let mut schema: Value = serde_json::from_str(text).expect("JSON");
    close(&mut schema);
    jsonschema::validator_for(&schema).expect("a schema")
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            if object.contains_key("properties") && object.contains_key("required") {
                object.insert("additionalProperties".into(), false.into());
            }
        }
        Value::Array(array) => array.iter_mut().for_each(close),
        _ => {}
    }
}

#[track_caller]
fn is_valid(validator: &Validator, document: &Value) {
    let errors: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn the_document_has_the_shape_of_its_schema() {
    let validator = validator();
    let scene = Scene::new(2);
    is_valid(&validator, &scene.document());
    // All kinds of records: in progress, over, with a stack and without, of two places, and of the environment.
    let moved = scene.block_twice("moves");
    scene.end(moved);
    let over = scene.block("import");
    scene.end(over);
    scene.fill(3);
    let _open = scene.block("export");
    // A short poll that stands still with the process is the environment's.
    let _busy = scene.busy("index");
    wait_until(LIMIT, || {
        stop_for(Duration::from_millis(600));
        let document = scene.document();
        is_valid(&validator, &document);
        document["environment"] != json!([])
    });
    let document = scene.document();
    is_valid(&validator, &document);
    for list in ["runtimes", "sites", "environment", "modules", "frames", "in_progress", "recent"] {
        assert_ne!(document[list], json!([]), "{list}");
    }
    let recent = document["recent"].as_array().expect("a list");
    assert!(recent.iter().any(|stall| stall["stack"].is_object()));
    assert!(recent.iter().any(|stall| stall["stack"].is_null()));
    // Each number leads somewhere.
    let count = |list: &str| document[list].as_array().expect("a list").len() as u64;
    let later = recent.iter().flat_map(|stall| stall["later"].as_array().expect("a list"));
    let later: Vec<_> = later.collect();
    assert!(later.iter().any(|later| later["stack"].is_object()));
    for shown in recent.iter().chain(later) {
        let numbers = shown["stack"]["frames"].as_array().into_iter().flatten();
        assert!(numbers.into_iter().all(|number| number.as_u64() < Some(count("frames"))));
    }
    let frames = document["frames"].as_array().expect("a list");
    let modules = frames.iter().filter_map(|frame| frame["module"].as_u64());
    assert!(modules.into_iter().all(|module| module < count("modules")));
}

#[test]
fn the_schema_refuses_what_it_should() {
    let validator = validator();
    let document = Scene::new(1).document();
    is_valid(&validator, &document);
    for (pointer, wrong) in [
        ("/version", json!(2)),
        ("/since", json!("yesterday")),
        ("/verdict/state", json!("fine")),
        ("/totals/stalls", json!(-1)),
        ("/runtimes/0/lag/largest_seconds", json!(["late"])),
        ("/frames", json!([{ "function": "app::load" }])),
        ("/modules", json!(["app"])),
    ] {
        let mut broken = document.clone();
        *broken.pointer_mut(pointer).expect("it is there") = wrong;
        assert!(!validator.is_valid(&broken), "{pointer}");
    }
    let mut more = document.clone();
    more["undocumented"] = json!(1);
    assert!(!validator.is_valid(&more));
}

#[test]
fn without_its_feature_there_is_no_flame_graph_and_no_profile() {
    let scene = Scene::new(1);
    let page = scene.fetch("/stalls").1;
    for (path, feature) in [
        ("/flamegraph.svg", "`flamegraph`"),
        ("/stalls.folded", "`profile`"),
        ("/debug/pprof/stalls", "`profile`"),
        ("/stalls.firefox.json", "`profile`"),
    ] {
        let (status, text) = scene.fetch(path);
        assert_eq!(status, 404);
        assert!(text.contains(feature), "it names the feature: {text}");
        assert!(!page.contains(path), "and nothing leads there");
    }
}

/// Stops this process, as a debugger or a frozen container does.
fn stop_for(time: Duration) {
    let script = format!("kill -STOP $PPID; sleep {}; kill -CONT $PPID", time.as_secs_f64());
    assert!(Command::new("sh").args(["-c", &script]).status().expect("a shell").success());
}
