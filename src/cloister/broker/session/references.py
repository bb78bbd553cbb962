"""References to secrets in texts: `$$SCONE::name$$`, `$$SCONE::name:format$$`, and the same with `CLOISTER`.

SCONE's syntax (session language 0.3, "secrets"). A text is cut into literal parts and references; what looks like a
reference and is none is refused, since a typing error would otherwise hand the program the words instead.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from cloister._yaml import Place, wrong
from cloister.broker.session.grammar import Word
from cloister.broker.session.language import NAME

__all__ = ["FORMATS", "Part", "Reference", "Template", "template_of"]

WELL_FORMED: Final = re.compile(rf"\$\$(?:SCONE|CLOISTER)::({NAME})(?::([a-z0-9]{{1,16}}))?\$\$")
LOOKS_LIKE: Final = re.compile(r"(?:SCONE|CLOISTER)\s*::|\$\$\s*(?:SCONE|CLOISTER)\b", re.IGNORECASE)

FORMATS: Final = {
    "ascii": ("text", "hex", "base64"),
    "binary": ("raw", "hex", "base64"),
    "aes-key": ("raw", "hex", "base64"),
    "private-key": ("key", "pub"),
    "x509": ("crt", "key", "chain"),
    "jwt-key": ("key", "pub", "jwk"),
}
"""What each kind can be written as; the first is the default. `raw` fits into files only."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a secret is to be put in. `form` is empty for the kind's default."""

    name: str
    form: str
    place: Place


Part = str | Reference


@dataclass(frozen=True, slots=True)
class Template:
    """A text with places for secrets. `text` is what the owner wrote: it holds no value, only names."""

    text: str = field(repr=False)
    place: Place
    parts: tuple[Part, ...] = field(repr=False)

    @property
    def references(self) -> tuple[Reference, ...]:
        """The references, in order."""
        return tuple(one for one in self.parts if isinstance(one, Reference))


def template_of(word: Word) -> Template:
    """Cut a text into parts; PolicyError for what looks like a reference and is none."""
    parts: list[Part] = []
    at = 0
    for found in WELL_FORMED.finditer(word.text):
        parts += [*_literal(word, at, found.start()), Reference(found[1], found[2] or "", word.place)]
        at = found.end()
    return Template(word.text, word.place, (*parts, *_literal(word, at, len(word.text))))


def _literal(word: Word, start: int, end: int) -> tuple[str, ...]:
    text = word.text[start:end]
    if LOOKS_LIKE.search(text):
        raise wrong(
            word.place, f"something after character {start} looks like a reference to a secret and is none; "
            "write $$SCONE::name$$ or $$SCONE::name:format$$"
        )  # fmt: skip
    return (text,) if text else ()
