"""Where an image holds its SIGSTRUCT, so that one that was made elsewhere can be put there. It is never measured.

Open Enclave and EGo: in the section .oeinfo (sgxproperties.h). Intel's SDK: in the note .note.sgxmeta (metadata.h).
Gramine has none in the image: its SIGSTRUCT is a file beside the manifest.
"""

from cloister.errors import ParseError
from cloister.evidence.sigstruct import IN_METADATA, Sigstruct, metadata_of
from cloister.measure.elf import parse_elf
from cloister.measure.oe_image import PROPERTIES, Properties

__all__ = ["embedded"]


def embedded(image: bytes, sigstruct: Sigstruct) -> bytes:
    """The image with this SIGSTRUCT in the place of its own. ParseError if it has no place for one."""
    place = _place(image)
    if place + Sigstruct.SIZE > len(image):
        raise ParseError("enclave image", "SIGSTRUCT", place, "is not all in the file")
    return image[:place] + sigstruct.serialize() + image[place + Sigstruct.SIZE :]


def _place(image: bytes) -> int:
    found = parse_elf(image).sections.get(PROPERTIES)
    if found is None:
        return metadata_of(image) + IN_METADATA
    Properties.parse(image[found.offset : found.offset + Properties.SIZE], base=found.offset)
    return found.offset + Properties.OFFSETS["sigstruct"]
