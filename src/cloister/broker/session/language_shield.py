"""The part of the language that says what is shielded: the keys of docs/formats/shield.md, but for local files.

What two keys mean together is checked in `cloister.shield_policy.reading`, which reads shield policies in TOML too.
"""

from typing import Final

from cloister.broker.session.grammar import Choice, Field, Flag, Many, Record, Text, Whole
from cloister.broker.session.language_names import name
from cloister.shield_policy.words import FileKind, Transport

__all__ = ["shield", "shield_connect", "shield_console", "shield_files", "shield_listen"]

NO_FILE: Final = "the broker reads no files of the program's machine: name a secret of this session"
HINTS: Final = dict.fromkeys(("unsafe_key_file", "unsafe_certificate_file"), NO_FILE)
path = Text(words="an absolute path without control characters", pattern=r"/[^\x00-\x1f\x7f]*", longest=1024)
port = Whole(1, 65535)
protocol = Choice(tuple(one.word for one in Transport))
pins = Many(
    Text(words="sha256: and 64 hexadecimal digits", pattern="sha256:[0-9a-fA-F]{64}"), 64
)  # fmt: skip
label = Text(words="a name", pattern=r"[^\x00-\x1f\x7f]+", longest=256)
plain = Flag()

shield_files = Record(
    {
        "path": Field(path, "what the program sees: a region, everything at and below this path", required=True),
        "kind": Field(
            Choice(tuple(one.word for one in FileKind), {"tmpfs": "write memory"}),
            "encrypted, authenticated, memory (never on a disk) or plain", required=True,
        ),
        "volume": Field(path, "of encrypted and authenticated: the volume's file on the program's machine"),
        "key": Field(name, "the volume's key: a secret of kind aes-key or binary, of 32 bytes"),
        "root": Field(
            Text(words="broker, or GENERATION:SHA-256", pattern="broker|[1-9][0-9]{0,18}:[0-9a-f]{64}"),
            "no older state of the volume than GENERATION:SHA-256; `broker`: than the newest that was reported here",
        ),
        "create": Field(Flag(), "make the volume if its file is empty or absent, where no root is known"),
        "read_only": Field(Flag(), "the program cannot write there"),
        "cache": Field(
            Text(words="a size, like 256 MiB", pattern="[1-9][0-9]{0,9} ?(?:KiB|MiB|GiB)"),
            "memory for the volume's blocks; 64 MiB is the default",
        ),
        "name": Field(label, "what the root is kept under; the path is the default"),
        "unsafe_plain": Field(plain, "must be true for kind plain: the host reads and changes these files"),
    },
    HINTS,
)  # fmt: skip
shield_listen = Record(
    {
        "port": Field(port, "a port on which the program accepts", required=True),
        "protocol": Field(protocol, "tls, ra-tls (the certificate carries evidence) or plain", required=True),
        "certificate": Field(name, "of tls: a secret of kind x509"),
        "clients": Field(pins, "the only keys that clients may have: SHA-256 of SubjectPublicKeyInfo"),
        "name": Field(label, "for messages"),
        "unsafe_plain": Field(plain, "must be true for plain: everybody on the way reads and changes it"),
    },
    HINTS,
)
shield_connect = Record(
    {
        "address": Field(
            Text(words="an address in digits, or any", pattern="any|[0-9a-fA-F:.]{2,45}"),
            "where the program may connect to: an address in digits, or any", required=True,
        ),
        "port": Field(port, "the port there", required=True),
        "protocol": Field(protocol, "tls, ra-tls (the certificate carries evidence) or plain", required=True),
        "server_name": Field(label, "sent to the server (SNI)"),
        "pins": Field(pins, "the only keys that the server may have: SHA-256 of SubjectPublicKeyInfo"),
        "certificate": Field(name, "the program's own: a secret of kind x509"),
        "name": Field(label, "for messages"),
        "unsafe_plain": Field(plain, "must be true for plain: everybody on the way reads and changes it"),
        "unsafe_any_server": Field(Flag(), "in place of pins: whoever answers is believed"),
    },
    HINTS,
)  # fmt: skip
shield_console = Record(
    {
        "key": Field(name, "the console's key: a secret of kind aes-key or binary, of 32 bytes", required=True),
        "terminal": Field(Flag(), "the person has a terminal: the program sees a tty"),
        "rows": Field(port, "of that terminal"),
        "columns": Field(port, "of that terminal, too"),
    },
    HINTS,
)
shield = Record(
    {
        "strict": Field(Flag(), "true, the default: paths in no region are refused"),
        "unsafe_open_files": Field(Flag(), "paths in no region are the host's files"),
        "unsafe_open_network": Field(Flag(), "connections that are not listed go through in the clear"),
        "files": Field(Many(shield_files, 32), "regions of paths, and what is behind them"),
        "listen": Field(Many(shield_listen, 64), "ports on which the program accepts"),
        "connect": Field(Many(shield_connect, 64), "where the program may connect to"),
        "console": Field(shield_console, "standard input, output and error, for the holder of a key"),
    },
)
