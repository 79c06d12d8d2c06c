//! The modules of this process: their unwind information and their code.
//!
//! Unwind information of the program itself is borrowed, since it stays mapped. A library may be
//! unloaded at any moment (`dlclose`), so what it holds is copied by a read that cannot fault:
//! unwind information once, when the module is first seen on a stack, and code a few bytes at a
//! time.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use framehop::Unwinder;

use super::arch::{Arch, Frame, Native, Target, UnwindModule, UnwindSections};
use super::bytes::{Bytes, read, section, word};
use super::debug_info;
use super::headers::{ENTRY, EhFrameHdr, build_id, function_length};
use crate::stack::raw::{CodeAddress, Image};
use crate::sys::native::memory::copy;
use crate::sys::native::modules::{self, Generation, Module};

/// Notes larger than this are taken for a mistake.
const LONGEST_NOTE: u64 = 64 << 10;

/// How many addresses in functions without unwind information are remembered.
const MOST_BARE: usize = 256;
/// Longer ones are not searched for jumps.
const LONGEST_FUNCTION: u64 = 4 << 10;

/// All modules.
#[derive(Default)]
pub(super) struct Images {
    generation: Option<Generation>,
    loaded: Vec<Loaded>,
    /// The ranges of code, sorted, each with the index of its module in `loaded`.
    code: Vec<(Range<u64>, usize)>,
    /// Functions without unwind information, by an address in them.
    bare: HashMap<u64, Option<Range<u64>>>,
    /// Where calls to an address may lead.
    pub(super) reach: HashMap<u64, Reach>,
    pub(super) unwinder: <Native as Arch>::Unwinder,
}

struct Loaded {
    module: Module,
    image: Arc<Image>,
    sections: Sections,
    /// All of the unwind information and where it begins, read when a frame is to be cleaned up.
    #[cfg(target_arch = "x86_64")]
    entries: std::cell::OnceCell<Option<(u64, Bytes)>>,
}

/// Where a call may lead.
#[derive(Clone, Default)]
pub(super) struct Reach {
    /// The begins of functions: the one that is called, and what those jump to.
    pub(super) functions: Vec<u64>,
    /// Whether one of them jumps through a pointer, to what is not known.
    pub(super) anywhere: bool,
}

/// A function as the unwind information has it.
pub(super) struct Known {
    pub(super) start: u64,
    /// `None` where it cannot be read.
    pub(super) length: Option<u64>,
}

/// The unwind information of a module.
enum Sections {
    /// Not read yet.
    Unread,
    Missing,
    Known {
        address: u64,
        eh_frame_hdr: Bytes,
    },
}

impl Images {
    /// Lists the modules again if libraries were loaded or unloaded. Returns whether they were,
    /// compared with an earlier list.
    pub(super) fn refresh(&mut self) -> bool {
        if self.generation.is_some() && self.generation == modules::generation() {
            return false;
        }
        let (generation, modules) = modules::modules();
        let tells = self.generation.is_some();
        self.generation = generation;
        let listing = generation.map_or(0, Generation::listing);
        let before = std::mem::take(&mut self.loaded);
        self.unwinder = Default::default();
        self.code.clear();
        self.bare.clear();
        self.reach.clear();
        for (index, module) in modules.into_iter().enumerate() {
            let image = match before.iter().find(|known| known.module == module) {
                Some(known) => Arc::clone(&known.image),
                None => Arc::new(image(&module, listing)),
            };
            self.code.extend(module.code().map(|range| (range, index)));
            self.loaded.push(Loaded {
                module,
                image,
                sections: Sections::Unread,
                #[cfg(target_arch = "x86_64")]
                entries: Default::default(),
            });
        }
        self.code.sort_unstable_by_key(|(range, _)| range.start);
        tells
    }

