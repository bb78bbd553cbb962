"""One packet taken apart as far as a search needs: who sent it to whom, and where in which stream its data stands.

RFC 791 (IPv4), RFC 8200 (IPv6), RFC 9293 (TCP), RFC 768 (UDP). What is not one of these, or cut short, is data.
"""

import ipaddress
import struct
from dataclasses import dataclass

__all__ = ["Segment", "segment_of"]

ETHERTYPE_IPV4, ETHERTYPE_IPV6 = 0x0800, 0x86DD
TCP, UDP = 6, 17
NAMES = {TCP: "TCP", UDP: "UDP"}
IPV4_LEAST, IPV6_HEAD, TCP_LEAST, UDP_HEAD = 20, 40, 20, 8
EXTENSIONS = {0, 43, 60}  # hop-by-hop, routing, destination options: each says where the next begins
FRAGMENT = 44
FRAGMENT_HEAD = 8
FRAGMENTED = 0x1FFF  # a later fragment has no TCP or UDP header


@dataclass(frozen=True, slots=True)
class Segment:
    """`flow` names both ends in the direction of the packet. `sequence` is the place of `payload` in a TCP stream."""

    flow: str
    source: tuple[str, int]
    target: tuple[str, int]
    sequence: int | None
    payload: bytes


def segment_of(protocol: int, packet: bytes) -> Segment:
    """The segment in a packet, whose `protocol` is an EtherType."""
    if protocol == ETHERTYPE_IPV4 and len(packet) >= IPV4_LEAST:
        head = (packet[0] & 0xF) * 4
        later = int.from_bytes(packet[6:8], "big") & FRAGMENTED
        ends = (address(packet[12:16]), address(packet[16:20]))
        return transport(packet[9] if not later else -1, ends, packet[max(head, IPV4_LEAST) :])
    if protocol == ETHERTYPE_IPV6 and len(packet) >= IPV6_HEAD:
        number, start = after_extensions(packet)
        return transport(number, (address(packet[8:24]), address(packet[24:40])), packet[start:])
    return Segment(f"protocol {protocol:#06x}", ("", 0), ("", 0), None, packet)


def address(data: bytes) -> str:
    """An address as people write it."""
    return str(ipaddress.ip_address(data))


def after_extensions(packet: bytes) -> tuple[int, int]:
    """Protocol number and offset of what follows the IPv6 headers; -1 for a later fragment."""
    number, start = packet[6], IPV6_HEAD
    while number in EXTENSIONS and len(packet) >= start + 2:
        number, start = packet[start], start + (packet[start + 1] + 1) * 8
    if number == FRAGMENT and len(packet) >= start + FRAGMENT_HEAD:
        later = int.from_bytes(packet[start + 2 : start + 4], "big") >> 3
        return (-1 if later else packet[start]), start + FRAGMENT_HEAD
    return number, start


def transport(number: int, ends: tuple[str, str], data: bytes) -> Segment:
    """What is inside IP. `ends` are the addresses of source and target."""
    source, target = ends
    if number == TCP and len(data) >= TCP_LEAST:
        sport, dport, sequence = struct.unpack_from(">HHI", data)
        return named("TCP", (source, sport), (target, dport), sequence, data[max((data[12] >> 4) * 4, TCP_LEAST) :])
    if number == UDP and len(data) >= UDP_HEAD:
        sport, dport = struct.unpack_from(">HH", data)
        return named("UDP", (source, sport), (target, dport), None, data[UDP_HEAD:])
    return Segment(f"IP protocol {number}, {source} > {target}", (source, 0), (target, 0), None, data)


def named(name: str, source: tuple[str, int], target: tuple[str, int], sequence: int | None, payload: bytes) -> Segment:
    """A segment between two ports."""
    return Segment(f"{name} {end(source)} > {end(target)}", source, target, sequence, payload)


def end(of: tuple[str, int]) -> str:
    """Address and port."""
    host, port = of
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
