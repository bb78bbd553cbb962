"""Fixed-layout records: declared once, parsed strictly, serialized exactly.

    class Header(Record, size=8):
        version: int = u16(equals=3)
        key_type: int = u16()
        reserved_4: bytes = reserved(4)

    Header.parse(data)        # exact length, known constants, zero reserved bytes, or ParseError
    header.serialize()        # the same bytes again

A record is immutable. `Reader` is for what has no fixed layout: it takes bytes from the front and names what it was
taking when something is wrong.
"""

import struct
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NoReturn, Self, TypeVar, dataclass_transform

from cloister.errors import ParseError

__all__ = ["Reader", "Record", "frozen", "nested", "raw", "reserved", "u8", "u16", "u32", "u64"]

T = TypeVar("T")


class Field:
    """One declared field: its struct code, and what its value must be."""

    __slots__ = ("code", "equals", "in_init", "record", "size")

    def __init__(
        self, code: str, size: int, *, equals: object = None, record: "type[Record] | None" = None, in_init: bool = True
    ) -> None:
        self.code, self.size, self.equals, self.record, self.in_init = code, size, equals, record, in_init


def u8(*, equals: int | None = None) -> Any:  # noqa: ANN401 - the annotation beside it is the type
    """One byte."""
    return Field("B", 1, equals=equals)


def u16(*, equals: int | None = None) -> Any:  # noqa: ANN401
    """Two bytes, in the record's byte order."""
    return Field("H", 2, equals=equals)


def u32(*, equals: int | None = None) -> Any:  # noqa: ANN401
    """Four bytes, in the record's byte order."""
    return Field("I", 4, equals=equals)


def u64(*, equals: int | None = None) -> Any:  # noqa: ANN401
    """Eight bytes, in the record's byte order."""
    return Field("Q", 8, equals=equals)


def raw(size: int, *, equals: bytes | None = None) -> Any:  # noqa: ANN401
    """Exactly `size` bytes as they are."""
    return Field(f"{size}s", size, equals=equals)


def reserved(size: int, *, init: Literal[False] = False) -> Any:  # noqa: ANN401
    """`size` bytes that must be zero. Name the field `reserved_<offset>`; it is not an argument of the constructor."""
    return Field(f"{size}s", size, equals=bytes(size), in_init=init)


