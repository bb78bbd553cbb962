import pytest

from cloister.errors import ObservationError
from cloister.observe.maps import Mapping, MappingKind, parse_maps

LIBRARY = "7f0c2a1e4000-7f0c2a206000 r--p 00001000 fe:01 1314                       /usr/lib/libc.so.6\n"
HEAP = "55ad25d31000-55ad25d52000 rw-p 00000000 00:00 0                          [heap]\n"


def test_fields() -> None:
    (mapping,) = parse_maps([LIBRARY])
    assert mapping == Mapping(
        start=0x7F0C2A1E4000,
        end=0x7F0C2A206000,
        permissions="r--p",
        offset=0x1000,
        path="/usr/lib/libc.so.6",
        device="fe:01",
        inode=1314,
    )
    assert mapping.size == 0x22000


def test_anonymous_line_may_end_in_a_space() -> None:
    (mapping,) = parse_maps(["7ffff7d8b000-7ffff7d8d000 rw-p 00000000 00:00 0 \n"])
    assert not mapping.path


def test_path_keeps_its_spaces() -> None:
    (mapping,) = parse_maps([LIBRARY.replace("libc.so.6", "a b (deleted)")])
    assert mapping.path == "/usr/lib/a b (deleted)"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "7f0c2a1e4000-7f0c2a206000 r--p",
        LIBRARY.replace("r--p", "r--x"),
        LIBRARY.replace("7f0c2a206000", "7f0c2a1e4000"),
        LIBRARY.replace("1314", "13x4"),
        " " + LIBRARY,
    ],
)
def test_other_forms_are_refused(line: str) -> None:
    with pytest.raises(ObservationError):
        parse_maps([line])


def test_overlap_is_refused() -> None:
    with pytest.raises(ObservationError, match="out of order"):
        parse_maps([LIBRARY, LIBRARY])
    assert len(parse_maps([HEAP, LIBRARY])) == 2


@pytest.mark.parametrize(
    ("permissions", "path", "kind"),
    [
        ("rw-s", "/secretmem (deleted)", MappingKind.SECRET),
        ("rw-p", "/secretmem (deleted)", MappingKind.FILE),
        ("r-xs", "/memfd:cloister-text (deleted)", MappingKind.SEALED),
        ("rw-s", "/memfd:cloister-text (deleted)", MappingKind.SHARED_OPEN),
        ("rw-p", "", MappingKind.ANONYMOUS_OPEN),
        ("rw-p", "[heap]", MappingKind.ANONYMOUS_OPEN),
        ("rw-p", "[anon: glibc: malloc]", MappingKind.ANONYMOUS_OPEN),
        ("rw-s", "/dev/zero (deleted)", MappingKind.SHARED_OPEN),
        ("r--s", "/memfd:other (deleted)", MappingKind.SHARED_OPEN),
        ("rw-s", "/var/lib/data", MappingKind.SHARED_OPEN),
        ("rw-s", "[anon_shmem:x]", MappingKind.SHARED_OPEN),
        ("r--s", "/usr/lib/gconv.cache", MappingKind.FILE),
        ("rw-p", "/usr/lib/libc.so.6", MappingKind.FILE),
        ("r-xp", "[vdso]", MappingKind.SPECIAL),
        ("r--p", "[vvar_vclock]", MappingKind.SPECIAL),
    ],
)
def test_kind(permissions: str, path: str, kind: MappingKind) -> None:
    assert Mapping(start=0x1000, end=0x2000, permissions=permissions, path=path).kind is kind
