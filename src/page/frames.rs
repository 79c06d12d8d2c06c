//! The frames of all stacks of a document, each of them once, and their modules likewise.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::stall::{Frame, Stall};

/// Frames and modules by number.
#[derive(Debug, Default)]
pub(super) struct FrameTable {
    /// In the order of their numbers, which go up from 0.
    pub(super) frames: Vec<NumberedFrame>,
    /// In the order of their numbers, which go up from 0.
    pub(super) modules: Vec<Module>,
    /// Numbers by where the frame is in memory: stacks share their frames, so most comparisons need no
    /// look at them.
    places: HashMap<usize, usize>,
}

/// A frame, and the number of its module.
#[derive(Debug)]
pub(super) struct NumberedFrame {
    pub(super) frame: Arc<Frame>,
    pub(super) module: Option<usize>,
}

/// A program or library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) name: Option<Arc<str>>,
    pub(super) build_id: Option<Arc<str>>,
}

impl FrameTable {
    /// The table of the frames of these stalls, in the order in which they come. It can tell the numbers
    /// of their frames as long as the stalls are there.
    pub(super) fn of<'a>(stalls: impl Iterator<Item = &'a Stall>) -> Self {
        let mut table = Self::default();
        let mut numbers: HashMap<Arc<Frame>, usize> = HashMap::new();
        let stacks = stalls.flat_map(|stall| {
            let later = stall.later.iter().filter_map(|later| later.stack.as_ref());
            stall.stack.iter().chain(later)
        });
        for frame in stacks.flat_map(|stack| &stack.frames) {
            let Entry::Vacant(place) = table.places.entry(place(frame)) else { continue };
            let number = *numbers.entry(Arc::clone(frame)).or_insert(table.frames.len());
            place.insert(number);
            if number == table.frames.len() {
                let module = module_number(&mut table.modules, frame);
                table.frames.push(NumberedFrame { frame: Arc::clone(frame), module });
            }
        }
        table
    }

    /// The numbers of these frames.
    pub(super) fn numbers(&self, frames: &[Arc<Frame>]) -> impl Iterator<Item = usize> {
        frames.iter().filter_map(|frame| self.places.get(&place(frame)).copied())
    }
}

fn place(frame: &Arc<Frame>) -> usize {
    Arc::as_ptr(frame).addr()
}

fn module_number(modules: &mut Vec<Module>, frame: &Frame) -> Option<usize> {
    let (name, build_id) = (frame.module.clone(), frame.build_id.clone());
    if name.is_none() && build_id.is_none() {
        return None;
    }
    let module = Module { name, build_id };
    let known = modules.iter().position(|known| *known == module);
    Some(known.unwrap_or_else(|| {
        modules.push(module);
        modules.len() - 1
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stall::Stack;
    use crate::stall::tests::stall;

    fn frame(offset: u64, module: Option<&str>) -> Arc<Frame> {
        Arc::new(Frame { offset, module: module.map(Into::into), ..Frame::default() })
    }

    #[test]
    fn frames_and_modules_that_are_the_same_have_one_number() {
        let shared = frame(1, Some("app"));
        let stacks = [
            vec![Arc::clone(&shared), frame(2, Some("libc")), frame(3, None)],
            vec![frame(4, Some("app")), shared, frame(2, Some("libc"))],
        ];
        let stacks = stacks.map(|frames| Arc::new(Stack { frames, ..Stack::default() }));
        let of = |stack: Option<Arc<Stack>>| Stall { stack, ..stall(1) };
        let stalls = [of(Some(Arc::clone(&stacks[0]))), of(None), of(Some(Arc::clone(&stacks[1])))];
        let table = FrameTable::of(stalls.iter());
        let numbers =
            stacks.each_ref().map(|stack| table.numbers(&stack.frames).collect::<Vec<_>>());
        assert_eq!(numbers, [[0, 1, 2], [3, 0, 1]]);
        let modules: Vec<_> = table.frames.iter().map(|numbered| numbered.module).collect();
        assert_eq!(modules, [Some(0), Some(1), None, Some(0)]);
        let names: Vec<_> = table.modules.iter().map(|module| module.name.as_deref()).collect();
        assert_eq!(names, [Some("app"), Some("libc")]);
    }
}
