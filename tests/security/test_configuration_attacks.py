"""Configurations that strangers hand in: bounded time and memory, nothing secret in reports, nothing hidden in them."""

import time
from collections.abc import Callable

import pytest
from tests.forge.frameworks import FULL

from cloister.errors import CloisterError
from cloister.frameworks.conversion import convert
from cloister.frameworks.danger import findings
from cloister.frameworks.formats import FORMATS, detect, read_configuration

SECONDS = 5.0
LONG = 400_000
BOMBS: dict[str, tuple[str, str]] = {
    "xml-comments": ("sgx-sdk", "<EnclaveConfiguration>" + "<!--" * (LONG // 4)),
    "xml-elements": ("sgx-sdk", "<EnclaveConfiguration>" + "<a>" * (LONG // 3)),
    "xml-entities": ("sgx-sdk", '<!DOCTYPE x [<!ENTITY a "b">]><EnclaveConfiguration><ProdID>&a;</ProdID>'),
    "json-depth": ("ego", "[" * LONG),
    "json-objects": ("ego", '{"a":' * (LONG // 5) + "1" + "}" * (LONG // 5)),
    "json-number": ("occlum", '{"metadata": {"product_id": ' + "9" * LONG + "}}"),
    "toml-depth": ("gramine", "a = " + "[" * LONG),
    "toml-keys": ("gramine", ".".join(["a"] * (LONG // 2)) + " = 1"),
    "toml-strings": ("gramine", 'a = "' * (LONG // 5)),
    "yaml-aliases": ("scone", "a: &x [1]\n" + "".join(f"b{n}: *x\n" for n in range(1000))),
    "yaml-depth": ("scone", "[" * LONG),
    "lines": ("scone-env", "SCONE_A=1\n" * (LONG // 10)),
    "blank": ("gramine", "\n" * LONG),
    "brace": ("gramine", "a" * LONG + "{{"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_bounded_time(name: str) -> None:
    form, text = BOMBS[name]
    started = time.process_time()
    for attempt in (lambda: read_configuration(text, "bomb", form), lambda: detect(text, "bomb")):
        ended(attempt)
    assert time.process_time() - started < SECONDS


def ended(attempt: Callable[[], object]) -> None:
    """It may be refused or read, but by nothing else than Cloister's own errors."""
    try:
        attempt()
    except CloisterError as error:
        assert len(str(error)) < 1000, "an error does not repeat the bomb"  # noqa: PT017 - either outcome is right


@pytest.mark.timeout(60)
def test_thousands_of_files_are_read_in_bounded_time() -> None:
    listed = "".join(f'  {{ uri = "file:/usr/lib/{n}", sha256 = "{n:064x}" }},\n' for n in range(5000))
    text = f'libos.entrypoint = "/a"\nsgx.trusted_files = [\n{listed}]\n'
    started = time.process_time()
    found = read_configuration(text, "long", "gramine")
    assert len(convert(found, "gramine").text) > len(listed)
    findings(found)
    assert time.process_time() - started < 4 * SECONDS


PLANTED = {
    "gramine": ('"a b"', '"HUSH"'),
    "scone": ("chosen by people", "HUSH"),
    "scone-env": ("FSPF_KEY=1", "FSPF_KEY=HUSH"),
    "ego": ('"prod"', '"HUSH"'),
    "occlum": ("OCCLUM=yes", "OCCLUM=HUSH"),
    "cloister-session": ('"1234567"', '"HUSH567"'),
}
"""What stands in a full file, and what is put in its place."""


@pytest.mark.parametrize("form", PLANTED)
def test_no_report_quotes_what_stands_in_the_file(form: str) -> None:
    """Values of variables, secrets, keys and injected files: not in findings, losses or representations of either."""
    text = FULL[form].replace(*PLANTED[form])
    assert "HUSH" in text
    found = read_configuration(text, "file", form, "web" if FORMATS[form].read_service else None)
    said = [*findings(found), *(one for to in FORMATS for one in convert(found, to).differences)]
    assert "HUSH" not in repr(said)


def test_what_a_reviewer_cannot_see_is_refused_or_written_visibly() -> None:
    hidden = "\u202e\u2066"
    with pytest.raises(CloisterError, match=r"U\+202E"):
        read_configuration(f'name: "{hidden}"\nversion: "0.3"\n', "file", "scone")
    found = read_configuration(f'libos.entrypoint = "/a{hidden}"\n', "file", "gramine")
    for form in FORMATS:
        assert not {*hidden} & {*convert(found, form).text}, form


@pytest.mark.parametrize("to", [name for name in FORMATS if name not in {"scone", "cloister-session"}])
def test_a_reference_to_a_secret_is_nowhere_written_as_a_value(to: str) -> None:
    found = read_configuration(FULL["scone"], "file", "scone", "web")
    assert "$$SCONE" not in convert(found, to).text


@pytest.mark.parametrize("to", FORMATS)
def test_a_conversion_makes_nothing_more_dangerous(to: str) -> None:
    """Of a file that says little: what a format demands besides is filled in with what protects, or is said to miss."""
    found = convert(read_configuration('libos.entrypoint = "/bin/app"\nsgx.isvsvn = 1\n', "file", "gramine"), to)
    remarks = findings(read_configuration(found.text, "made", to))
    dangerous = [one.key for one in remarks if one.severity.value == "dangerous"]
    if "identities" in {one.item for one in found.differences if one.outcome.value == "missing"}:
        dangerous = [key for key in dangerous if key != "services[].name"]  # nothing says who may be the service
    assert dangerous == []
