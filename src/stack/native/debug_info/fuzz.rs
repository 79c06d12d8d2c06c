//! For the fuzzer: a file of a program.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::program::crate_with_main;
use super::*;

/// How often a lookup asks whether to go on before it is to end.
const MOST_STEPS: usize = 100_000;

/// The file of a module.
///
/// # Panics
///
/// There is no folder for temporary files, or more is found than there are addresses.
pub fn debug_info(data: &[u8]) {
    let _ = crate_with_main(data);
    let path = std::env::temp_dir().join(format!("tower-stall-fuzz-{}.elf", std::process::id()));
    File::create(&path).and_then(|mut file| file.write_all(data)).expect("a file");
    look_up(&path);
    drop(std::fs::remove_file(&path));
}

fn look_up(path: &Path) {
    let Ok(file) = ObjectFile::at(path) else { return };
    let image = Image {
        name: "hostile".into(),
        path: path.to_owned(),
        base: 0,
        build_id: file.build_id().map(Into::into),
        is_program: true,
        listing: 0,
    };
    // Where a small program has its code.
    let addresses: Vec<u64> =
        [0, 1, u64::MAX].into_iter().chain((0..64).map(|at| 0x40_0100 + at * 4)).collect();
    for lines in [false, true] {
        let mut steps = 0;
        let mut goes_on = || {
            steps += 1;
            steps < MOST_STEPS
        };
        let mut limits = Limits { lines, memory: 1 << 20, goes_on: &mut goes_on };
        let mut count = 0;
        let found = locations(&image, &addresses, &mut limits, &mut |index, _| {
            assert!(index < addresses.len());
            count += 1;
        });
        let _ = found;
        assert!(count <= addresses.len());
    }
    let _ = Program::read(&image);
    let _ = function_range(&image, addresses[addresses.len() / 2]);
    let _ = functions_at(&image, &addresses);
}
