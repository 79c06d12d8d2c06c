//! What is found in this program, beside what the crate `backtrace` finds.

use std::path::PathBuf;
use std::sync::Arc;

use super::file::demangle;
use super::types::Steps;
use super::*;
use crate::stack::mode::Symbols;
use crate::stack::native::Names;
use crate::stack::raw::{CodeAddress, Image, RawStack, Way};
use crate::stack::user_frame::OwnCode;
use crate::sys::native::modules::{Module, modules};

/// This program, and where it was loaded.
fn program() -> (Image, Module) {
    let program = modules().1.remove(0);
    let path = PathBuf::from("/proc/self/exe");
    let build_id = ObjectFile::at(&path).expect("this program").build_id().map(Into::into);
    let image = Image {
        name: "test".into(),
        path,
        base: program.base,
        build_id,
        is_program: true,
        listing: 0,
    };
    (image, program)
}

fn all(image: &Image, addresses: &[u64]) -> Result<Vec<Vec<Location>>, NoLines> {
    let mut all = vec![Vec::new(); addresses.len()];
    let mut limits = Limits { lines: true, memory: 0, goes_on: &mut || true };
    locations(image, addresses, &mut limits, &mut |index, locations| all[index] = locations)?;
    Ok(all)
}

/// Where the code of this program begins and ends, as its file counts.
fn code() -> (u64, u64) {
    use object::{Object, ObjectSection};

    let program = std::fs::read("/proc/self/exe").expect("this program");
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&*program);
    let file = file.expect("as it was linked");
    let code = file.section_by_name(".text").expect("code");
    (code.address(), code.address() + code.size())
}

/// Addresses all over the code of the program, the same in each run of one build.
fn addresses(count: u64) -> Vec<u64> {
    // Some linkers put what is only read into the segment of the code.
    let (begin, end) = code();
    let step = (end - begin) / count;
    (0..count).map(|number| begin + number * step + number % 7).collect()
}

fn stack(frames: Vec<CodeAddress>) -> RawStack {
    RawStack { thread: 1, way: Way::Quiet, partial: true, given: None, frames }
}

#[test]
fn the_same_is_found_as_by_backtrace() {
    let (image, _) = program();
    let addresses = addresses(1_000);
    let file = ObjectFile::open(&image).expect("this program");
    let mut checked = 0;
    for some in addresses.chunks(50) {
        for (address, mut own) in some.iter().zip(all(&image, some).expect("debug information")) {
            own.iter_mut().for_each(|own| own.function = own.function.take().map(as_symbol));
            let mut theirs = Vec::new();
            // It takes every address for a return address, and looks at the byte before.
            let at = (image.base + address + 1) as *mut std::ffi::c_void;
            backtrace::resolve(at, |symbol| {
                theirs.push(Location {
                    function: symbol.name().map(|name| as_symbol(format!("{name:#}"))),
                    file: symbol.filename().map(|file| file.to_string_lossy().into_owned()),
                    line: symbol.lineno(),
                });
            });
            // Between two functions there is none, and it takes the one before.
            if own.is_empty() && theirs.iter().all(|location| location.line.is_none()) {
                continue;
            }
            // Of several names either is right.
            if let ([own], [theirs]) = (&own[..], &mut theirs[..])
                && (&own.file, &theirs.file) == (&None, &None)
                && let names = file.names_at(*address)
                && names
                    .iter()
                    .any(|name| theirs.function.as_ref() == Some(&as_symbol(name.clone())))
                && names.iter().any(|name| own.function.as_ref() == Some(&as_symbol(name.clone())))
            {
                theirs.function.clone_from(&own.function);
            }
            checked += usize::from(is_same(&own, &theirs));
            assert!(is_same(&own, &theirs), "{address:#x}: {own:?}\nbacktrace: {theirs:?}");
        }
    }
    assert!(checked > 900);
}

/// As the symbol has it, which tells neither a closure from an async block nor a box from another pointer. That of a
/// shim (`{{closure}}{{by.ref.shim}}`) is the name of what it leads to, as in debug information.
fn as_symbol(name: String) -> String {
    let name = name.replacen("Pin<alloc::boxed::Box<_>>", "Pin<P>", 1);
    let shim = name.strip_suffix(".shim}}").and_then(|name| name.rsplit_once("{{"));
    let name = shim.map(|(name, _)| name.to_owned()).unwrap_or(name);
    match name.rsplit_once("::{") {
        Some((path, last)) if last.contains('#') => format!("{path}::{{{{closure}}}}"),
        _ => name,
    }
}

/// Where `backtrace` has a file without a line we have the line of what is next to it, or neither.
fn is_same(own: &[Location], theirs: &[Location]) -> bool {
    let is_same = |(own, theirs): (&Location, &Location)| {
        own.function == theirs.function
            && (theirs.line.is_none() || (&own.file, own.line) == (&theirs.file, theirs.line))
    };
    own.len() == theirs.len() && own.iter().zip(theirs).all(is_same)
}

