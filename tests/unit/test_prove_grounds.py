"""The grounds of the experiment where nothing has to run: packets taken apart, streams, capture files, judgements."""

import base64
import socket
import struct
from pathlib import Path

import pytest

from cloister.errors import UsageError
from cloister.observe.prove.grounds import blocks as blocks_module
from cloister.observe.prove.grounds.blocks import DiskBlocks, runs
from cloister.observe.prove.grounds.frames import segment_of
from cloister.observe.prove.grounds.packets import Packets
from cloister.observe.prove.grounds.pcap import CaptureFile
from cloister.observe.prove.grounds.tracing import Traces
from cloister.observe.prove.plan import ArmName, GroundName
from cloister.observe.prove.secret import Secret
from cloister.observe.prove.wanted import Wanted

SECRET = Secret(label="it", value=b"Qm7xK2pLw9ZtR4vYc8NbJ3hGs6Df")
WANTED = Wanted.of((SECRET,))
IPV4, IPV6 = 0x0800, 0x86DD
HERE = ("lo", IPV4, 0, 772, b"\0" * 6)


def tcp(payload: bytes, sequence: int = 1, ports: tuple[int, int] = (1000, 80)) -> bytes:
    return struct.pack(">HHIIBBHHH", *ports, sequence, 0, 5 << 4, 0, 0, 0, 0) + payload


def ipv4(protocol: int, data: bytes, fragment: int = 0) -> bytes:
    ends = socket.inet_aton("127.0.0.1") + socket.inet_aton("127.0.0.2")
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(data), 0, fragment, 64, protocol, 0) + ends + data


def ipv6(following: int, data: bytes) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, "::1") * 2
    return struct.pack(">IHBB", 6 << 28, len(data), following, 64) + ends + data


def test_segments_name_both_ends() -> None:
    segment = segment_of(IPV4, ipv4(6, tcp(b"hello", 7)))
    assert segment.flow == "TCP 127.0.0.1:1000 > 127.0.0.2:80"
    assert (segment.source, segment.target) == (("127.0.0.1", 1000), ("127.0.0.2", 80))
    assert (segment.sequence, segment.payload) == (7, b"hello")
    udp = struct.pack(">HHHH", 5, 6, 13, 0) + b"hello"
    assert segment_of(IPV6, ipv6(17, udp)).flow == "UDP [::1]:5 > [::1]:6"


def test_extension_headers_are_passed_over() -> None:
    options = bytes([6, 0]) + bytes(6)
    assert segment_of(IPV6, ipv6(0, options + tcp(b"hello"))).payload == b"hello"
    first, later = bytes([6, 0, 0, 1, 0, 0, 0, 1]), bytes([6, 0, 0, 8, 0, 0, 0, 1])
    assert segment_of(IPV6, ipv6(44, first + tcp(b"hello"))).payload == b"hello"
    assert segment_of(IPV6, ipv6(44, later + b"lo and more to see" + bytes(20))).sequence is None


@pytest.mark.parametrize("size", range(60))
def test_a_packet_cut_anywhere_is_still_data(size: int) -> None:
    for protocol, packet in ((IPV4, ipv4(6, tcp(b"x"))), (IPV6, ipv6(0, bytes(80))), (0x0806, bytes(60))):
        assert segment_of(protocol, packet[:size]).flow


def capture() -> Packets:
    packets = Packets(wanted=WANTED)
    packets.start()
    packets.finish()
    packets.close()
    packets.hits.clear()
    return packets


def found(packets: Packets) -> set[str]:
    return {hit.encoding for hit in packets.hits}


def test_a_secret_across_packets_of_one_stream_is_found() -> None:
    packets = capture()
    before = 100
    for number in range(len(SECRET.value)):  # one byte in each packet
        packets.take(ipv4(6, tcp(SECRET.value[number : number + 1], before + number)), HERE)
    assert "raw" in found(packets)


def test_bytes_of_different_streams_are_not_joined() -> None:
    packets = capture()
    middle = len(SECRET.value) // 2
    for first, second in (((1000, 80), (1001, 80)), ((1000, 80), (80, 1000))):
        packets.take(ipv4(6, tcp(SECRET.value[: middle - 1], 1, first)), HERE)
        packets.take(ipv4(6, tcp(SECRET.value[middle - 1 :], middle, second)), HERE)
    assert "raw" not in found(packets)
    packets.take(ipv4(6, tcp(SECRET.value[: middle - 1], 1)), HERE)
    packets.take(ipv4(6, tcp(SECRET.value[middle - 1 :], 999)), HERE)  # something is missing in between
    assert "raw" not in found(packets)


