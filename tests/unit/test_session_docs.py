"""The published schema, the manual's tables and the examples are what the parser knows."""

import json
import re
from pathlib import Path

import pytest

from cloister.broker.session import language, language_shield
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.grammar import Record
from cloister.broker.session.read import parse_session, read_session
from cloister.broker.session.references import FORMATS
from cloister.broker.session.remarks import remarks
from cloister.broker.session.schema import json_schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats" / "session.md").read_text()
EXAMPLES = sorted((ROOT / "examples" / "sessions").glob("*.yaml"))
KNOWN = vars(language) | vars(language_shield)
RECORDS = {name: one for name, one in KNOWN.items() if isinstance(one, Record)}


def test_the_published_schema() -> None:
    published = json.loads((ROOT / "docs" / "formats" / "session.schema.json").read_text())
    assert published == json_schema(), "run: cloister session schema > docs/formats/session.schema.json"


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_the_manual_has_every_key_with_its_meaning(record: Record) -> None:
    rows = [
        f"| `{key}` | {'required' if one.required else ''} | {one.means} |"
        for key, one in record.fields.items()
        if record is not language.exported  # its keys are those of `import`
    ]
    assert not [row for row in rows if row not in PAGE]


def test_the_manual_has_every_format() -> None:
    for kind, formats in FORMATS.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{kind}` | ") and line.count("|") == 5)
        assert re.findall(r"`(\w+)`", row.split("|")[4]) == list(formats)


def test_the_manual_s_example() -> None:
    example = re.search(r"```yaml\n(.*?)```\n\nhas the identity `([0-9a-f]{64})`", PAGE, re.DOTALL)
    assert example
    assert session_hash(parse_session(example[1].encode(), "x")) == example[2]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_right(path: Path) -> None:
    assert not [one for one in remarks(read_session(path)) if one.dangerous]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 3
