"""A framework's enclave while it is laid out: pages added in order, with errors that name the image, and bounds.

Frameworks' images say themselves how many pages they have. A file of a few bytes may ask for terabytes: every page is
counted, and what is measured never exceeds what the image's own size allows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cloister.errors import ParseError
from cloister.evidence.sigstruct import Sigstruct
from cloister.measure.sgx import EnclaveMeasurement, SecinfoFlags
from cloister.model import Digest

__all__ = ["DATA", "MOST_PAGES", "PAGE", "EnclaveBuild", "MeasuredEnclave", "pages_of"]

PAGE: Final = 4096
MOST_PAGES: Final = 1 << 24
"""Pages that are added before EINIT: 64 GiB."""

DATA: Final = SecinfoFlags.REG | SecinfoFlags.READ | SecinfoFlags.WRITE


@dataclass(frozen=True, kw_only=True)
class MeasuredEnclave:
    """An enclave image: what it measures, what its own SIGSTRUCT says of that (if it has one), what it was made of."""

    mrenclave: Digest
    size: int
    pages: int
    signed: Sigstruct | None = None
    components: dict[str, str] = field(default_factory=dict)


class EnclaveBuild:
    """Pages into an enclave of `size` bytes. ParseError, naming `record`, where a processor or the bounds refuse."""

    def __init__(
        self,
        record: str,
        *,
        size: int,
        ssa_frame_pages: int = 1,
        write: Callable[[bytes], object] | None = None,
        most_pages: int = MOST_PAGES,
    ) -> None:
        self.record, self.size, self.pages = record, size, 0
        self._most = min(most_pages, size // PAGE)
        try:
            self._running = EnclaveMeasurement.ecreate(ssa_frame_pages, size, write=write)
        except ValueError as error:
            raise self._error(str(error)) from error

    def add(self, offset: int, flags: int, content: bytes) -> None:
        """A page, measured completely."""
        self._count(1)
        try:
            self._running.add_page(offset, flags, content)
        except ValueError as error:
            raise self._error(str(error)) from error

    def add_all(self, offset: int, flags: int, content: bytes) -> None:
        """Pages one after the other, measured completely; the last one is filled with zeros."""
        for place, page in pages_of(content):
            self.add(offset + place, flags, page)

    def fill(self, offset: int, flags: int, count: int, page: bytes = bytes(PAGE)) -> None:
        """The same page several times, measured."""
        self._count(count, only_check=True)
        for number in range(count):
            self.add(offset + number * PAGE, flags, page)

    def reserve(self, offset: int, flags: int, count: int) -> None:
        """Pages that are added and not measured."""
        self._count(count)
        try:
            self._running.eadd_range(offset, count * PAGE, flags)
        except ValueError as error:
            raise self._error(str(error)) from error

    def digest(self) -> Digest:
        """MRENCLAVE."""
        return self._running.digest()

    def _count(self, pages: int, *, only_check: bool = False) -> None:
        if self.pages + pages > self._most:
            raise self._error(f"more than {self._most} pages: they do not fit, or are more than is measured here")
        self.pages += 0 if only_check else pages

    def _error(self, reason: str) -> ParseError:
        return ParseError(self.record, "layout", 0, reason)


def pages_of(content: bytes) -> list[tuple[int, bytes]]:
    """Pages with their offsets; the last one is filled with zeros."""
    return [(at, content[at : at + PAGE].ljust(PAGE, b"\0")) for at in range(0, len(content), PAGE)]