    /// The code at `address`, with its module.
    pub(super) fn describe(&self, address: u64, is_return: bool) -> CodeAddress {
        let image = self.find(address - u64::from(is_return));
        let image = image.map(|index| Arc::clone(&self.loaded[index].image));
        CodeAddress { address, is_return, image, is_guessed: false }
    }

    /// Whether `address` lies in code of a known module.
    pub(super) fn is_code(&self, address: u64) -> bool {
        self.find(address).is_some()
    }

    /// Reads the unwind information for the code at `address`, unless that was done before.
    pub(super) fn load(&mut self, address: u64) {
        let Some(index) = self.find(address) else { return };
        let loaded = &mut self.loaded[index];
        if matches!(loaded.sections, Sections::Unread) {
            loaded.sections = match read_sections(&loaded.module) {
                None => Sections::Missing,
                Some((address, eh_frame_hdr, module)) => {
                    self.unwinder.add_module(module);
                    Sections::Known { address, eh_frame_hdr }
                }
            };
        }
    }

    /// Where the function that contains `address` begins, if its module was [loaded](Self::load).
    pub(super) fn function_start(&self, address: u64) -> Option<u64> {
        let Loaded { module, sections, .. } = &self.loaded[self.find(address)?];
        match sections {
            Sections::Known { address: at, eh_frame_hdr } => {
                EhFrameHdr::parse(*at, module.base, eh_frame_hdr)?.function_start(address)
            }
            Sections::Unread | Sections::Missing => None,
        }
    }

