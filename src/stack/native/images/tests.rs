//! Modules of this process.

use super::*;

/// Those of this process.
pub(in crate::stack::native) fn images() -> Images {
    let mut images = Images::default();
    images.refresh();
    images
}

#[test]
fn functions_of_the_program_and_of_libc_have_their_module_and_begin() {
    let mut images = images();
    let program = std::env::current_exe().expect("a path");
    let program = program.file_name().expect("a name").to_string_lossy().into_owned();
    let of_libc = crate::sys::native::testing::function_of_libc();
    for (start, module) in [(image as *const () as u64, program), (of_libc, "libc.".into())] {
        images.load(start);
        let code = images.describe(start + 1, true);
        assert_eq!(images.function_start(start + 1), Some(start));
        assert!(code.image.expect("a module").name.starts_with(&module), "{module}");
    }
    assert!(!images.is_code(&raw const images as u64), "the stack is no code");
}

#[test]
fn calls_of_the_program_are_known_by_their_bytes() {
    #[inline(never)]
    fn called(images: &Images) -> Option<Target> {
        let mut found = None;
        backtrace::trace(|frame| {
            let is_caller = frame.symbol_address() as u64 == caller as *const () as u64;
            if is_caller {
                found = images.call_before(frame.ip() as u64);
            }
            !is_caller
        });
        found
    }
    #[inline(never)]
    fn caller(images: &Images) -> Option<Target> {
        std::hint::black_box(called(images))
    }
    let start = called as *const () as u64;
    assert_eq!(caller(&images()), Some(Target::At(start)));
}

#[test]
fn the_list_is_made_anew_when_libraries_come_or_go() {
    let mut images = images();
    let has =
        |images: &Images| images.loaded.iter().any(|loaded| &*loaded.image.name == "libanl.so.1");
    assert!(!has(&images));
    let before = images.loaded[0].image.listing;
    let Some(library) = crate::sys::native::testing::Library::load(c"libanl.so.1") else {
        return; // a system without this library
    };
    images.refresh();
    assert!(has(&images));
    let program = &images.loaded[0].image;
    assert_eq!(program.listing, before, "what stays is what it was");
    let new = images.loaded.iter().find(|loaded| &*loaded.image.name == "libanl.so.1");
    assert!(new.is_some_and(|new| new.image.listing > before));
    drop(library);
    images.refresh();
    assert!(!has(&images));
}
