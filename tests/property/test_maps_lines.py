from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import ObservationError
from cloister.observe.maps import Mapping, parse_maps

PAGE = 4096
PERMISSIONS = st.tuples(*(st.sampled_from(pair) for pair in ("r-", "w-", "x-", "ps"))).map("".join)
PATHS = st.just("") | st.text(alphabet="abc /()[]:\\é", min_size=1).map(lambda text: "/" + text.strip() + "x")


@st.composite
def address_spaces(draw: st.DrawFn) -> list[Mapping]:
    address, mappings = 0x10000, []
    for _ in range(draw(st.integers(0, 5))):
        start = address + PAGE * draw(st.integers(0, 3))
        address = start + PAGE * draw(st.integers(1, 1 << 30))
        mappings.append(
            Mapping(
                start=start,
                end=address,
                permissions=draw(PERMISSIONS),
                offset=PAGE * draw(st.integers(0, 100)),
                path=draw(PATHS),
                device="fe:01",
                inode=draw(st.integers(0, 1 << 40)),
            )
        )
    return mappings


def line(one: Mapping) -> str:
    """As `show_map_vma` and `seq_pad` in the kernel print it."""
    head = f"{one.start:08x}-{one.end:08x} {one.permissions} {one.offset:08x} {one.device} {one.inode} "
    return (head.ljust(73) + one.path if one.path else head) + "\n"


@given(mappings=address_spaces())
def test_what_the_kernel_prints_is_read_back(mappings: list[Mapping]) -> None:
    assert parse_maps(line(one) for one in mappings) == mappings


@given(text=st.text(max_size=80))
def test_anything_else_is_refused(text: str) -> None:
    try:
        (mapping,) = parse_maps([text])
    except ObservationError:
        return
    assert mapping.start < mapping.end
