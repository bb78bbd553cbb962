"""The fuzzing targets: all there, with seeds that are read, and every parser of what others hand in among them."""

import ast
import base64
import contextlib
import json
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cbor2
import pytest
from tests.fuzz import fixed, runtime, service, targets_broker
from tests.fuzz.law import SECONDS, Broken, Reader, obey
from tests.fuzz.mutate import mutated
from tests.fuzz.mutate import to_base64url as base64url
from tests.fuzz.seeds import SAMPLES, SEEDS, forged, words
from tests.fuzz.targets import TARGETS

from cloister.broker.audit.report import Grade, LogReport
from cloister.errors import ParseError

SOURCES = Path(__file__).parents[2] / "src" / "cloister"
PLACES = (
    "_*.py", "appraise/*.py", "endorse/*.py", "envelope/*.py", "evidence/*.py", "frameworks/*.py", "result/*.py",
    "app/flow/*.py", "app/measuring.py", "attest/*.py", "broker/**/*.py", "launch/strict.py", "measure/*.py",
    "seal/*.py", "serve/*.py", "shield_policy/*.py", "tls/*.py",
)  # fmt: skip
PARSES = re.compile(
    r"(parse|loads|load|decode|from|of|open|read|import|receive|unseal)(_[a-z_]+)?|certificates_in|(sealed|session|event)_of(_.+)?"
    r"|(verification|signing|signer|cose)_keys?|tcb_info|qe_identity"
)
TAKES = frozenset({
    "body", "data", "der", "document", "files", "header", "image", "line", "message", "pem", "sealed", "sock", "source",
    "table", "text", "token", "value",
})  # fmt: skip
"""What functions call what they parse."""
COVERED = {name for readers in TARGETS.values() for reader in readers for name in reader.covers}
THROUGH = {
    "_cose.CoseSign1.from_value": "CoseSign1.parse and cca.parse",
    "_json.loads": "everything in JSON, of which hcl_bundle, tcb_info and IntelCollateral.from_json are targets",
    "_wire.Record.parse": "every fixed layout: Keystone, SIGSTRUCT, SNP, SEV",
    "_x509.pem_blocks": "Piece.parse, parse_key and signer_keys",
    "appraise.reference_files.read_reference_file": "it chooses between read_corim and read_reference_values",
    "endorse.piece.Piece.of_members": "import_files",
    "envelope.": "open_envelope; cmw and csr are targets besides",
    "endorse.cache.read_file": "it reads a file; the content goes to Piece.parse",
    "evidence.tpm.of_parts": "parse_attest and parse_signature",
    "result.signing.SigningKey.from_pem": "signing_key",
    "seal.sealer.Sealer.unseal_stream": "Sealer.unseal",
    "serve.appraiser.": "Service, which gives it what parse_attestation has read",
    "serve.reload.": "the same",
}
"""Parsers, or whole packages of them, that are not named by a target, and how their inputs get to them all the same."""
EXCLUDED = {
    "endorse.piece.Piece.of_der": "Certificate.parse and Crl.parse, with a name for the file",
    "measure.enclave.EnclaveLayout.of": "it takes what read_image has read",
    "measure.guest.BootParameters.of": "the same",
    "measure.guest.GuestLayout.of": "the same",
    "measure.guest.StartRecord.of": "the same",
    "frameworks.draft.Draft.read_single": "it takes the table of a format; the formats are targets",
    "tls.probe.Address.parse": "a word of the command line",
}
"""Functions that are named like parsers, and why they are no target."""


def test_targets_seeds_and_samples_have_the_same_names() -> None:
    assert list(TARGETS) == list(SEEDS) == list(SAMPLES)
    assert len(TARGETS) >= 31


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_read_or_refused_and_every_reader_reads_one(name: str) -> None:
    seeds = forged(name)
    assert seeds
    for reader in TARGETS[name]:
        assert sum(obey(reader, seed) for seed in seeds), f"no seed of {name} is read by {reader.covers[0]}"