def test_encodings_and_strange_packets_are_searched() -> None:
    packets = capture()
    packets.take(ipv4(17, bytes(8) + base64.b64encode(b"x" + SECRET.value)), HERE)
    packets.take(b"\xff" * 3 + SECRET.value, ("lo", 0x88B5, 0, 772, b""))
    packets.take(ipv4(6, SECRET.value, fragment=9), HERE)
    assert {"base64@1", "raw"} <= found(packets)
    assert {hit.where for hit in packets.hits} >= {"lo, protocol 0x88b5", "lo, UDP 127.0.0.1:0 > 127.0.0.2:0"}


def test_without_a_packet_socket_the_ground_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("cloister.observe.prove.grounds.packets.listening", refuse)
    packets = capture()
    ground = packets.report()
    assert not ground.whole.holds
    assert "CAP_NET_RAW" in ground.whole.detail


def test_a_capture_that_misses_its_own_probe_is_not_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloister.observe.prove.grounds.packets.PATIENCE", 0.1)
    packets = Packets(wanted=WANTED)
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    deaf.settimeout(0.05)
    monkeypatch.setattr("cloister.observe.prove.grounds.packets.listening", lambda: deaf)
    monkeypatch.setattr("cloister.observe.prove.grounds.packets.dropped_by", lambda _: 0)
    packets.start()
    packets.finish()
    packets.close()
    assert "were not seen" in packets.report().whole.detail


def test_a_capture_file_is_read_by_others_and_by_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "packets.pcap"
    file = CaptureFile(path)
    file.write(1_500_000_000, (4, 1, b"\1\2\3\4\5\6", IPV4), b"packet")
    file.close()
    data = path.read_bytes()
    assert struct.unpack_from("<IHH", data) == (0xA1B23C4D, 2, 4)
    assert struct.unpack_from("<IIII", data, 24) == (1, 500_000_000, 22, 22)
    assert data.endswith(b"packet")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match=r"packets\.pcap"):
        CaptureFile(path)


def test_blocks_side_by_side_are_one_run() -> None:
    assert runs([1, 2, 3, 7]) == [(4096, 3 * 4096), (7 * 4096, 4096)]
    assert runs([]) == []


def test_a_block_of_several_files_names_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks with blocks of 1 KiB put several files into what is searched as one."""
    blocks = DiskBlocks(wanted=WANTED)
    monkeypatch.setattr(blocks_module, "MAJOR_OF_NONE", -1)
    for name, start in (("gone", 4096), ("report", 5120), ("gone", 4096), ("alone", 8192)):
        monkeypatch.setattr(blocks_module, "physical_extents", lambda _, start=start: [(start, 1024)])
        with (tmp_path / name).open("wb") as file:
            blocks.wrote(file.fileno(), name)
    (places,) = blocks.places.values()
    assert places == {1: "gone or report", 2: "alone"}


def test_files_in_memory_are_on_no_disk() -> None:
    blocks = DiskBlocks(wanted=WANTED)
    with Path("/dev/shm/cloister-test-blocks").open("wb") as file:
        Path(file.name).unlink()
        blocks.wrote(file.fileno(), file.name)
    assert blocks.search() == []
    ground = blocks.report()
    assert ground.whole.holds
    assert "1 file on tmpfs, which is on no disk" in ground.amount


def ended(**changes: object) -> Traces:
    traces = Traces(arm=ArmName.ENCLAVED, secrets=(SECRET,))
    traces.ended = {
        "kind": "end",
        "engine": "tracepoints",
        "calls": 3,
        "size": 40,
        "processes": 1,
        "complete": True,
        "unsearched": [],
        "unreadable": {"secret memory": 2},
        "notes": [],
        **changes,
    }
    return traces


def test_what_a_trace_did_not_see_is_said() -> None:
    assert ended().report().whole.holds
    assert ended().report().name is GroundName.TRACES
    assert "2 arguments not looked at: secret memory" in ended().report().seen
    from_files = ended(unsearched=[["bytes moved inside the kernel", 9, ["sendfile"], False]]).report()
    assert from_files.whole.holds
    assert any("sendfile" in line for line in from_files.seen)
    spliced = ended(unsearched=[["bytes moved inside the kernel", 9, ["splice"], True]]).report()
    assert "splice" in spliced.whole.detail
    assert not spliced.whole.holds
    assert not ended(complete=False).report().whole.holds
    assert not Traces(arm=ArmName.NATIVE, secrets=(SECRET,)).report().whole.holds
