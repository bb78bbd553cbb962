"""A configuration file as values, each with the line that it stands on: TOML, YAML, JSON, XML, or NAME=VALUE lines.

What the formats' own readers take in more than one way is refused: keys that stand twice, YAML's anchors, XML's
entities and document types.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from cloister import _json
from cloister._toml import Document, Path, read_toml
from cloister._yaml import AMBIGUOUS, Items, Node, Scalar, read_yaml
from cloister.errors import ParseError, PolicyError

__all__ = ["LONGEST", "read_environment", "read_json", "read_toml_file", "read_xml", "read_yaml_file"]

LONGEST: Final = 4 << 20
"""Bytes. A signed Gramine manifest lists every trusted file with its digest, and may have some thousands."""
LONGEST_YAML: Final = 1 << 20
"""The same of YAML, whose reader takes longer."""
WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:\n]|[^\s"\[\]{},:]+')
NAME: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
XML_DECLARATION: Final = re.compile(r"\s*<\?xml[^<>?]*\?>")
XML_ROOT: Final = re.compile(r"\s*<([A-Za-z]\w*)\s*>(.*)</\1\s*>\s*", re.DOTALL)
XML_ELEMENT: Final = re.compile(r"\s*<([A-Za-z]\w*)\s*(?:/>|>([^<>&]*)</\1\s*>)")


def read_toml_file(text: str, name: str) -> Document:
    """TOML; PolicyError with file and line if it is none."""
    return read_toml(text, name, LONGEST)


def read_yaml_file(text: str, name: str) -> Document:
    """YAML without its traps; whole numbers and true and false are what they look like, everything else is text."""
    lines: dict[Path, int] = {}
    found = _value(read_yaml(text.encode("utf-8", "surrogatepass"), name, LONGEST_YAML), (), lines)
    return _document(found, name, lines)


def _value(node: Node, path: Path, lines: dict[Path, int]) -> object:
    lines[path] = node.place.line
    if isinstance(node, Scalar):
        return _scalar(node)
    if isinstance(node, Items):
        return [_value(one, (*path, number), lines) for number, one in enumerate(node.items)]
    made: dict[str, object] = {}
    for key, value in node.entries:
        made[key.text] = _value(value, (*path, key.text), lines)
        lines[*path, key.text] = key.place.line
    return made


def _scalar(node: Scalar) -> object:
    if not node.plain:
        return node.text
    if node.text in {"true", "false"}:
        return node.text == "true"
    if WHOLE.fullmatch(node.text):
        return int(node.text)
    if re.fullmatch(r"[0-9]+\.[0-9]+", node.text):
        return node.text  # a version such as 0.3, which every session of SCONE's language has
    if not node.text or AMBIGUOUS.fullmatch(node.text):
        return node.as_text()  # raises
    return node.text


def read_json(text: str, name: str) -> Document:
    """JSON; no key stands twice."""
    if len(text) > LONGEST:
        raise PolicyError(f"{name}:1: {len(text)} characters; at most {LONGEST} are read")
    try:
        found = _json.loads(text, name)
    except ParseError as error:
        line = text.count("\n", 0, error.offset) + 1
        raise PolicyError(
            f"{name}:{line}: this is not the JSON that is wanted: {error.field}: {error.reason}"
        ) from error
    return _document(found, name, dict(_json_lines(text)))


def _json_lines(text: str) -> Iterator[tuple[Path, int]]:
    """Where everything in a valid JSON text stands. Each level is the key or index that comes next."""
    line, key_next, last = 1, False, ""
    levels: list[str | int] = []
    for token in TOKEN.finditer(text):
        word = token[0]
        if word == "\n":
            line += 1
        elif word == ":":
            levels[-1], key_next = json.loads(last), False
            yield tuple(levels), line
        elif word in {"]", "}"}:
            levels.pop()
            key_next = False
        elif word == ",":
            level = levels[-1]
            key_next = isinstance(level, str)
            levels[-1] = level if isinstance(level, str) else level + 1
        else:
            if not key_next:
                yield tuple(levels), line
            if word in {"[", "{"}:
                levels.append(0 if word == "[" else "")
                key_next = word == "{"
            last = word


def read_environment(text: str, name: str) -> Document:
    """Lines NAME=VALUE, as `docker --env-file` takes them; `export` and quotes around a whole value are taken off."""
    if len(text) > LONGEST:
        raise PolicyError(f"{name}:1: {len(text)} characters; at most {LONGEST} are read")
    values: dict[str, object] = {}
    lines: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = NAME.fullmatch(stripped)
        if found is None:
            raise PolicyError(f"{name}:{number}: a line NAME=VALUE is wanted, or a comment")
        if found[1] in values:
            raise PolicyError(f"{name}:{number}: {found[1]} stands twice; keep one of them")
        values[found[1]] = _unquoted(found[2])
        lines[found[1],] = number
    return Document(name, values, lines)


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def read_xml(text: str, name: str, root: str) -> Document:
    """One element `root` of elements that hold text: all that the SDK's configuration files have.

    No XML library is used: what this does not read (document types, entities, attributes) is what must be refused.
    """
    if len(text) > LONGEST:
        raise PolicyError(f"{name}:1: {len(text)} characters; at most {LONGEST} are read")
    bare = _without_comments(text.lstrip("\ufeff"))
    declared = XML_DECLARATION.match(bare)
    start = 0 if declared is None else declared.end()
    whole = XML_ROOT.fullmatch(bare, start)
    if whole is None or whole[1] != root:
        raise PolicyError(f"{name}:1: one element <{root}> is wanted, without attributes, entities or a document type")
    values: dict[str, object] = {}
    lines: dict[Path, int] = {}
    at, end = whole.start(2), whole.end(2)
    while bare[at:end].strip():
        found = XML_ELEMENT.match(bare, at, end)
        line = bare.count("\n", 0, at if found is None else found.start(1)) + 1
        if found is None:
            raise PolicyError(f"{name}:{line}: elements <Name>value</Name> are wanted here, and nothing else")
        if found[1] in values:
            raise PolicyError(f"{name}:{line}: <{found[1]}> stands twice; keep one of them")
        values[found[1]] = (found[2] or "").strip()
        lines[found[1],] = line
        at = found.end()
    return Document(name, values, lines)


def _without_comments(text: str) -> str:
    """The text with nothing but line breaks in the place of comments; each is looked for once, closed or not."""
    parts, at = [], 0
    while (start := text.find("<!--", at)) >= 0:
        end = text.find("-->", start)
        if end < 0:
            break
        parts += [text[at:start], "\n" * text.count("\n", start, end)]
        at = end + len("-->")
    return "".join([*parts, text[at:]])


def _document(found: object, name: str, lines: Mapping[Path, int]) -> Document:
    if not isinstance(found, dict):
        raise PolicyError(f"{name}:1: keys with values are wanted, not a list or a single value")
    return Document(name, found, lines)
