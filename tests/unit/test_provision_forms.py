"""What a service gets, as a start block: read again by a reader of its own, and refused where the runtime would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.start_block import read_again

from cloister.broker import provision_forms
from cloister.broker.provision_forms import FORMS, as_block
from cloister.broker.session.provision import Provisioned
from cloister.broker.session.secret_value import SecretValue
from cloister.errors import PolicyError
from cloister.launch import _abi


def provisioned(
    command: list[bytes] | None = None, environment: dict[str, bytes] | None = None,
    files: dict[str, bytes] | None = None, pwd: str = "",
) -> Provisioned:  # fmt: skip
    return Provisioned(
        command=tuple(map(SecretValue, command or [])), pwd=pwd,
        environment={name: SecretValue(value) for name, value in (environment or {}).items()},
        files={path: SecretValue(value) for path, value in (files or {}).items()},
    )  # fmt: skip


WITHOUT_NUL = st.binary(max_size=40).filter(lambda data: b"\0" not in data)
NAMES = st.text("ABC_", min_size=1, max_size=8)


@given(
    st.lists(WITHOUT_NUL, max_size=6), st.dictionaries(NAMES, WITHOUT_NUL, max_size=6),
    st.dictionaries(NAMES.map("/{}".format), st.binary(max_size=40), max_size=6), NAMES.map("/{}".format),
)  # fmt: skip
def test_what_is_written_is_read(
    command: list[bytes], environment: dict[str, bytes], files: dict[str, bytes], pwd: str
) -> None:
    assert read_again(as_block(provisioned(command, environment, files, pwd))) == {
        "command": command, "environment": {name.encode(): value for name, value in environment.items()},
        "pwd": pwd.encode(), "files": {path.encode(): value for path, value in files.items()},
    }  # fmt: skip


def test_a_block_byte_for_byte() -> None:
    block = as_block(provisioned([b"a", b"bc"], {"N": b"v"}, {"/f": b"\0\xff"}, "/d"))
    assert block.hex(" ") == (
        "02 00 00 00 01 00 00 00 01 00 00 00 61 02 00 00 00 62 63 03 00 00 00 4e 3d 76 "
        "02 00 00 00 2f 64 01 00 00 00 02 00 00 00 2f 66 02 00 00 00 00 ff"
    )


def test_the_limits_are_the_runtimes() -> None:
    assert provision_forms.MOST_STRINGS == _abi.START_MAX_STRINGS
    assert provision_forms.MOST_BYTES == _abi.START_MAX_BYTES
    assert provision_forms.LARGEST_BLOCK == _abi.FRAME_MAX_BYTES - 48


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (provisioned([b"x" * (2 << 20), b"y" * (2 << 20), b"z"]), "arguments and variables"),
        (provisioned([], {"N": b"x" * (4 << 20)}), "arguments and variables"),
        (provisioned([b""] * 65_537), "arguments"),
        (provisioned([], {f"N{number}": b"" for number in range(65_537)}), "variables"),
        (provisioned([b"a\0b"]), "arguments with a NUL"),
        (provisioned([], {"N": b"\0"}), "variables with a NUL"),
        (provisioned(files={"/f": bytes(8 << 20)}), "whole"),
        (provisioned(files={"/" + "f" * 4095: b""}), "path of a file"),
        (provisioned(pwd="/" + "d" * 4095), "working directory"),
        (provisioned(pwd="/d\0"), "working directory with a NUL"),
    ],
)
def test_what_the_runtime_would_not_take_is_refused_in_words(found: Provisioned, what: str) -> None:
    with pytest.raises(PolicyError, match=what):
        as_block(found)


def test_the_largest_that_fits() -> None:
    assert len(as_block(provisioned([b"x" * (4 << 20)]))) < _abi.FRAME_MAX_BYTES
    overhead = len(as_block(provisioned(files={"/f": b""})))
    assert len(as_block(provisioned(files={"/f": bytes(_abi.FRAME_MAX_BYTES - 48 - overhead)}))) + 48 == 8 << 20


def test_the_forms_have_names() -> None:
    assert FORMS.keys() == {"json", "block"}