def nested(record: "type[Record]") -> Any:  # noqa: ANN401
    """Another record inside this one."""
    return Field(f"{record.SIZE}s", record.SIZE, record=record)


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(u8, u16, u32, u64, raw, reserved, nested)
)
class Record:
    """A structure of `SIZE` bytes with named fields, in declared order, without gaps."""

    SIZE: ClassVar[int] = 0
    OFFSETS: ClassVar[dict[str, int]] = {}
    _fields: ClassVar[dict[str, Field]] = {}
    _byte_order: ClassVar[Literal["<", ">"]] = "<"
    _struct: ClassVar[struct.Struct]
    _names: ClassVar[tuple[str, ...]]
    _fixed: ClassVar[tuple[tuple[int, object], ...]]
    _records: ClassVar[tuple[tuple[int, "type[Record]"], ...]]

    def __init_subclass__(cls, *, size: int, byte_order: Literal["<", ">"] | None = None) -> None:
        """Collect the fields and check that they add up to `size` bytes. Little-endian, or as the base is."""
        fields = cls._fields | {name: value for name, value in vars(cls).items() if isinstance(value, Field)}
        cls._fields, cls._byte_order = fields, byte_order or cls._byte_order
        for name in [name for name in fields if name in vars(cls)]:
            delattr(cls, name)
        cls._names = tuple(fields)
        cls._struct = struct.Struct(cls._byte_order + "".join(field.code for field in fields.values()))
        cls._fixed = tuple((i, f.equals) for i, f in enumerate(fields.values()) if f.equals is not None)
        cls._records = tuple((i, f.record) for i, f in enumerate(fields.values()) if f.record is not None)
        cls.SIZE, cls.OFFSETS, offset = size, {}, 0
        for name, field in fields.items():
            cls.OFFSETS[name] = offset
            offset += field.size
        if offset != size:
            raise TypeError(f"{cls.__name__} is declared with {size} bytes, its fields have {offset}")

    def __init__(self, **values: Any) -> None:  # noqa: ANN401
        fields = type(self)._fields
        given = {name: field.equals for name, field in fields.items() if field.equals is not None} | values
        if given.keys() != fields.keys():
            odd = sorted(given.keys() ^ fields.keys())
            raise TypeError(f"{type(self).__name__}: missing or unknown fields: {', '.join(odd)}")
        self.__dict__.update({name: given[name] for name in fields})

    @classmethod
    def parse(cls, data: bytes, *, base: int = 0) -> Self:
        """Read exactly `SIZE` bytes; `base` is where they stand in the whole input, for error messages."""
        if len(data) != cls.SIZE:
            raise ParseError(cls.__name__, "length", base, f"{len(data)} bytes; this record has exactly {cls.SIZE}")
        values: Any = cls._struct.unpack(data)
        for index, expected in cls._fixed:
            if values[index] != expected:
                cls._refuse(index, expected, values[index], base)
        if cls._records:
            values = list(values)
            for index, record in cls._records:
                values[index] = record.parse(values[index], base=base + cls.OFFSETS[cls._names[index]])
        made = object.__new__(cls)
        made.__dict__.update(zip(cls._names, values))  # noqa: B905 - struct made one value a name; strict doubles the cost
        return made

    @classmethod
    def _refuse(cls, index: int, expected: object, value: object, base: int) -> NoReturn:
        name = cls._names[index]
        if name.startswith("reserved"):
            reason = "reserved bytes must be zero"
        else:
            reason = f"is {shown(value)}; only {shown(expected)} is understood"
        raise ParseError(cls.__name__, name, base + cls.OFFSETS[name], reason)

    def serialize(self) -> bytes:
        """The bytes that `parse` would read as this record."""
        return self._struct.pack(*(one.serialize() if isinstance(one, Record) else one for one in self._values()))

    def fields(self) -> list[tuple[str, Any]]:
        """Name and value of every field, in order."""
        return list(zip(self._names, self._values(), strict=True))

    def _values(self) -> list[Any]:
        """The fields in order, and only they: a cached property may stand beside them."""
        own = self.__dict__
        return [own[name] for name in self._names]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and type(other) is type(self) and other._values() == self._values()

    def __hash__(self) -> int:
        return hash((type(self), *self._values()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be set")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={shown(getattr(self, name))}' for name in self._names)})"


def shown(value: object) -> str:
    """A value as messages show it: numbers in hexadecimal, bytes as hexadecimal digits."""
    if isinstance(value, bytes):
        return value.hex()
    return hex(value) if isinstance(value, int) else str(value)


def frozen(kind: type[T], attributes: Mapping[str, object]) -> T:
    """A frozen dataclass with exactly these attributes: all fields, and what its cached properties would find out.

    Its own constructor sets one field after the other around the freezing, which takes longer than reading them.
    """
    made = object.__new__(kind)
    made.__dict__.update(attributes)
    return made


class Reader:
    """Takes bytes from the front of `data`; every step names the field, so that an error can.

    `base` is where `data` stands in the whole input.
    """

    __slots__ = ("_data", "_end", "_order", "base", "offset", "record")

    def __init__(self, data: bytes, record: str, *, order: Literal["little", "big"] = "little", base: int = 0) -> None:
        self._data, self.record, self._order, self.base, self.offset = data, record, order, base, 0
        self._end = len(data)

    @property
    def left(self) -> int:
        """How many bytes have not been taken yet."""
        return self._end - self.offset

    def take(self, size: int, field: str) -> bytes:
        """The next `size` bytes."""
        start = self.offset
        end = start + size
        if size < 0 or end > self._end:
            raise self.error(field, f"needs {size} bytes, {self.left} are left")
        self.offset = end
        return self._data[start:end]

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(self.left, "rest")

    def integer(self, size: int, field: str) -> int:
        """The next `size` bytes as an unsigned number."""
        return int.from_bytes(self.take(size, field), self._order)

    def u8(self, field: str) -> int:
        """The next byte."""
        return self.integer(1, field)

    def u16(self, field: str) -> int:
        """The next two bytes."""
        return int.from_bytes(self.take(2, field), self._order)

    def u32(self, field: str) -> int:
        """The next four bytes."""
        return int.from_bytes(self.take(4, field), self._order)

    def u64(self, field: str) -> int:
        """The next eight bytes."""
        return self.integer(8, field)

    def finish(self) -> None:
        """Refuse what is left over."""
        if self.left:
            raise self.error("end", f"{self.left} bytes too many")

    def error(self, field: str, reason: str) -> ParseError:
        """A ParseError about the next byte, to be raised."""
        return ParseError(self.record, field, self.base + self.offset, reason)
