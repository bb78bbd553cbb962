"""The symbols of a program's file: what an administrator who has the binary knows of its memory."""

import io
from collections.abc import Mapping

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from cloister.measure.image import PIE_BASE

__all__ = ["symbols_of"]


def symbols_of(data: bytes) -> Mapping[str, int]:
    """Name -> virtual address of functions and variables; empty for a stripped program, or what cannot be read."""
    try:
        elf = ELFFile(io.BytesIO(data))
        base = PIE_BASE if elf["e_type"] == "ET_DYN" else 0
        table = elf.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            return {}
        return {
            one.name: int(one["st_value"]) + base
            for one in table.iter_symbols()
            if one.name and one["st_value"] and one["st_info"]["type"] in {"STT_FUNC", "STT_OBJECT", "STT_NOTYPE"}
        }
    except (ELFError, ValueError, UnicodeDecodeError, KeyError):
        return {}
