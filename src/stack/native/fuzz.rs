//! For the fuzzer: stacks, code, and the names of functions.

use std::cell::RefCell;
use std::sync::Arc;

use super::arch::{Arch, Native};
pub use super::cleanup::fuzz::cleanup;
pub use super::debug_info::fuzz::debug_info;
use super::fuzz_input::{Numbers, SP, forgive_framehop, place, stack};
use super::images::Images;
pub use super::images::fuzz::modules;
use super::pointer_args;
use super::unwind::walk;
use crate::procfs::thread::ThreadState;
use crate::stack::poll_frame::poll_returns_to;
use crate::stack::user_frame::{self, OwnCode};
use crate::stall::{Frame, Stack};
use crate::sys::native::signal::Registers;

/// A stack and registers of a thread of this program.
///
/// # Panics
///
/// The walk has no end, or one that cannot be.
pub fn stacks(data: &[u8]) {
    thread_local! {
        static IMAGES: RefCell<Images> = RefCell::new({
            let mut images = Images::default();
            images.refresh();
            images
        });
    }
    forgive_framehop();
    let mut numbers = Numbers(data);
    let code = stacks as *const () as u64 & !0xf_ffff;
    let sp = match numbers.u8() {
        0 => numbers.u64(),
        _ => SP,
    };
    let ip = place(numbers.u64(), code, sp);
    let fp = (numbers.u8() % 2 == 1).then(|| place(numbers.u64(), code, sp));
    let stack = stack(&mut numbers, code, sp, 64 << 10);
    IMAGES.with_borrow_mut(|images| {
        let walk = walk(images, Registers { fp, ..Registers::at(ip, sp) }, &stack);
        assert_eq!(walk.addresses.len(), walk.sps.len());
        for (index, address) in walk.addresses.iter().enumerate() {
            let code = images.describe(*address, index > 0);
            let _ = (code.lookup(), code.offset());
        }
    });
}

/// The first instructions of a function, what comes before a return address, stubs, and what is behind the
/// pointers of system calls.
///
/// # Panics
///
/// A call has no place.
pub fn code(data: &[u8]) {
    let mut numbers = Numbers(data);
    let address = numbers.u64();
    let code = numbers.0;
    let _ = (Native::frame_size(code), Native::frame(code), Native::ends_thread(code));
    let _ = Native::jumps_through_pointer(code);
    let _ = (Native::jump(address, code), Native::stub(address, code));
    let _ = Native::call_before(address, code);
    let _ = Native::call_before(address, &code[..code.len().min(Native::LONGEST_CALL)]);
    let _ = pointer_args::socket_address(code);
    let argument = code.as_ptr() as u64;
    let number = i64::from(numbers.u16() % 512);
    let state = ThreadState::Call { number, arguments: [argument; 6], stack: 0, code: 0 };
    let _ = pointer_args::of_call(&state);
}

/// Functions and files of a stack, in turn one a line.
///
/// # Panics
///
/// There is a site that is not on the stack.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<&str> = text.split('\n').take(128).collect();
    let own = OwnCode::new(vec!["skips".into()], vec!["owns".into()]);
    let frames = lines.chunks(2).map(|pair| {
        let file = pair.get(1).filter(|file| !file.is_empty()).map(|file| (*file).to_owned());
        let mut frame = Frame { function: Some(pair[0].to_owned()), file, ..Frame::default() };
        frame.own = own.has(&frame);
        let _ = (frame.name(), frame.is_closure(), frame.code_path().is_in("tokio"));
        let mut own = frame.clone();
        own.own = true;
        [Arc::new(frame), Arc::new(own)]
    });
    let frames: Vec<_> = frames.flatten().collect();
    for stack in [frames.clone(), frames.iter().skip(1).step_by(2).cloned().collect()] {
        if let Ok((inner, site)) = user_frame::site(&stack) {
            assert_eq!(site.file, stack[inner].file);
            let _ = user_frame::is_vague(&site);
        }
        let stack = Stack { frames: stack, ..Stack::default() };
        let _ = (poll_returns_to(&stack, false), poll_returns_to(&stack, true));
    }
}