def test_textual_seeds_give_a_dictionary() -> None:
    assert {b"mrenclave", b"reference_values"} <= {*words(forged("policy"))}
    assert words([b"\0binary"]) == []


def parsers() -> Iterator[str]:
    """Every public function and method that is named like a parser and takes bytes or text."""
    for pattern in PLACES:
        for path in sorted(SOURCES.glob(pattern)):
            module = ".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__")
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef):
                    yield from named(module, node)
                elif isinstance(node, ast.ClassDef):
                    for member in node.body:
                        yield from named(f"{module}.{node.name}", member)


def named(place: str, node: ast.stmt) -> Iterator[str]:
    """The function's name with its module, if it is a parser."""
    if isinstance(node, ast.FunctionDef) and PARSES.fullmatch(node.name):
        arguments = [one.arg for one in node.args.args if one.arg not in {"self", "cls"}]
        if TAKES & {*arguments[:2]} and "_" not in {node.name[0], place.rpartition(".")[2][0]} - {"_"}:
            yield f"{place}.{node.name}"


def test_the_list_of_parsers_is_not_empty() -> None:
    found = {*parsers()}
    assert {"evidence.sgx.parse", "_x509.Crl.parse", "result.keys.verification_keys", "_cose_crypto.cose_key"} <= found
    assert {"broker.session.read.parse_session", "attest.frames.receive", "seal.sealer.Sealer.unseal"} <= found
    assert len(found) > 75


@pytest.mark.parametrize("name", [*parsers()])
def test_every_parser_is_fuzzed(name: str) -> None:
    through = any(name == one or (one.endswith(".") and name.startswith(one)) for one in THROUGH)
    assert name in COVERED or through or name in EXCLUDED, f"{name}: name it in a target, or say why not"