    /// The code of the program itself from `address` on, if it lies there.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn program_code(&self, address: u64) -> Option<&'static [u8]> {
        let Loaded { module, .. } = &self.loaded[self.find(address)?];
        let end = module.code().find(|range| range.contains(&address))?.end;
        module.borrow(&(address..end))
    }

    /// The entry of the function at `address` in the unwind information of its module, which was
    /// [loaded](Self::load): its address, and where all of that information begins, and that.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn unwind_entry(&self, address: u64) -> Option<(u64, u64, &[u8])> {
        let Loaded { module, sections, entries, .. } = &self.loaded[self.find(address)?];
        let Sections::Known { address: at, eh_frame_hdr } = sections else { return None };
        let header = EhFrameHdr::parse(*at, module.base, eh_frame_hdr)?;
        let (_, entry) = header.function(address)?;
        let entries = entries.get_or_init(|| {
            let start = header.eh_frame()?;
            let mut segments = module.segments.iter();
            let end = segments.find(|segment| segment.range.contains(&start))?.range.end;
            Some((start, section(module, &(start..end))?))
        });
        entries.as_ref().map(|(start, bytes)| (entry, *start, &**bytes))
    }

    /// Where the function begins whose unwind information ends at the system call before `address`: glibc's
    /// `clone3` has none from its call on, where the child begins.
    pub(super) fn begin_of_system_call(&self, address: u64) -> Option<u64> {
        let call = address.checked_sub(Native::SYSTEM_CALL.len() as u64)?;
        let has_ended = !self.has_unwind_information(call);
        if !self.is_system_call(call) || !has_ended || !self.has_unwind_information(call - 1) {
            return None;
        }
        self.function_start(call - 1)
    }

    /// Whether the instruction at `address` calls the kernel.
    pub(super) fn is_system_call(&self, address: u64) -> bool {
        let mut code = vec![0; Native::SYSTEM_CALL.len()];
        copy(address, &mut code) == code.len() && code == Native::SYSTEM_CALL
    }

    /// Whether there is unwind information for the code at `address`, whose module was
    /// [loaded](Self::load). Where that cannot be told, there is.
    pub(super) fn has_unwind_information(&self, address: u64) -> bool {
        match self.function(address) {
            None => false,
            Some(Known { start, length: Some(length) }) => address - start < length,
            Some(Known { length: None, .. }) => true,
        }
    }

    /// The function by the unwind information that begins before `address`, if there is any.
    pub(super) fn function(&self, address: u64) -> Option<Known> {
        let Loaded { module, sections, .. } = &self.loaded[self.find(address)?];
        let Sections::Known { address: at, eh_frame_hdr } = sections else { return None };
        let unknown = Known { start: address, length: None };
        let Some(header) = EhFrameHdr::parse(*at, module.base, eh_frame_hdr) else {
            return Some(unknown);
        };
        let (start, entry) = header.function(address)?;
        let range = entry..entry.saturating_add(ENTRY as u64);
        let mut bytes = [0; ENTRY];
        match module.borrow(&range).and_then(|bytes| bytes.first_chunk()) {
            Some(borrowed) => bytes = *borrowed,
            None if copy(entry, &mut bytes) < ENTRY => return Some(unknown),
            None => {}
        }
        Some(Known { start, length: function_length(entry, &bytes, start) })
    }

    /// Whether a call that goes to `target` leads to the function that contains `address`, for certain: it
    /// begins there, or the one that does jumps to it.
    pub(super) fn leads_to(&mut self, target: u64, address: u64) -> bool {
        let start = self.begin(address).or_else(|| self.begin_of_system_call(address));
        start.is_some_and(|start| start == target || self.jumps(target, start))
    }

    /// Where the function that contains `address` begins, by its unwind information or else by the symbols of its
    /// file. Its module was [loaded](Self::load).
    pub(super) fn begin(&mut self, address: u64) -> Option<u64> {
        match self.has_unwind_information(address) {
            true => self.function_start(address),
            false => self.range(address).map(|range| range.start),
        }
    }

    /// Whether what returns to `address` ends its thread.
    pub(super) fn ends_thread(&self, address: u64) -> bool {
        let mut code = [0; Native::LONGEST_END];
        let length = copy(address, &mut code);
        Native::ends_thread(&code[..length])
    }

    /// Whether the function without unwind information at `from` has a jump to `to`, as one has whose last
    /// act is a call.
    fn jumps(&mut self, from: u64, to: u64) -> bool {
        if self.has_unwind_information(from) {
            return false;
        }
        let Some(code) = self.range(from).and_then(|range| read(&range, LONGEST_FUNCTION)) else {
            return false;
        };
        (from..).zip(0..code.len()).any(|(at, index)| Native::jump(at, &code[index..]) == Some(to))
    }

    /// The addresses of a function without unwind information, as the symbols of its file tell. Those are
    /// read for that, once for each address.
    pub(super) fn range(&mut self, address: u64) -> Option<Range<u64>> {
        let of_another = || self.bare.values().flatten().find(|range| range.contains(&address));
        if let Some(known) = self.bare.get(&address) {
            return known.clone();
        } else if let Some(known) = of_another() {
            return Some(known.clone());
        }
        let image = &self.loaded[self.find(address)?].image;
        let range = debug_info::function_range(image, address.wrapping_sub(image.base));
        let loaded = |range: Range<u64>| {
            range.start.wrapping_add(image.base)..range.end.wrapping_add(image.base)
        };
        let range = range.map(loaded);
        if self.bare.len() >= MOST_BARE {
            self.bare.clear();
        }
        self.bare.insert(address, range.clone());
        range
    }

    /// The frame that the function without unwind information has at `address`, if the instructions before show it.
    pub(super) fn frame(&mut self, address: u64) -> Option<Frame> {
        let start = self.range(address)?.start;
        let mut code = [0; Native::LONGEST_PROLOGUE];
        let length = copy(start, &mut code).min(usize::try_from(address - start).ok()?);
        Native::frame(&code[..length])
    }

    /// The distance between stack pointer and frame pointer in the body of the function that begins
    /// at `start`, if its first instructions show it.
    pub(super) fn frame_size(&self, start: u64) -> Option<u64> {
        let mut code = [0; Native::LONGEST_PROLOGUE];
        let length = copy(start, &mut code);
        Native::frame_size(&code[..length])
    }

    /// Whether `address` lies in a stub that jumps into another module.
    pub(super) fn is_in_stub(&self, address: u64) -> bool {
        let length = Native::LONGEST_STUB - Native::CODE_ALIGN;
        (0..length as u64).step_by(Native::CODE_ALIGN).any(|back| {
            let Some(begin) = address.checked_sub(back).filter(|at| self.is_code(*at)) else {
                return false;
            };
            let mut code = [0; Native::LONGEST_STUB];
            let length = copy(begin, &mut code);
            Native::stub(begin, &code[..length]).is_some()
        })
    }

    /// The call before `address`; `None` if `address` is no return address.
    pub(super) fn call_before(&self, address: u64) -> Option<Target> {
        let begin = address.checked_sub(Native::LONGEST_CALL as u64)?;
        if !self.is_code(begin) || !self.is_code(address - 1) {
            return None;
        }
        let mut code = [0; Native::LONGEST_CALL];
        if copy(begin, &mut code) < code.len() {
            return None;
        }
        Some(resolve(Native::call_before(address, &code)?))
    }

    fn find(&self, address: u64) -> Option<usize> {
        let after = self.code.partition_point(|(range, _)| range.start <= address);
        let (range, index) = self.code.get(after.checked_sub(1)?)?;
        range.contains(&address).then_some(*index)
    }
}

