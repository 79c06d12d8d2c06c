//! The file of a module: its sections and its symbols.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gimli::{DwarfSections, SectionId};
use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{
    CompressionHeader as _, FileHeader as _, SectionHeader as _, SectionTable, Sym as _,
};

use super::program::crate_with_main;
use crate::stack::raw::{Image, NoLines};
use crate::sys::native::file_map::FileMap;

type Header = FileHeader64<LittleEndian>;

/// Where Linux distributions keep debug information apart from programs.
const SEPARATE: &str = "/usr/lib/debug/.build-id";

/// An ELF file that is mapped.
pub(super) struct ObjectFile {
    map: FileMap,
    /// As it was opened.
    path: PathBuf,
}

impl ObjectFile {
    /// The file that a module was loaded from.
    pub(super) fn open(image: &Image) -> Result<Self, NoLines> {
        let file = Self::at(&image.path)?;
        // It may have been replaced since.
        if file.build_id().as_deref() != image.build_id.as_deref() {
            Err(NoLines::NoFile)
        } else {
            Ok(file)
        }
    }

    pub(super) fn at(path: &Path) -> Result<Self, NoLines> {
        let map = FileMap::open(path).map_err(|_| NoLines::NoFile)?;
        Ok(Self { map, path: path.to_owned() })
    }

    /// Goes over to the separate file with the debug information, if this one has none. That counts
    /// if it has the same build id.
    pub(super) fn find_debug_info(&mut self, image: &Image) -> Result<(), NoLines> {
        if self.section(SectionId::DebugInfo.name()).is_some_and(|found| !found.0.is_empty()) {
            return Ok(());
        }
        let build_id = image.build_id.as_deref().ok_or(NoLines::NoDebugInfo)?;
        let separate = self.separate(build_id).into_iter().filter_map(|path| Self::at(&path).ok());
        let mut fitting = separate.filter(|file| file.build_id().as_deref() == Some(build_id));
        *self = fitting.next().ok_or(NoLines::NoDebugInfo)?;
        Ok(())
    }

