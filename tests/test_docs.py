"""The documentation says what the program does: flags, commands, links, the table of readers."""

import argparse
import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister import cli, doctor
from cloister.adversaries import ADVERSARIES, MODES
from cloister.doctor import Machine

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)#\s]+)(?:#[^)]*)?\)")
BLOCK = re.compile(r"^( *)```[^\n]*\n(?P<code>.*?)^\1```", re.MULTILINE | re.DOTALL)
FENCED_OR_INDENTED = re.compile(r"^(?: {4}|\$ )?(?:\$ )?(?:sudo )?(?P<line>cloister (?![a-z]+: ).+)$", re.MULTILINE)
NAMED_TEST = re.compile(r"`([\w/.]+\.py)::(\w+)`")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in parser._actions if not isinstance(action, argparse._HelpAction))


def commands_in(page: Path) -> list[str]:
    """Every line of a code block that starts the program, without its comment."""
    blocks = "\n".join(match["code"] for match in BLOCK.finditer(page.read_text()))
    return [match["line"].split(" #")[0].strip() for match in FENCED_OR_INDENTED.finditer(blocks)]


COMMAND_LINES = [(page, line) for page in PAGES for line in commands_in(page)]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    silent = [action.option_strings or action.dest for action in options(cli.command_parser(name)) if not action.help]
    assert not silent, f"`cloister {name} --help` does not say what these do: {silent}"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_teaches(name: str) -> None:
    """A description, at least one example, and the exit codes."""
    parser = cli.command_parser(name)
    epilog = parser.epilog or ""
    assert parser.description
    assert f"cloister {name}" in epilog
    assert re.search(r"exit (code|status)", epilog, re.IGNORECASE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_resolve(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text())]
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert not [target for target in local if not (page.parent / target).exists()]


@pytest.mark.parametrize(
    ("page", "line"), COMMAND_LINES, ids=[f"{name_of(p)}: {line}"[:70] for p, line in COMMAND_LINES]
)
def test_documented_commands_exist(page: Path, line: str) -> None:
    del page
    words = shlex.split(line.split("|", maxsplit=1)[0])
    if words[1].startswith("-") or words[1] == "COMMAND":
        return
    assert words[1] in cli.COMMANDS
    known = flags(cli.command_parser(words[1]))
    ours = words[2 : words.index("--")] if "--" in words else words[2:]
    used = {word.split("=")[0] for word in ours if word.startswith("--")}
    assert used <= known


def flags(parser: argparse.ArgumentParser) -> set[str]:
    """Every option of a command, those of its actions included."""
    found = {flag for action in parser._actions for flag in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found = found.union(*(flags(one) for one in action.choices.values()))
    return found


def test_some_commands_are_documented() -> None:
    assert len(COMMAND_LINES) > 3


def test_limitations_shows_the_table_of_readers() -> None:
    rows = [f"| {row.who} | {' | '.join(row.reads)} |" for row in ADVERSARIES]
    table = "\n".join([f"| | {' | '.join(MODES)} |", "|---|---|---|---|---|", *rows])
    assert table in (ROOT / "LIMITATIONS.md").read_text(), f"put this into LIMITATIONS.md:\n{table}"


def test_every_field_of_the_doctor_s_json_is_described() -> None:
    page = (ROOT / "docs" / "how-to" / "check-the-machine.md").read_text()
    document = doctor.as_json(doctor.examine(ROOT / "no-such-runtime", Machine()))
    missing = {name for name in field_names(document) if f"`{name}`" not in page}
    assert not missing


def field_names(document: object) -> set[str]:
    """Every key in a JSON document; keys that are themselves data (names of modes) are left out."""
    if isinstance(document, list):
        return {name for item in document for name in field_names(item)}
    if not isinstance(document, dict):
        return set()
    own = set(document) - set(MODES)
    return own.union(*(field_names(value) for value in document.values()))


def test_security_page_names_tests_that_exist() -> None:
    named = NAMED_TEST.findall((ROOT / "SECURITY.md").read_text())
    assert len(named) > 20
    missing = [
        f"{file}::{test}"
        for file, test in named
        if test not in named_in(file if "/" in file else f"tests/security/{file}")
    ]
    assert not missing


def named_in(file: str) -> set[str]:
    """The names of the tests in a file; none if there is no such file."""
    path = ROOT / file
    tree = ast.parse(path.read_text() if path.exists() else "")
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_no_claim_without_an_attack() -> None:
    page = (ROOT / "SECURITY.md").read_text()
    table = page[page.index("| claim |") : page.index("## What is known to be open")]
    claims = [line.split("|")[1:3] for line in table.splitlines()[2:] if line.startswith("|")]
    assert len(claims) > 10
    assert not [claim for claim, attacks in claims if not NAMED_TEST.search(attacks)]