#[test]
fn functions_have_their_names_without_hashes() {
    let (image, _) = program();
    let start = demangle as *const () as u64;
    let image = Some(Arc::new(image));
    // A return address at the begin of a function belongs to the function before.
    let code = |address, is_return| CodeAddress {
        address,
        is_return,
        image: image.clone(),
        is_guessed: false,
    };
    let raw = stack(vec![code(start, false), code(start + 1, true)]);
    let mut symbols = Names::new(Symbols::Auto, OwnCode::default(), Arc::default());
    let mut steps = Vec::new();
    let (stack, why) = symbols.symbolize(&raw, |frames| {
        steps.push(frames.len());
        false
    });
    assert!(stack.partial && why.is_none());
    assert_eq!(steps.last(), Some(&stack.frames.len()), "all at last");
    let outer: Vec<_> = stack.frames.iter().filter(|frame| !frame.inlined).collect();
    assert_eq!(outer.len(), 2);
    for frame in &outer {
        let function = "tower_stall::stack::native::debug_info::file::demangle";
        assert_eq!(frame.function.as_deref(), Some(function));
        assert!(frame.file.as_deref().is_some_and(|file| file.ends_with("debug_info/file.rs")));
        assert!(frame.line.is_some());
    }
    let (again, _) = symbols.symbolize(&raw, |_| panic!("it is remembered"));
    assert_eq!(again, stack);
}

#[test]
fn without_lines_there_are_the_functions_of_the_symbol_table() {
    let (image, _) = program();
    let addresses = addresses(50);
    let mut functions = vec![None; addresses.len()];
    let mut limits = Limits { lines: false, memory: 0, goes_on: &mut || false };
    let mut found = |index: usize, mut locations: Vec<Location>| {
        assert!(locations.iter().all(|location| location.file.is_none() && locations.len() == 1));
        functions[index] = locations.pop().and_then(|location| location.function);
    };
    locations(&image, &addresses, &mut limits, &mut found).expect("the program's own file");
    let with_lines = all(&image, &addresses).expect("debug information");
    let file = ObjectFile::open(&image).expect("this program");
    for ((address, function), mut with_lines) in addresses.iter().zip(&functions).zip(with_lines) {
        let outermost = with_lines.pop().and_then(|location| location.function).map(as_symbol);
        // Of several names either is right.
        let names = file.names_at(*address);
        let function = function.clone().map(as_symbol);
        let names: Vec<_> = names.into_iter().map(as_symbol).collect();
        let is_one = |name: &Option<String>| name.as_ref().is_some_and(|name| names.contains(name));
        let is_same = function == outermost || is_one(&function) && is_one(&outermost);
        assert!(is_same, "{function:?} is {outermost:?}");
    }
    assert!(functions.iter().flatten().count() > 40);
}

#[test]
fn debug_information_tells_closures_apart() {
    for (symbol, short, name) in [
        ("app::load::{{closure}}", "{async_fn#0}", "app::load::{async_fn#0}"),
        (
            "app::load::{{closure}}::{{closure}}",
            "{closure#1}",
            "app::load::{{closure}}::{closure#1}",
        ),
        (
            "app::load::{{closure}}",
            "{async_block#2}<u8, app::{closure#0}>",
            "app::load::{async_block#2}",
        ),
        ("app::load::{{closure}}", "load", "app::load::{{closure}}"),
        ("app::load", "{closure#1}", "app::load"),
        ("app::load::{closure#0}", "{async_fn#0}", "app::load::{async_fn#0}"),
        (
            "<core::pin::Pin<P> as core::future::future::Future>::poll",
            "poll<alloc::boxed::Box<(dyn core::future::future::Future<Output=()>), alloc::alloc::Global>>",
            "<core::pin::Pin<alloc::boxed::Box<_>> as core::future::future::Future>::poll",
        ),
        (
            "<core::pin::Pin<P> as core::future::future::Future>::poll",
            "poll<&mut app::Job>",
            "<core::pin::Pin<P> as core::future::future::Future>::poll",
        ),
    ] {
        assert_eq!(functions::told_apart(symbol.into(), Some(short)), name);
    }
    assert_eq!(functions::told_apart("app::a::{{closure}}".into(), None), "app::a::{{closure}}");
}

#[test]
fn a_number_of_the_linker_is_no_part_of_a_name() {
    let name = "_ZN3app4load17h0123456789abcdefE";
    for (symbol, shown) in [
        (name.to_owned(), "app::load"),
        (format!("{name}.5904"), "app::load"),
        ("memcpy.5904".into(), "memcpy.5904"),
    ] {
        assert_eq!(demangle(&symbol), shown);
    }
}

