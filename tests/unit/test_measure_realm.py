"""A realm's RIM from the description of the host's steps."""

from collections.abc import Callable

import pytest

from cloister.errors import UsageError
from cloister.measure.cca import RealmInitialMeasurement, RealmParameters
from cloister.measure.realm import Ram, read_realm

DESCRIPTION = """\
s2sz = 40

[[step]]
data = "page"
address = 0x80000000

[[step]]
pc = 0x80000000

[[step]]
ram = [0x80000000, 0x80200000]
whole = true
"""
FILES = {"page": bytes(4096), "image": bytes(range(256)) * 20}


def test_the_published_steps() -> None:
    """The vectors of a sheet: after creation, a page, a processor, a range."""
    found = read_realm(DESCRIPTION, "r")
    assert (
        found.rim(FILES.__getitem__).value.hex() == "44b679d4598db206930cef3c165d81689ebebb7a4c5319fc1159e1d9ed10d031"
    )
    assert found.files == ["page"]


def test_a_file_of_several_granules_and_a_range_of_entries() -> None:
    text = """
    hash_algorithm = "sha512"
    num_bps = 2
    [[step]]
    data = "image"
    address = "2G"
    measured = false
    [[step]]
    ram = [0x80001000, 0x80400000]
    [[step]]
    pc = 4
    gprs = [1, 2]
    runnable = false
    """
    rim = RealmInitialMeasurement.create(RealmParameters(num_bps=2, hash_algorithm="sha512"))
    rim = rim.add_data(0x80000000, None).add_data(0x80001000, None)
    for page in range(0x80001000, 0x80200000, 4096):
        rim = rim.set_ram(page, page + 4096)
    rim = rim.set_ram(0x80200000, 0x80400000).add_rec(pc=4, gprs=(1, 2), flags=0)
    assert read_realm(text, "r").rim(FILES.__getitem__) == rim.digest


def test_measured_content_counts_and_its_order_too() -> None:
    read: Callable[[str], bytes] = FILES.__getitem__
    base = read_realm(DESCRIPTION, "r").rim(read)
    parts = DESCRIPTION.split("\n\n")
    assert read_realm("\n\n".join([parts[0], parts[2], parts[1], parts[3]]), "r").rim(read) != base
    assert read_realm(DESCRIPTION, "r").rim(lambda _: b"other") != base
    left_out = DESCRIPTION.replace("0x80000000\n\n[[step]]\npc", "0x80000000\nmeasured = false\n\n[[step]]\npc", 1)
    assert read_realm(left_out, "r").rim(read) == read_realm(left_out, "r").rim(lambda _: b"other")


def test_components_name_steps() -> None:
    found = read_realm(DESCRIPTION, "r").components(FILES.__getitem__)
    assert found["step 1 data 0x80000000"].startswith("sha256:")
    assert found["step 2 processor"] == "0x80000000"
    assert found["step 3 ram"] == "0x80000000-0x80200000"


STEP = "[[step]]\n"


@pytest.mark.parametrize(("written", "value"), [("'4K'", 1 << 12), ("'3M'", 3 << 20), ("'2G'", 2 << 30)])
def test_addresses_with_units(written: str, value: int) -> None:
    assert read_realm(f"{STEP}ram = [0, {written}]", "r").steps == (Ram(0, value, whole=False),)


def test_data_begins_below_the_largest_address() -> None:
    read_realm(STEP + 'data = "x"\naddress = 0xfffffff000', "r")
    with pytest.raises(UsageError, match="below 0x10000000000"):
        read_realm(STEP + 'data = "x"\naddress = 0x10000000000', "r")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("=", "not TOML"),
        ("", "no steps"),
        ("x = 1\n" + STEP + "pc = 1", "'x' is not understood"),
        ('hash_algorithm = "md5"\n' + STEP + "pc = 1", "sha256 or sha512"),
        ("hash_algorithm = []\n" + STEP + "pc = 1", "sha256 or sha512"),
        ("step = [1]", "step 1"),
        (STEP + "pc = 1\nram = [0, 4096]", "one of data, ram and pc"),
        (STEP + "address = 1", "one of data, ram and pc"),
        (STEP + 'data = ""\naddress = 0', "name of a file"),
        (STEP + 'data = "x"', "address is None"),
        (STEP + 'data = "x"\naddress = 1', "multiple of 4096"),
        (STEP + 'data = "x"\naddress = 0\nmeasured = 1', "true or false"),
        (STEP + 'data = "x"\naddress = 0\nsize = 1', "'size' is not understood"),
        (STEP + "ram = [4096]", "two addresses"),
        (STEP + "ram = [4096, 4096]", "no range"),
        (STEP + "ram = [0, 100]", "no range"),
        (STEP + "ram = [0, 0x10000000000]\n" + STEP + "ram = [4096, 0x10000000000]", "table entries"),
        (STEP + "pc = -1", "64 bits"),
        (STEP + "pc = true", "64 bits"),
        (STEP + 'pc = "1T"', "64 bits"),
        (STEP + 'pc = "99999999999999999999999G"', "64 bits"),
        (STEP + "pc = 0\ngprs = [0, 0, 0, 0, 0, 0, 0, 0, 0]", "at most 8"),
    ],
)
def test_a_description_that_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as refusal:
        read_realm(text, "realm.toml")
    assert str(refusal.value).startswith("realm.toml: ")


@pytest.mark.parametrize("base", [0, 0x1000, 0x1FF000, 0x200000, 0x201000])
@pytest.mark.parametrize("size", [0x1000, 0x1FF000, 0x200000, 0x201000, 0x400000, 0x7FF000])
@pytest.mark.parametrize("whole", [False, True])
def test_the_entries_of_a_range_are_counted_without_making_them(base: int, size: int, *, whole: bool) -> None:
    ram = Ram(base, base + size, whole=whole)
    assert ram.count == len(list(ram.entries()))
