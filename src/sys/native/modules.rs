//! The modules that the loader has mapped: the program, its libraries and the vDSO.

use std::ffi::CStr;
use std::ops::Range;

/// The program, a library or the vDSO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// The name the loader gives it; empty for the program itself.
    pub(crate) name: String,
    /// The address it was loaded at, relative to the addresses in its file.
    pub(crate) base: u64,
    pub(crate) segments: Vec<Segment>,
    /// Where the notes are, among them the build id.
    pub(crate) notes: Vec<Range<u64>>,
    /// Where `.eh_frame_hdr` is, the index of the unwind information.
    pub(crate) eh_frame_hdr: Option<Range<u64>>,
    /// Whether this is the program itself, which is never unloaded.
    pub(crate) is_program: bool,
}

/// A mapped part of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) range: Range<u64>,
    pub(crate) executable: bool,
    pub(crate) writable: bool,
}

/// Changes when a library is loaded or unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    added: u64,
    removed: u64,
}

impl Generation {
    /// A number that grows with each library that is loaded.
    pub(crate) fn listing(self) -> u64 {
        self.added
    }
}

impl Module {
    /// Where its code is.
    pub(crate) fn code(&self) -> impl Iterator<Item = Range<u64>> {
        let executable = self.segments.iter().filter(|segment| segment.executable);
        executable.map(|segment| segment.range.clone())
    }

    /// The bytes at `range`, without a copy; `None` unless they belong to the program itself and are
    /// not writable.
    pub(crate) fn borrow(&self, range: &Range<u64>) -> Option<&'static [u8]> {
        let lies_in = |segment: &&Segment| {
            segment.range.start <= range.start && range.end <= segment.range.end
        };
        let segment = self.segments.iter().find(lies_in)?;
        if !self.is_program || segment.writable || range.is_empty() {
            return None;
        }
        let length = (range.end - range.start) as usize;
        // SAFETY: the range lies in a segment that the loader has mapped for the program itself.
        // Such a segment stays mapped until the process ends, and this one is not writable.
        Some(unsafe { std::slice::from_raw_parts(range.start as *const u8, length) })
    }
}

/// The current generation, found without making the list of modules.
pub(crate) fn generation() -> Option<Generation> {
    let mut generation = None;
    each(|info| {
        generation = Some(generation_of(info));
        true
    });
    generation
}

/// All modules, and their generation.
pub(crate) fn modules() -> (Option<Generation>, Vec<Module>) {
    let mut generation = None;
    let mut modules = Vec::new();
    each(|info| {
        generation = Some(generation_of(info));
        modules.push(module(info, modules.is_empty()));
        false
    });
    (generation, modules)
}

fn generation_of(info: &libc::dl_phdr_info) -> Generation {
    Generation { added: info.dlpi_adds, removed: info.dlpi_subs }
}

fn module(info: &libc::dl_phdr_info, is_first: bool) -> Module {
    let name = if info.dlpi_name.is_null() {
        String::new()
    } else {
        // SAFETY: the loader's name of the module ends with a nul and is valid while `each` runs.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned()
    };
    let headers: &[libc::Elf64_Phdr] = if info.dlpi_phdr.is_null() {
        &[]
    } else {
        // SAFETY: the loader says that so many headers are there, valid while `each` runs.
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
    };
    let range = |header: &libc::Elf64_Phdr| {
        let start = info.dlpi_addr.wrapping_add(header.p_vaddr);
        start..start.saturating_add(header.p_memsz)
    };
    let of_kind = |kind: u32| headers.iter().filter(move |header| header.p_type == kind);
    Module {
        // The loader lists the program first.
        is_program: is_first,
        name,
        base: info.dlpi_addr,
        segments: of_kind(libc::PT_LOAD)
            .map(|header| Segment {
                range: range(header),
                executable: header.p_flags & libc::PF_X != 0,
                writable: header.p_flags & libc::PF_W != 0,
            })
            .collect(),
        notes: of_kind(libc::PT_NOTE).map(range).collect(),
        eh_frame_hdr: of_kind(libc::PT_GNU_EH_FRAME).map(range).next(),
    }
}

/// Calls `look` with each module until it returns `true`. The loader holds a lock meanwhile, and
/// this waits for it: somebody may be in the middle of loading a library.
fn each<F: FnMut(&libc::dl_phdr_info) -> bool>(mut look: F) {
    unsafe extern "C" fn call<F: FnMut(&libc::dl_phdr_info) -> bool>(
        info: *mut libc::dl_phdr_info,
        size: libc::size_t,
        look: *mut libc::c_void,
    ) -> libc::c_int {
        // An old loader that does not count what comes and goes tells us too little.
        if size < size_of::<libc::dl_phdr_info>() {
            return 1;
        }
        // SAFETY: `look` is the closure that `each` holds a unique reference to, and `info` is
        // valid and at least as large as the structure.
        let (look, info) = unsafe { (&mut *look.cast::<F>(), &*info) };
        libc::c_int::from(look(info))
    }
    // SAFETY: the closure outlives the call, and `call::<F>` takes it for what it is.
    unsafe { libc::dl_iterate_phdr(Some(call::<F>), (&raw mut look).cast()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_comes_first_and_has_this_code() {
        let (generation, modules) = modules();
        assert!(generation.is_some());
        assert_eq!(generation, super::generation());
        let program = &modules[0];
        let here = generation_of as *const () as u64;
        let holds = |segment: &&Segment| segment.range.contains(&here);
        assert!(program.is_program && program.name.is_empty());
        assert!(program.segments.iter().find(holds).is_some_and(|segment| segment.executable));
        assert!(modules[1..].iter().all(|module| !module.is_program));
    }

    #[test]
    fn what_can_go_away_or_change_is_not_borrowed() {
        let (_, modules) = modules();
        let program = &modules[0];
        let sections = program.eh_frame_hdr.clone().expect("Rust programs have one");
        assert_eq!(program.borrow(&sections).map(|bytes| bytes[0]), Some(1), "its version");
        let writable = program.segments.iter().find(|segment| segment.writable).expect("data");
        assert_eq!(program.borrow(&writable.range), None);
        assert_eq!(program.borrow(&(8..16)), None);
        for module in &modules[1..] {
            assert_eq!(module.borrow(&module.segments[0].range), None);
        }
    }
}
