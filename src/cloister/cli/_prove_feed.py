"""How `cloister prove` feeds the secret: options, and what they mean together."""

import argparse
import hashlib
import re
from pathlib import Path

from cloister import _x509
from cloister.cli._shield_file import read_policy_file
from cloister.errors import ParseError, UsageError
from cloister.observe.prove.plan import (
    Console,
    Feed,
    FeedArgument,
    FeedEnvironment,
    FeedFile,
    FeedSend,
    FeedStdin,
    FeedTerminal,
    Tls,
)
from cloister.observe.prove.secret import decode_escapes
from cloister.shield.local_keys import LocalKeys
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import ListenEntry
from cloister.shield_policy.resolve import resolve
from cloister.shield_policy.words import Transport

__all__ = ["console_of", "feed_of", "feeding_options", "host_and_port", "pattern", "refuse", "shield_of"]

LAST_PORT = 65535
DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
TYPED = ("stdin", "tty")
FORWARDED = {"INT", "TERM", "HUP", "QUIT"}


def feeding_options(group: argparse._ArgumentGroup) -> None:
    """How the secret reaches the program."""
    group.add_argument("--feed", metavar="HOW", help="stdin (default), tty, env:NAME, arg, file, file:PATH, send")
    group.add_argument(
        "--template", metavar="TEXT", help=r"what is fed around the secret, such as 'password={secret}\n'"
    )
    group.add_argument("--prompt", metavar="REGEX", help="feed stdin or tty once the program's output matches")
    group.add_argument("--eof", action="store_true", help="close standard input after feeding it")
    group.add_argument(
        "--console", action="store_true",
        help="shield the enclaved program's console: stdin or tty is fed through `cloister attach`",
    )  # fmt: skip
    group.add_argument(
        "--manifest", metavar="FILE", type=Path, help="with --console: files that may become code (`cloister measure`)"
    )
    group.add_argument("--unlink", action="store_true", help="remove the feed file once the program is ready")
    group.add_argument(
        "--send", nargs=2, metavar=("HOST:PORT", "TEXT"),
        help="send TEXT to a TCP port; with TLS if --shield protects that port, whose key is then known",
    )  # fmt: skip
    group.add_argument(
        "--send-tls", nargs=2, metavar=("HOST:PORT", "TEXT"), help="the same to a program that speaks TLS itself"
    )
    group.add_argument(
        "--server-key", metavar="KEY", action="append", default=[],
        help="whose key it must have: sha256:HEX of its SubjectPublicKeyInfo, or a certificate (PEM); repeatable",
    )  # fmt: skip
    group.add_argument(
        "--client", nargs=2, metavar=("CERTIFICATE", "KEY"), type=Path, help="for a server that asks for them (PEM)"
    )
    group.add_argument("--expect", metavar="REGEX", help="what the reply must match (default: any byte)")


def feed_of(args: argparse.Namespace, directory: Path) -> Feed:
    """The options as a Feed; an option that the feed does not use is an error, not ignored."""
    sent = args.send or args.send_tls
    how, _, detail = (args.feed or ("send" if sent else "stdin")).partition(":")
    check(args, how)
    template = {} if args.template is None else {"template": decode_escapes(args.template)}
    if how == "stdin":
        return FeedStdin(close=args.eof, **template)
    if how == "tty":
        return FeedTerminal(**template)
    if how == "env" and detail:
        return FeedEnvironment(name=detail, **template)
    if how == "arg":
        return FeedArgument()
    if how == "file":
        path = Path(detail).absolute() if detail else directory / "secret"
        return FeedFile(path=path, unlink=args.unlink, **template)
    if how == "send" and sent:
        return send_of(args)
    raise UsageError(f"--feed {args.feed}: use stdin, tty, env:NAME, arg, file, file:PATH, or --send HOST:PORT TEXT")


def check(args: argparse.Namespace, how: str) -> None:
    """UsageError for options that do not go together."""
    refuse(args.send is not None and how != "send", f"--send does not go with --feed {how}")
    refuse(args.send_tls is not None and how != "send", f"--send-tls does not go with --feed {how}")
    refuse(args.send and args.send_tls, "--send and --send-tls: give one of them")
    refuse(args.expect is not None and how != "send", "--expect goes with --send")
    refuse(args.server_key and not args.send_tls, "--server-key goes with --send-tls; of a shielded port it is known")
    refuse(args.client and how != "send", "--client goes with --send-tls, or with --send to a shielded port")
    refuse(args.prompt is not None and how not in TYPED, "--prompt goes with --feed stdin and --feed tty")
    refuse(args.eof and how != "stdin", "--eof goes with --feed stdin")
    refuse(args.unlink and how != "file", "--unlink goes with --feed file")
    refuse(args.template is not None and how in {"arg", "send"}, f"--template does not go with --feed {how}")
    refuse(args.console and how not in TYPED, "--console goes with --feed stdin and --feed tty: who attaches types")
    refuse(args.console and args.tee is not None, "--console is for the software enclave, and does not go with --tee")
    refuse(args.manifest is not None and not args.console, "--manifest goes with --console")
    if args.console and args.finish is None:
        name = args.stop.upper().removeprefix("SIG")
        refuse(name not in FORWARDED, f"--stop {args.stop}: `cloister run --console` forwards INT, TERM, HUP and QUIT")