def test_what_targets_and_exceptions_name_exists() -> None:
    found = {*parsers()}
    for name in {*COVERED, *THROUGH} - found:
        parts = name.rstrip(".").split(".")
        places = [SOURCES.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
        assert any(place.is_dir() or place.with_suffix(".py").is_file() for place in places), name
    assert EXCLUDED.keys() <= found


def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable is what it must be


# ---------------------------------------------------------------- the law itself can be broken


def dawdle() -> None:
    end = time.thread_time() + SECONDS
    while time.thread_time() <= end:
        pass


def refuse(_data: bytes) -> bytes:
    raise ParseError("x", "y", 0, "z")


def test_a_refusal_keeps_the_law() -> None:
    assert not obey(Reader(covers=("x",), read=refuse), b"")


@pytest.mark.parametrize("reader", [
    Reader(covers=("x",), read=lambda data: data, write=lambda data: data + b"!"),
    Reader(covers=("x",), read=lambda data: data, write=lambda data: data + b"!", exact=False),
    Reader(covers=("x",), read=lambda data: data, recognise=lambda _: None),  # type: ignore[arg-type,return-value]
    Reader(covers=("x",), read=lambda _: dawdle()),
    Reader(covers=("x",), read=refuse, never_quoted=b"byte 0"),
], ids=["writes other bytes", "writes what reads otherwise", "says not what it is", "is slow", "quotes"])  # fmt: skip
def test_what_breaks_the_law_is_found(reader: Reader) -> None:
    with pytest.raises(Broken):
        obey(reader, b"data")


def test_what_escapes_is_not_caught() -> None:
    with pytest.raises(KeyError):
        obey(Reader(covers=("x",), read=lambda data: {b"other": 1}[data]), b"")


# ---------------------------------------------------------------- the targets' own judgement


def test_an_answer_that_is_a_failure_of_the_service_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloister.serve.kbs.parse_request", {}.__getitem__)
    with pytest.raises(Broken, match="KeyError"):
        service.answer(b"POST /kbs/v0/auth\n\n{}")


def test_a_changed_log_that_is_called_intact_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    good = verify_log_of(monkeypatch)
    lines = b"".join(one.line() + b"\n" for one in fixed.log())
    assert targets_broker.log(lines) is good
    with pytest.raises(Broken, match="called intact"):
        targets_broker.log(lines[:-1])


def verify_log_of(monkeypatch: pytest.MonkeyPatch) -> LogReport:
    """A verification that calls everything intact."""
    report = LogReport(grade=Grade.INTACT, reason="x", entries=0, first=None, last=None, key=b"", torn=0)
    monkeypatch.setattr(targets_broker, "verify_log", lambda *_, **__: report)
    return report


# ---------------------------------------------------------------- the runtime's C readers


@pytest.fixture(scope="module")
def readers() -> Path:
    if shutil.which("cc") is None:
        pytest.skip("not installed: cc")
    return runtime.readers()


def test_whole_inputs_are_taken_and_changed_ones_as_is_expected(readers: Path) -> None:
    whole = [(kind, data) for kind, some in runtime.INPUTS.items() for data in some]
    said = dict(zip(whole, runtime.asked(readers, whole), strict=True))
    for kind in "mbrfh":
        assert any(said[kind, data] != "refused" for data in runtime.INPUTS[kind]), kind
    given = [*runtime.inputs(chance(5), 3000)]
    for one, answer in zip(given, runtime.asked(readers, given), strict=True):
        assert runtime.agrees(one, answer), (one, answer)


def test_a_reader_that_reads_on_behind_the_end_is_found(tmp_path: Path) -> None:
    """The same program with a length that is not compared: this is what the sanitizers are there for."""
    if shutil.which("cc") is None:
        pytest.skip("not installed: cc")
    region = (runtime.RUNTIME / "src" / "region.c").read_text()
    broken = region.replace("size > (u64)(reader->end - reader->at)", "size > (u64)(reader->end - reader->at) + 64")
    assert broken != region
    (tmp_path / "region.c").write_text(broken)
    program = runtime.readers(before=tmp_path)
    given = [*runtime.inputs(chance(5), 3000)]
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        runtime.asked(program, given)


# ---------------------------------------------------------------- changes to documents


DOCUMENTS = {
    "JSON": b'{"a":[1,"x"],"b":{}}',
    "CBOR": cbor2.dumps(cbor2.CBORTag(501, {0: "x", 1: [b"y"]})),
    "a JWT": base64url(b'{"alg":"ES256"}') + b"." + base64url(b'{"a":[1,2]}') + b".AAAA",
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_changed_document_is_another_one_of_its_kind(kind: str) -> None:
    original = DOCUMENTS[kind]
    made = {mutated(original, chance(seed)) for seed in range(200)}
    assert made == {mutated(original, chance(seed)) for seed in range(200)}
    assert len(made - {None, original}) > 50
    for one in made - {None}:
        assert one is not None
        if kind == "CBOR":
            cbor2.loads(one)
        else:
            assert one.count(b".") == original.count(b".") or kind == "JSON"
            json.loads(one if kind == "JSON" else b"{}")


@pytest.mark.parametrize(("encode", "decode"), [
    (bytes.hex, bytes.fromhex), (lambda data: base64.b64encode(data).decode(), base64.b64decode),
    (bytes.decode, str.encode),
], ids=["hexadecimal", "base64", "as it is"])  # fmt: skip
def test_documents_inside_text_are_changed_too(encode: Callable[[bytes], str], decode: Callable[[str], bytes]) -> None:
    inner = {"version": 3, "levels": [1, 2, 3]}
    text = encode(json.dumps(inner).encode())
    found = []
    for seed in range(200):
        made = mutated(json.dumps([text]).encode(), chance(seed))
        assert made is not None
        with contextlib.suppress(ValueError, TypeError, IndexError, AttributeError, KeyError):
            found.append(json.loads(decode(json.loads(made)[0])))
    assert len([one for one in found if one != inner and "version" in str(one)]) > 10


@pytest.mark.parametrize("data", [b"", b"x", b"\x30\x03\x02\x01\x00", b"{", b"ey.x.y", b"\xff\xff"])
def test_other_bytes_are_left_to_the_fuzzer(data: bytes) -> None:
    assert mutated(data, chance(1)) is None
