"""Init data: the hash of the file's bytes, by its own algorithm, as a field of evidence has it."""

import hashlib

import pytest

from cloister.errors import PolicyError
from cloister.measure.init_data import as_field, init_data_field, read_init_data

EXAMPLE = """\
algorithm = "sha384"
version = "0.1.0"

[data]
"aa.toml" = '''
[token_configs.kbs]
url = "https://broker:8443"
'''
"policy.rego" = "package agent_policy"
"""


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512", "sha-256", "SHA-384", "sha-512"])
def test_the_digest_is_of_the_files_bytes(algorithm: str) -> None:
    text = EXAMPLE.replace("sha384", algorithm).replace("\n", "\r\n")
    found = read_init_data(text, "init.toml")
    assert found.digest == hashlib.new(algorithm.lower().replace("-", ""), text.encode()).digest()
    assert found.entries["policy.rego"] == "package agent_policy"
    assert found.entries.keys() == {"aa.toml", "policy.rego"}


def test_fields_are_cut_off_or_filled_up() -> None:
    assert as_field(b"abcd", 2) == b"ab"
    assert as_field(b"ab", 4) == b"ab\0\0"
    assert as_field(b"abcd", 4) == b"abcd"


@pytest.mark.parametrize(("tee", "size"), [("snp", 32), ("tdx", 48)])
def test_what_a_guest_is_launched_with(tee: str, size: int) -> None:
    digest = hashlib.sha384(EXAMPLE.encode()).digest()
    assert init_data_field(EXAMPLE.encode(), tee) == digest[:size]
    other = EXAMPLE.replace("sha384", "sha256").encode()
    assert init_data_field(other, tee) == hashlib.sha256(other).digest().ljust(size, b"\0")
    assert init_data_field(b"x = 1", tee) == hashlib.new(f"sha{size * 8}", b"x = 1").digest()


BROKEN = {
    "version": EXAMPLE.replace("0.1.0", "0.2.0"),
    "algorithm": EXAMPLE.replace("sha384", "sha1"),
    "needs algorithm": EXAMPLE.replace('algorithm = "sha384"', ""),
    "needs version": EXAMPLE.replace('version = "0.1.0"', ""),
    "table of texts": EXAMPLE.replace('"package agent_policy"', "1"),
    "other members": "extra = 1\n" + EXAMPLE,
    "data": EXAMPLE.split("[data]", maxsplit=1)[0],
    "init.toml:1": "algorithm = ",
}


@pytest.mark.parametrize("reason", BROKEN)
def test_what_is_none(reason: str) -> None:
    with pytest.raises(PolicyError, match=reason):
        read_init_data(BROKEN[reason], "init.toml")


def test_init_data_that_is_broken_is_not_hashed_as_something_else() -> None:
    with pytest.raises(PolicyError, match="version"):
        init_data_field(EXAMPLE.replace("0.1.0", "9").encode(), "snp")
    with pytest.raises(PolicyError, match="UTF-8"):
        init_data_field(EXAMPLE.encode() + b"# \xff", "snp")
