//! Chains of stacks as programs have them.

use super::*;

#[test]
fn replay() {
    let Ok(file) = std::env::var("REPLAY") else { return };
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        println!("== {}", value["shape"]);
        let stack = &value["stall"]["stack"];
        let Some(frames) = stack["frames"].as_array() else {
            println!("no stack");
            continue;
        };
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let frames = frames
            .iter()
            .map(|frame| {
                Arc::new(Frame {
                    function: text(&frame["function"]),
                    file: text(&frame["file"]),
                    line: frame["line"].as_u64().map(|line| line as u32),
                    module: frame["module"].as_str().map(Into::into),
                    inlined: frame["inlined"] == true,
                    own: frame["own"] == true,
                    ..Frame::default()
                })
            })
            .collect();
        let stack = Stack { frames, ..Stack::default() };
        match await_chain(
            &stack,
            value["stall"]["stack_missing"].is_null(),
            Some(Path::new("/tmp/wt/chain-scratch/src/../../chain/")),
        ) {
            None => println!("none"),
            Some(chain) => println!("{chain}short: {:?}", chain.short()),
        }
    }
}