    /// Where debug information may be: by the build id, and by the name that the file gives.
    fn separate(&self, build_id: &str) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        if let Some((folder, rest)) = build_id.split_at_checked(2) {
            paths.push(Path::new(SEPARATE).join(folder).join(format!("{rest}.debug")));
        }
        let link = self.section(".gnu_debuglink").map(|(bytes, _)| bytes);
        let name = link.and_then(|bytes| bytes.split(|byte| *byte == 0).next());
        if let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok())
            && let Ok(path) = self.path.canonicalize()
            && let Some(folder) = path.parent()
        {
            paths.extend([folder.join(name), folder.join(".debug").join(name)]);
            let below = folder.strip_prefix("/").unwrap_or(folder);
            paths.push(Path::new("/usr/lib/debug").join(below).join(name));
        }
        paths
    }

    /// The path of the file that was opened, without symbolic links.
    pub(super) fn real_path(&self) -> Option<PathBuf> {
        self.path.canonicalize().ok()
    }

    /// All names of the code at an address: a linker gives equal functions one place.
    #[cfg(test)]
    pub(super) fn names_at(&self, address: u64) -> Vec<String> {
        let (_, sections) = self.elf().expect("an ELF file");
        let symbols = sections.symbols(LittleEndian, &*self.map, elf::SHT_SYMTAB).expect("symbols");
        let has_it = |symbol: &&elf::Sym64<LittleEndian>| {
            let begin = symbol.st_value(LittleEndian);
            (begin..begin + symbol.st_size(LittleEndian)).contains(&address)
        };
        let name = |symbol| symbols.symbol_name(LittleEndian, symbol).expect("a name");
        let names = symbols.iter().filter(has_it).map(name);
        names.map(|name| demangle(&String::from_utf8_lossy(name))).collect()
    }

    fn elf(&self) -> Option<(&Header, SectionTable<'_, Header>)> {
        let header = Header::parse(&*self.map).ok().filter(|header| header.is_little_endian())?;
        let sections = header.sections(LittleEndian, &*self.map).ok()?;
        Some((header, sections))
    }

    pub(super) fn build_id(&self) -> Option<String> {
        let (_, sections) = self.elf()?;
        let notes = |section: &elf::SectionHeader64<LittleEndian>| {
            section.notes(LittleEndian, &*self.map).ok().flatten()
        };
        let id = sections.iter().filter_map(notes).find_map(|mut notes| {
            while let Ok(Some(note)) = notes.next() {
                if note.name() == elf::ELF_NOTE_GNU
                    && note.n_type(LittleEndian) == elf::NT_GNU_BUILD_ID
                {
                    return Some(note.desc());
                }
            }
            None
        })?;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// A section as it is in the file, and how it is compressed.
    fn section(&self, name: &str) -> Option<(&[u8], Option<Compression>)> {
        let (_, sections) = self.elf()?;
        let (_, section) = sections.section_by_name(LittleEndian, name.as_bytes())?;
        let compressed = section.compression(LittleEndian, &*self.map).ok()?;
        Some(match compressed {
            None => (section.data(LittleEndian, &*self.map).ok()?, None),
            Some((header, at, length)) => {
                let bytes = self.map.get(usize::try_from(at).ok()?..)?;
                let bytes = bytes.get(..usize::try_from(length).ok()?)?;
                let length = header.ch_size(LittleEndian);
                let is_zlib = header.ch_type(LittleEndian) == elf::ELFCOMPRESS_ZLIB;
                (bytes, Some(Compression { is_zlib, length }))
            }
        })
    }

    /// The debug information. Where it is compressed, `memory` is used up by its size.
    pub(super) fn sections(
        &self,
        memory: &mut u64,
    ) -> Result<DwarfSections<Cow<'_, [u8]>>, NoLines> {
        DwarfSections::load(|id| match id {
            // Of variables, macros and types, which nobody asks for.
            SectionId::DebugLoc
            | SectionId::DebugLocLists
            | SectionId::DebugMacinfo
            | SectionId::DebugMacro
            | SectionId::DebugNames
            | SectionId::DebugTypes => Ok(Cow::default()),
            id => self.load(id.name(), memory),
        })
    }

    /// One section; empty where it is not there.
    pub(super) fn load(&self, name: &str, memory: &mut u64) -> Result<Cow<'_, [u8]>, NoLines> {
        let (bytes, compression) = self.section(name).unwrap_or_default();
        let Some(Compression { is_zlib, length }) = compression else { return Ok(bytes.into()) };
        if !is_zlib {
            return Err(NoLines::Unreadable);
        }
        *memory = memory.checked_sub(length).ok_or(NoLines::TooLarge)?;
        let length = usize::try_from(length).map_err(|_| NoLines::TooLarge)?;
        miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(bytes, length)
            .map(Cow::Owned)
            .map_err(|_| NoLines::Unreadable)
    }

    /// The functions at addresses, by the symbol table that the linker made or, where that was
    /// stripped, by the one for other modules.
    pub(super) fn functions(&self, addresses: &[u64]) -> Vec<Option<String>> {
        let tables = [elf::SHT_SYMTAB, elf::SHT_DYNSYM];
        let found = tables.into_iter().find_map(|table| self.symbols(table, addresses));
        found.unwrap_or_else(|| vec![None; addresses.len()])
    }

    /// Whether the table of symbols that the linker made is there.
    pub(super) fn has_symbols(&self) -> bool {
        let symbols = self.elf().and_then(|(_, sections)| {
            sections.symbols(LittleEndian, &*self.map, elf::SHT_SYMTAB).ok()
        });
        symbols.is_some_and(|symbols| !symbols.is_empty())
    }

    /// The crate that has the program's `main`. Where several have one at their root, the one that C's
    /// `main` refers to.
    pub(super) fn program_crate(&self) -> Option<String> {
        let (_, sections) = self.elf()?;
        let symbols = sections.symbols(LittleEndian, &*self.map, elf::SHT_SYMTAB).ok()?;
        let (mut mains, mut entry) = (Vec::new(), None);
        for symbol in symbols.iter().filter(|symbol| symbol.st_type() == elf::STT_FUNC) {
            let Ok(name) = symbols.symbol_name(LittleEndian, symbol) else { continue };
            let begin = symbol.st_value(LittleEndian);
            if name == b"main" {
                entry = Some((begin, symbol.st_size(LittleEndian)));
            } else if let Some(name) = crate_with_main(name) {
                mains.push((name, begin));
            }
        }
        if let [(name, _)] = *mains {
            return Some(name.to_owned());
        }
        let (begin, size) = entry?;
        let code = self.code(&sections, begin, size)?;
        // Relative to what follows the four bytes, as machines with a program counter have it.
        let targets = code.windows(4).zip(begin..).map(|(bytes, at)| {
            let distance = bytes.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes));
            at.wrapping_add(4).wrapping_add_signed(distance.into())
        });
        let targets: Vec<u64> = targets.collect();
        let (name, _) = mains.into_iter().find(|(_, begin)| targets.contains(begin))?;
        Some(name.to_owned())
    }

    /// The addresses of the function at an address, by the symbols.
    pub(super) fn function_range(&self, address: u64) -> Option<Range<u64>> {
        let (_, sections) = self.elf()?;
        let range = |symbol: &elf::Sym64<LittleEndian>| {
            let begin = symbol.st_value(LittleEndian);
            begin..begin.saturating_add(symbol.st_size(LittleEndian))
        };
        [elf::SHT_SYMTAB, elf::SHT_DYNSYM].into_iter().find_map(|table| {
            let symbols = sections.symbols(LittleEndian, &*self.map, table).ok()?;
            let functions = symbols.iter().filter(|symbol| symbol.st_type() == elf::STT_FUNC);
            functions.map(range).find(|range| range.contains(&address))
        })
    }

    /// The bytes of a function.
    fn code(&self, sections: &SectionTable<'_, Header>, begin: u64, size: u64) -> Option<&[u8]> {
        let has_it = |section: &&elf::SectionHeader64<LittleEndian>| {
            let start = section.sh_addr(LittleEndian);
            let end = start.saturating_add(section.sh_size(LittleEndian));
            section.sh_type(LittleEndian) == elf::SHT_PROGBITS && (start..end).contains(&begin)
        };
        let section = sections.iter().find(has_it)?;
        let bytes = section.data(LittleEndian, &*self.map).ok()?;
        let bytes = bytes.get(usize::try_from(begin - section.sh_addr(LittleEndian)).ok()?..)?;
        bytes.get(..usize::try_from(size).ok()?)
    }

    fn symbols(&self, table: elf::SectionType, addresses: &[u64]) -> Option<Vec<Option<String>>> {
        let (_, sections) = self.elf()?;
        let symbols = sections.symbols(LittleEndian, &*self.map, table).ok()?;
        if symbols.is_empty() {
            return None;
        }
        let mut sorted: Vec<_> = addresses.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let mut found = vec![None; addresses.len()];
        for symbol in symbols.iter() {
            if symbol.st_type() != elf::STT_FUNC || symbol.is_undefined(LittleEndian) {
                continue;
            }
            let begin = symbol.st_value(LittleEndian);
            let end = begin.saturating_add(symbol.st_size(LittleEndian));
            let first = sorted.partition_point(|(address, _)| *address < begin);
            let within = sorted[first..].iter().take_while(|(address, _)| *address < end);
            within.for_each(|(_, index): &(u64, usize)| found[*index] = Some(symbol));
        }
        let name = |symbol: &elf::Sym64<LittleEndian>| {
            let name = symbols.symbol_name(LittleEndian, symbol).ok()?;
            Some(demangle(std::str::from_utf8(name).ok()?))
        };
        Some(found.into_iter().map(|symbol| name(symbol?)).collect())
    }
}

#[derive(Clone, Copy, Debug)]
struct Compression {
    is_zlib: bool,
    /// Bytes without compression.
    length: u64,
}

/// The longest name of a function that is kept, in bytes. Those of nested futures have some thousand.
const LONGEST_NAME: usize = 16 << 10;

/// The name of a function as people write it, without the hash and what a linker adds. What is longer than any is cut off.
pub(super) fn demangle(name: &str) -> String {
    let symbol = name;
    let mut name = format!("{:#}", rustc_demangle::demangle(symbol));
    // A number that the linker has added, where it has several of one name.
    if let Some((path, number)) = name.rsplit_once('.')
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && rustc_demangle::try_demangle(symbol).is_ok()
    {
        name.truncate(path.len());
    }
    if name.len() > LONGEST_NAME {
        let end = (0..=LONGEST_NAME).rev().find(|at| name.is_char_boundary(*at));
        name.truncate(end.unwrap_or_default());
        name.shrink_to_fit();
    }
    name
}