def send_of(args: argparse.Namespace) -> FeedSend:
    """--send, --send-tls, and --expect."""
    address, text = args.send or args.send_tls
    host, port = host_and_port(address)
    tls = of_its_own(args) if args.send_tls else of_the_shield(args, port)
    template = decode_escapes(text)
    if args.expect is None:
        return FeedSend(host=host, port=port, template=template, tls=tls)
    return FeedSend(host=host, port=port, template=template, tls=tls, expect=pattern(args.expect))


def of_its_own(args: argparse.Namespace) -> Tls:
    """A program that speaks TLS natively too."""
    refuse(not args.server_key, "--send-tls needs --server-key: whose key does the server have?")
    return Tls(pins=tuple(map(pin, args.server_key)), natively=True, client=client_of(args))


def of_the_shield(args: argparse.Namespace, port: int) -> Tls | None:
    """A port that the policy of --shield has TLS on: the key is that of its certificate there. UsageError."""
    block = shield_block(args)
    entry = next((one for one in block.entries if isinstance(one, ListenEntry) and one.port == port), None)
    if entry is None or entry.transport is Transport.PLAIN:
        refuse(args.client, f"--client: port {port} is not shielded, so nobody asks for a certificate")
        return None
    refuse(
        entry.needs_client and not args.client,
        f"port {port} takes only clients that it knows: --client CERTIFICATE KEY gives one of them",
    )
    return Tls(pins=(key_of(entry.certificates[0], "the port's certificate"),), natively=False, client=client_of(args))


def client_of(args: argparse.Namespace) -> tuple[Path, Path] | None:
    """--client."""
    if not args.client:
        return None
    for path in args.client:
        refuse(not path.is_file(), f"--client: {path} is no file")
    return args.client[0], args.client[1]


def pin(text: str) -> bytes:
    """sha256:HEX, or the key of the first certificate in a file. UsageError."""
    if found := DIGEST.fullmatch(text):
        return bytes.fromhex(found[1])
    refuse(text.startswith("sha256:"), f"--server-key {text}: a pin is sha256: and 64 hexadecimal digits")
    return key_of(LocalKeys().certificate(text, "--server-key"), text)


def key_of(certificate: bytes, what: str) -> bytes:
    """The SHA-256 of its SubjectPublicKeyInfo. UsageError."""
    try:
        return hashlib.sha256(_x509.Certificate.parse(certificate).spki).digest()
    except ParseError as error:
        raise UsageError(f"{what} cannot be read: {error}") from None


def console_of(args: argparse.Namespace) -> Console | None:
    """--console, with its manifest, and the shields that the person seals with it."""
    if not args.console:
        return None
    block = shield_block(args)
    refuse(block.console is not None, f"{args.shield}: --console shields the console; leave out [shield.console]")
    files = (path.absolute() if path else None for path in (args.manifest, args.shield))
    manifest, shield = files
    refuse(manifest and not manifest.is_file(), f"--manifest {args.manifest}: no such file")
    return Console(manifest=manifest, shield=shield)


def shield_of(args: argparse.Namespace) -> bytes:
    """The block of --shield, for an arm that is started with it."""
    if args.shield is None or args.console:
        return b""
    block = shield_block(args)
    refuse(
        block.console is not None,
        f"{args.shield}: a shielded console needs a person: --console, without [shield.console]",
    )
    return block.serialize()


def shield_block(args: argparse.Namespace) -> ShieldBlock:
    """The policy of --shield, with keys from this machine; nothing is shielded without it."""
    if args.shield is None:
        return ShieldBlock(strict=False, network=False)
    refuse(args.tee is not None, "--shield does not go with --tee: shields are of the software enclave")
    block = resolve(read_policy_file(args.shield), LocalKeys())
    refuse(
        not args.console and any(getattr(one, "transport", None) is Transport.RA_TLS for one in block.entries),
        f"{args.shield}: ra-tls shows evidence, which comes from an attester, and there is none here; prove the same "
        'program with protocol = "tls"',
    )
    return block


def host_and_port(text: str) -> tuple[str, int]:
    """HOST:PORT, with brackets around an IPv6 address."""
    host, _, port = text.rpartition(":")
    refuse(
        not host or not port.isdecimal() or not 0 < int(port) <= LAST_PORT,
        f"{text}: use HOST:PORT, such as 127.0.0.1:6379",
    )
    return host.removeprefix("[").removesuffix("]"), int(port)


def pattern(text: str) -> re.Pattern[bytes]:
    """A regular expression over bytes."""
    try:
        return re.compile(text.encode())
    except re.error as error:
        raise UsageError(f"{text!r} is not a regular expression: {error}") from error


def refuse(condition: object, message: str) -> None:
    """Raise UsageError if options contradict one another."""
    if condition:
        raise UsageError(message)
