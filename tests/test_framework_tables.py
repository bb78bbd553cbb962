"""docs/formats/frameworks.md lists every key of every format, as the tables in the code have it."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from cloister.frameworks.formats import FORMATS, Format
from cloister.frameworks.model import NO_ITEMS, Configuration

PAGE = Path(__file__).parents[1] / "docs" / "formats" / "frameworks.md"
COMPARED = ("gramine", "scone", "scone-env", "ego", "occlum", "occlum-bom", "sgx-sdk", "cloister-session")


def rows(form: Format) -> Iterator[str]:
    """The table of one format."""
    yield "| key | holds | here | documented in |"
    yield "|---|---|---|---|"
    for key in form.table:
        holds = ", ".join(str(choice).lower() for choice in key.choices) if key.choices else key.kind.value
        yield f"| `{key.path}` | {holds} | {key.concept.replace('_', ' ')} | {key.source} |"


def comparison() -> Iterator[str]:
    """One row for each thing that formats share, one column for each format."""
    yield f"| | {' | '.join(COMPARED)} |"
    yield "|---" * (len(COMPARED) + 1) + "|"
    for one in fields(Configuration):
        if one.name not in NO_ITEMS:
            cells = [named(FORMATS[form], one.name) for form in COMPARED]
            yield f"| {one.name.replace('_', ' ')} | {' | '.join(cells)} |"


def named(form: Format, concept: str) -> str:
    """The first key of that concept, without what is inside it."""
    path = next((key.path for key in form.table if key.concept == concept), "")
    return f"`{path}`" if path else ""


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_every_key_is_in_the_page(form: Format) -> None:
    table = "\n".join(rows(form))
    assert table in PAGE.read_text(), f"put this into {PAGE}:\n{table}"


def test_the_comparison_is_in_the_page() -> None:
    table = "\n".join(comparison())
    assert table in PAGE.read_text(), f"put this into {PAGE}:\n{table}"