/// Follows a call into another module through its stub and the word that holds its target.
pub(super) fn resolve(target: Target) -> Target {
    let at = match target {
        Target::At(at) => Some(at),
        Target::In(place) => word(place),
        Target::Somewhere => None,
    };
    let Some(at) = at else { return Target::Somewhere };
    let mut code = [0; Native::LONGEST_STUB];
    let length = copy(at, &mut code);
    match Native::stub(at, &code[..length]) {
        None => Target::At(at),
        Some(place) => word(place).map_or(Target::Somewhere, Target::At),
    }
}

/// The program itself.
pub(super) fn program() -> Option<Image> {
    let (generation, modules) = modules::modules();
    let program = modules.iter().find(|module| module.is_program)?;
    Some(image(program, generation.map_or(0, Generation::listing)))
}

fn image(module: &Module, listing: u64) -> Image {
    let notes = module.notes.iter().filter_map(|range| read(range, LONGEST_NOTE));
    let build_id = notes.filter_map(|notes| build_id(&notes)).next().map(Into::into);
    // This one is the program's file even where another one has taken its place.
    let program = || PathBuf::from("/proc/self/exe");
    let path = if module.is_program { program() } else { module.name.clone().into() };
    let real = if module.is_program { path.read_link().unwrap_or_default() } else { path.clone() };
    let name = real.file_name().unwrap_or_default().to_string_lossy().into();
    Image { name, path, base: module.base, build_id, is_program: module.is_program, listing }
}

/// The address and the bytes of the header, and the module as the unwinder wants it.
fn read_sections(module: &Module) -> Option<(u64, Bytes, UnwindModule<Native>)> {
    let header_range = module.eh_frame_hdr.clone()?;
    let header = section(module, &header_range)?;
    let start = EhFrameHdr::parse(header_range.start, module.base, &header)?.eh_frame()?;
    // Its length is not recorded: it ends with its segment at the latest.
    let segment = module.segments.iter().find(|segment| segment.range.contains(&start))?;
    let eh_frame_range = start..segment.range.end;
    let eh_frame = section(module, &eh_frame_range)?;
    let first = module.segments.iter().map(|segment| segment.range.start).min()?;
    let last = module.segments.iter().map(|segment| segment.range.end).max()?;
    let address = header_range.start;
    let unwind = Native::module(
        module.base,
        UnwindSections {
            range: first..last,
            text: module.code().next(),
            eh_frame: (eh_frame_range, eh_frame),
            eh_frame_hdr: (header_range, header.clone()),
        },
    );
    Some((address, header, unwind))
}

#[cfg(fuzzing)]
pub(super) mod fuzz;

#[cfg(test)]
pub(super) mod tests;
