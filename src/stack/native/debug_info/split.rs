//! Debug information apart from the program (`split-debuginfo`): the program has the lines alone,
//! and tells where its functions are.

use std::path::Path;

use gimli::{DwarfPackageSections, DwarfSections, EndianSlice, LittleEndian};

use super::file::ObjectFile;
use super::types::{Dwarf, Unit, UnitRef};
use crate::stack::raw::NoLines;

/// Calls `read` with the functions of a unit: its own, those in the package beside the program
/// (`.dwp`), or those in the unit's own file (`.dwo`). Without these files it is the unit itself.
pub(super) fn with_functions<T>(
    file: &ObjectFile,
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    memory: &mut u64,
    read: impl FnOnce(UnitRef<'_, '_>) -> Result<T, NoLines>,
) -> Result<T, NoLines> {
    let (Some(id), Ok(Some(name))) = (unit.dwo_id, unit.dwo_name()) else {
        return read(unit.unit_ref(dwarf));
    };
    let package = file.real_path().map(|path| {
        let mut path = path.into_os_string();
        path.push(".dwp");
        path
    });
    let package = package.and_then(|path| ObjectFile::at(Path::new(&path)).ok());
    if let Some(package) = package {
        let sections = DwarfPackageSections::load(|id| match id.dwo_name() {
            Some(name) => package.load(name, memory),
            None => Ok(Default::default()),
        })?;
        let empty = EndianSlice::new(&[], LittleEndian);
        let package = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian), empty)?;
        if let Some(split) = package.find_cu(id, dwarf)? {
            return read_first(&split, unit, dwarf, read);
        }
    }
    let text = |bytes: EndianSlice<'_, _>| bytes.to_string_lossy().into_owned();
    let name = dwarf.attr_string(unit, name).map(text)?;
    let folder = unit.comp_dir.map(text).unwrap_or_default();
    let Ok(object) = ObjectFile::at(&Path::new(&folder).join(name)) else {
        return read(unit.unit_ref(dwarf));
    };
    let sections = DwarfSections::load(|id| match id.dwo_name() {
        Some(name) => object.load(name, memory),
        None => Ok(Default::default()),
    })?;
    let mut split = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
    split.make_dwo(dwarf);
    read_first(&split, unit, dwarf, read)
}

/// Reads the one unit of functions, if it belongs to the unit of the program.
fn read_first<T>(
    split: &Dwarf<'_>,
    unit: &Unit<'_>,
    dwarf: &Dwarf<'_>,
    read: impl FnOnce(UnitRef<'_, '_>) -> Result<T, NoLines>,
) -> Result<T, NoLines> {
    let header = split.units().next()?;
    let functions = header.map(|header| split.unit(header)).transpose()?;
    match functions.filter(|functions| functions.dwo_id == unit.dwo_id) {
        Some(mut functions) => {
            functions.copy_relocated_attributes(unit);
            read(functions.unit_ref(split))
        }
        None => read(unit.unit_ref(dwarf)),
    }
}
