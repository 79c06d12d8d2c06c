//! The program with 250 MB of debug information of other code, as large services have.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::needs::is_installed;

/// Functions of one file, of which each has a type of its own: 0.4 MB of debug information.
const FUNCTIONS: u32 = 1500;
/// So many copies of it are one object, and
const COPIES: usize = 40;
/// so many objects are linked.
const OBJECTS: usize = 17;

/// The objects to link; `None` where there is no C compiler or no linker by the usual name.
pub(crate) fn objects() -> Option<Vec<PathBuf>> {
    if !is_installed("cc") || !is_installed("ld") {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("large");
    fs::create_dir_all(&folder).expect("a folder");
    let (source, one, many) = (folder.join("a.c"), folder.join("a.o"), folder.join("many.o"));
    fs::write(&source, code()).expect("a file");
    run(Command::new("cc")
        .args(["-g", "-O0", "-gz=none", "-fPIC", "-c", "-o"])
        .args([&one, &source]));
    run(Command::new("ld").args(["-r", "-o"]).arg(&many).args(vec![&one; COPIES]));
    let copies = (0..OBJECTS).map(|number| {
        let copy = folder.join(format!("{number}.o"));
        fs::copy(&many, &copy).expect("disk space");
        copy
    });
    Some(copies.collect())
}

fn code() -> String {
    let mut code = String::new();
    for number in 0..FUNCTIONS {
        let fields: String = (0..8).map(|field| format!("long field_{number}_{field}; ")).collect();
        writeln!(
            code,
            "struct S{number} {{ {fields}}};
            static __attribute__((used, noinline)) long f{number}(struct S{number} *s, long x) {{
                long a = x * {number};
                for (long n = 0; n < x; n++) {{ long b = s->field_{number}_0 + n; a += b; }}
                return a;
            }}"
        )
        .expect("a string takes it");
    }
    code
}

fn run(command: &mut Command) {
    let status = command.status().expect("it runs");
    assert!(status.success(), "{command:?}");
}