#[test]
fn a_lookup_that_is_to_end_ends() {
    let (image, _) = program();
    let mut asked = 0;
    let mut goes_on = || {
        asked += 1;
        asked < 3
    };
    let mut limits = Limits { lines: true, memory: 0, goes_on: &mut goes_on };
    let result = locations(&image, &addresses(50), &mut limits, &mut |_, _| {});
    assert_eq!((result, asked), (Err(NoLines::Ended), 3));
}

#[test]
fn another_file_in_the_place_of_the_module_is_not_read() {
    let (image, _) = program();
    let other = Image { build_id: Some("00".into()), ..image };
    assert_eq!(all(&other, &addresses(1)), Err(NoLines::NoFile));
}

/// Memory of this process's own, in bytes.
fn own_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Runs in a process of its own, in which nothing else takes or frees memory.
#[test]
fn two_thousand_addresses_take_little_memory_and_leave_less() {
    const CHILD: &str = "STALL_TEST_CHILD";
    let path = module_path!();
    let name = path.split_once("::").expect("in the crate").1.to_owned()
        + "::two_thousand_addresses_take_little_memory_and_leave_less";
    if std::env::var_os(CHILD).is_none() {
        let program = std::env::current_exe().expect("this program");
        let mut child = std::process::Command::new(program);
        child.args(["--exact", &name, "--nocapture", "--test-threads=1"]).env(CHILD, &name);
        let output = child.output().expect("it runs again");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}\n{output:?}");
        return;
    }
    let (image, program) = program();
    let addresses = addresses(2_000);
    let (image, mut names) =
        (Arc::new(image), Names::new(Symbols::Auto, OwnCode::default(), Arc::default()));
    let before = own_memory();
    let (ends, has_ended) = std::sync::mpsc::channel::<()>();
    let peak = std::thread::spawn(move || {
        let mut peak = 0;
        while has_ended
            .recv_timeout(std::time::Duration::from_millis(1))
            .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            peak = own_memory().max(peak);
        }
        peak
    });
    let mut lines = 0;
    // As deep as stacks are.
    for some in addresses.chunks(40) {
        let code = |address: &u64| CodeAddress {
            address: program.base + address,
            is_return: false,
            image: Some(Arc::clone(&image)),
            is_guessed: false,
        };
        let (stack, why) = names.symbolize(&stack(some.iter().map(code).collect()), |_| true);
        assert_eq!(why, None);
        lines += stack.frames.iter().filter(|frame| frame.line.is_some()).count();
    }
    drop(ends);
    let peak = peak.join().expect("no panic");
    let after = own_memory();
    println!(
        "{lines} lines, {} KiB at the peak, {} KiB after",
        (peak - before) >> 10,
        after.saturating_sub(before) >> 10
    );
    assert!(lines > 1_800, "{lines} have a line");
    assert!(peak - before < 16 << 20, "{} bytes at the peak", peak - before);
    assert!(after.saturating_sub(before) < 4 << 20, "{} bytes are kept", after - before);
}

/// What a copy of this program tells in which the section of debug information has another name.
fn without_debug_info(image: &Image) -> Program {
    let mut bytes = std::fs::read(&image.path).expect("this program");
    let name = b"\0.debug_info\0";
    // The names of sections stand near the end.
    let at = bytes.windows(name.len()).rposition(|bytes| bytes == name).expect("the section");
    bytes[at + 1] = b'_';
    let path = std::env::temp_dir().join(format!("tower-stall-test-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("a copy");
    let program = Program::read(&Image { path: path.clone(), ..image.clone() });
    std::fs::remove_file(path).expect("it is there");
    program
}

#[test]
fn what_a_build_has_is_known_before_the_first_stack() {
    let (image, _) = program();
    let whole = Program::read(&image);
    assert_eq!((whole.has_symbols, whole.no_lines), (true, None));
    let without = without_debug_info(&image);
    assert_eq!(without, Program { no_lines: Some(NoLines::NoDebugInfo), ..whole });
    // As distributions build.
    let path = PathBuf::from("/bin/sh");
    let build_id = ObjectFile::at(&path).expect("a shell").build_id().map(Into::into);
    let stripped = Program::read(&Image { path, build_id, ..image });
    assert_eq!((stripped.name, stripped.has_symbols), (None, false));
}

#[test]
fn what_goes_on_for_ever_is_ended_and_what_is_long_is_cut_off() {
    let mut asked = 0;
    let mut goes_on = || {
        asked += 1;
        asked < 3
    };
    let mut steps = Steps::new(10, &mut goes_on);
    let taken = (0..100).take_while(|_| steps.take().is_ok()).count();
    assert_eq!((taken, steps.take()), (29, Err(NoLines::Ended)), "also afterwards");
    assert_eq!(asked, 3, "once in ten steps");

    let long = demangle(&"ä".repeat(10_000));
    assert_eq!((long.len(), long.chars().last()), (16 << 10, Some('ä')));
}
