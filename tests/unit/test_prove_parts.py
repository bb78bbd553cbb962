"""The pure parts of the experiment: secrets, searching, output shapes, checkpoint records, the command line."""

import argparse
import base64
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from tests.property.tls_pieces.identities import known

from cloister.cli import prove as command
from cloister.errors import ObservationError, UsageError
from cloister.observe.family import Member
from cloister.observe.findings import Coverage, Scan
from cloister.observe.prove.book import Book
from cloister.observe.prove.checkpoint import parse_record
from cloister.observe.prove.compare import compare_outputs, reduce_output
from cloister.observe.prove.descriptors import Hit
from cloister.observe.prove.files import Tree, core_directory
from cloister.observe.prove.offspring import Offspring
from cloister.observe.prove.plan import (
    AfterDelay,
    Comparison,
    Console,
    FeedArgument,
    FeedEnvironment,
    FeedFile,
    FeedSend,
    FeedStdin,
    FinishInput,
    OnOutput,
    OnPort,
    Plan,
    StopSignal,
    Tls,
)
from cloister.observe.prove.record import Moment, Surface, Trigger
from cloister.observe.prove.secret import Secret, decode_escapes, fill
from cloister.observe.prove.surfaces import Look
from cloister.observe.prove.wanted import Wanted

SECRET = Secret(label="it", value=b"Qm7xK2pLw9ZtR4vYc8NbJ3hGs6Df")
WANTED = Wanted.of((SECRET,))
PIN = "sha256:" + "ab" * 32
ANY = re.compile(rb"(?s).")


def test_secrets_are_fresh_and_do_not_show() -> None:
    first, second = Secret.fresh("a"), Secret.fresh("a")
    assert first.value != second.value
    assert first.text.isalnum()
    assert first.text not in repr(first)


def test_escapes() -> None:
    assert decode_escapes(r"a\n\r\t\0\e\x41\\n{secret}é") == b"a\n\r\t\0\x1bA\\n{secret}" + "é".encode()
    for wrong in (r"\q", r"\x4", r"\x", "end\\"):
        with pytest.raises(UsageError):
            decode_escapes(wrong)


def test_fill() -> None:
    assert fill(b"password={secret}\n", SECRET) == b"password=" + SECRET.value + b"\n"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"..." + SECRET.value + b"...", ("it", "raw")),
        (SECRET.value[:14], ("it", "raw (first half)")),
        (SECRET.value[14:], ("it", "raw (second half)")),
        (base64.b64encode(b"xx" + SECRET.value + b"yy"), ("it", "base64@2")),
        (SECRET.value.hex().encode(), ("it", "hex")),
    ],
)
def test_search(data: bytes, found: tuple[str, str]) -> None:
    assert found in WANTED.search(data)


def test_search_finds_nothing_in_other_data() -> None:
    assert WANTED.search(Secret.fresh("other").value * 50) == set()
    assert WANTED.search(SECRET.value[:13]) == set()


def test_a_process_name_holds_fifteen_characters() -> None:
    assert WANTED.search_name(SECRET.value[3:18]) == {("it", "raw (part)")}
    assert WANTED.search_name(b"python3\n") == set()


def test_redaction_leaves_no_eight_characters_in_a_row() -> None:
    for shown in (SECRET.text, SECRET.text[5:20], SECRET.value.hex(), base64.b64encode(SECRET.value).decode()):
        redacted = WANTED.redact(f"/tmp/x-{shown}.txt")
        assert "<it" in redacted
        assert not WANTED.search(redacted.encode())
        assert not WANTED.search_name(redacted.encode())
    assert WANTED.redact("/tmp/plain.txt") == "/tmp/plain.txt"


def test_shapes_ignore_numbers_and_the_secret() -> None:
    first = reduce_output(b"Enter: Hash of your input: 2084933351\nkey " + SECRET.value + b"\n", b"", SECRET)
    second = reduce_output(b"Enter: Hash of your input: 7\nkey abc1\n", b"", SECRET)
    assert compare_outputs(first, second, Comparison.SHAPE).holds
    assert not compare_outputs(first, second, Comparison.EXACT).holds
    third = reduce_output(b"Enter: Hash of your input: 7\nkey missing\n", b"", SECRET)
    check = compare_outputs(first, third, Comparison.SHAPE)
    assert not check.holds
    assert "line 2" in check.detail
    assert compare_outputs(first, third, Comparison.NONE).holds
    assert not compare_outputs(first, reduce_output(b"", b"", SECRET), Comparison.SHAPE).holds


def test_checkpoint_records() -> None:
    assert parse_record(b'{"pid":7,"exe":"/bin/true","at":"start"}\n') is Trigger.START
    assert parse_record(b'{"pid":7,"exe":"/bin/true","at":"exit"}\n') is Trigger.EXIT
    for wrong in (b"", b"[]", b'{"at":"later"}', b"\xff", b'{"pid":7}', b'{"at":["start"]}'):
        with pytest.raises(ObservationError):
            parse_record(wrong)


def test_trees_tell_what_is_new_or_changed(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("1")
    (tmp_path / "below").mkdir()
    before = Tree.read((tmp_path,))
    (tmp_path / "old").write_text("12")
    (tmp_path / "below" / "new").write_text("x")
    changed = Tree.read((tmp_path,)).changed_since(before)
    assert {Path(path).name for path in changed} >= {"old", "new"}
    assert before.complete


def test_one_process_is_looked_up_as_all_are() -> None:
    words = ["/bin/sh", "-c", "sleep 30 & echo $!; wait"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as shell:
        assert shell.stdout
        pids = {shell.pid, int(shell.stdout.readline())}
        every, without = (Offspring(root=shell.pid, others=others) for others in (frozenset(), frozenset({shell.pid})))
        for offspring in (every, without):
            for pid in {*pids, 1, os.getpid(), os.getppid()}:
                assert offspring.contains(pid) is (pid in offspring.alive())
        assert every.contains(shell.pid)
        os.killpg(shell.pid, signal.SIGKILL)
    assert not any(map(every.contains, pids))


def test_core_directory_is_a_directory_or_a_program(tmp_path: Path) -> None:
    assert isinstance(core_directory(tmp_path), Path | str)


def test_book_counts_and_drops_halves_of_what_was_found_whole() -> None:
    book = Book(own_label="it", wanted=WANTED)
    hits = tuple(
        Hit(label="it", encoding=encoding, surface=Surface.MEMORY, where="[heap]")
        for encoding in ("raw", "raw (first half)", "raw (second half)")
    )
    member = Member(pid=7, comm="app", role="program")
    look = Look(member=member, hits=hits, memory=Scan(coverage=Coverage(read_bytes=10)), absences=())
    for number, fed in enumerate((False, True, True), 1):
        book.enter([look], Moment(sample=number, seconds=0.1, trigger=Trigger.LOOP), fed=fed)
    book.enter([look], Moment(sample=4, seconds=0.1, trigger=Trigger.START), fed=True)
    assert (book.counts.total, book.counts.fed, book.counts.hits, book.counts.checkpoints) == (4, 2, 2, 1)
    assert [(place.encoding, place.samples) for place in book.listed()] == [("raw", 4)]


def plan(*words: str) -> Plan:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    command.build_parser(parser)
    return command.plan_of(parser.parse_args(words), Path("/somewhere"))


def test_defaults() -> None:
    made = plan("./app")
    assert made.words == ("./app",)
    assert made.feed == FeedStdin()
    assert made.readiness == AfterDelay()
    assert made.ending == StopSignal(number=signal.SIGTERM)


def test_program_and_its_own_options_are_untouched() -> None:
    assert plan("--hold", "1", "--", "prog", "--hold", "--json", "-x").words == ("prog", "--hold", "--json", "-x")
    assert plan("prog", "-c", "x", "--", "y").words == ("prog", "-c", "x", "--", "y")


def test_feeds() -> None:
    assert plan("--feed", "env:TOKEN", "p").feed == FeedEnvironment(name="TOKEN")
    assert plan("--feed", "arg", "p", "{secret}").feed == FeedArgument()
    assert plan("--feed", "file", "p", "{file}").feed == FeedFile(path=Path("/somewhere/secret"))
    assert plan("--feed", "file:/x/y", "--unlink", "p").feed == FeedFile(path=Path("/x/y"), unlink=True)
    assert plan("--template", r"a={secret}\n", "--eof", "p").feed == FeedStdin(template=b"a={secret}\n", close=True)
    sent = plan("--send", "[::1]:99", r"SET k {secret}\r\n", "--expect", "OK", "p")
    assert isinstance(sent.feed, FeedSend)
    assert (sent.feed.host, sent.feed.port, sent.feed.expect.pattern) == ("::1", 99, b"OK")
    assert sent.readiness == OnPort(host="::1", port=99)


def test_feeding_a_program_that_speaks_tls() -> None:
    sent = plan("--send-tls", "127.0.0.1:7", "x{secret}", "--server-key", PIN, "p").feed
    assert isinstance(sent, FeedSend)
    assert sent.tls == Tls(pins=(b"\xab" * 32,), natively=True)


def policy_in(folder: Path, entry: str) -> str:
    (folder / "cert.pem").write_text(known("p256").pem)
    (folder / "key.pem").touch(0o600)
    (folder / "key.pem").write_text(known("p256").key_pem)
    (folder / "shield.toml").write_text(f"[shield]\nunsafe_open_files = true\n[[shield.listen]]\nport = 7\n{entry}")
    return str(folder / "shield.toml")


OWN = 'protocol = "tls"\nunsafe_certificate_file = "cert.pem"\nunsafe_key_file = "key.pem"\n'


def test_what_a_policy_says_of_the_port_is_spoken_there(tmp_path: Path) -> None:
    shield = policy_in(tmp_path, OWN)
    words = ("--shield", shield, "--send", "127.0.0.1:7", "{secret}", "p")
    assert plan(*words).feed == FeedSend(
        host="127.0.0.1", port=7, template=b"{secret}", tls=Tls(pins=(known("p256").pin,), natively=False), expect=ANY
    )
    other = plan("--shield", shield, "--send", "127.0.0.1:8", "{secret}", "p").feed
    assert isinstance(other, FeedSend)
    assert other.tls is None
    plain = policy_in(tmp_path, 'protocol = "plain"\nunsafe_plain = true\n')
    sent = plan("--shield", plain, "--send", "127.0.0.1:7", "{secret}", "p").feed
    assert isinstance(sent, FeedSend)
    assert sent.tls is None


def test_ports_that_cannot_be_fed_are_refused(tmp_path: Path) -> None:
    send = ("--send", "127.0.0.1:7", "{secret}", "p")
    with pytest.raises(UsageError, match="comes from an attester"):
        plan("--shield", policy_in(tmp_path, 'protocol = "ra-tls"\n'), *send)
    known_client = policy_in(tmp_path, f'{OWN}clients = ["{PIN}"]\n')
    with pytest.raises(UsageError, match="only clients that it knows"):
        plan("--shield", known_client, *send)
    pair = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    feed = plan("--shield", known_client, "--client", *pair, *send).feed
    assert isinstance(feed, FeedSend)
    assert feed.tls
    assert feed.tls.client == (Path(pair[0]), Path(pair[1]))


def test_a_console_and_its_prompt(tmp_path: Path) -> None:
    made = plan("--console", "--feed", "tty", "--prompt", "word:", "p")
    assert made.console == Console()
    assert made.prompt
    assert made.prompt.pattern == b"word:"
    shield = policy_in(tmp_path, OWN)
    with_shield = plan("--console", "--shield", shield, "p")
    assert (with_shield.shield, with_shield.console) == (b"", Console(shield=Path(shield))), "the person seals it"


def test_readiness_and_end() -> None:
    assert isinstance(plan("--ready-pattern", "Hash", "p").readiness, OnOutput)
    assert plan("--ready-port", "127.0.0.1:5", "p").readiness == OnPort(host="127.0.0.1", port=5)
    assert plan("--ready-delay", "2", "p").readiness == AfterDelay(seconds=2)
    assert plan("--finish", r"\n", "p").ending == FinishInput(data=b"\n")
    assert plan("--stop", "quit", "p").ending == StopSignal(number=signal.SIGQUIT)


@pytest.mark.parametrize(
    "words",
    [
        ("--feed", "env:", "p"),
        ("--feed", "mail", "p"),
        ("--feed", "send", "p"),
        ("--feed", "arg", "--template", "x{secret}", "p"),
        ("--eof", "--feed", "arg", "p"),
        ("--unlink", "p"),
        ("--expect", "x", "p"),
        ("--send", "nowhere", "x", "p"),
        ("--send", "127.0.0.1:70000", "x", "p"),
        ("--send", "127.0.0.1:7", "x", "--feed", "stdin", "p"),
        ("--ready-pattern", "(", "p"),
        ("--stop", "NOTHING", "p"),
        ("--template", r"\q{secret}", "p"),
        ("--console", "--feed", "env:X", "p"),
        ("--console", "--send", "127.0.0.1:7", "x", "p"),
        ("--console", "--tee", "sev", "p"),
        ("--console", "--stop", "USR1", "p"),
        ("--console", "--manifest", "/nowhere.toml", "p"),
        ("--manifest", "m.toml", "p"),
        ("--prompt", "x", "--feed", "arg", "p", "{secret}"),
        ("--send-tls", "127.0.0.1:7", "x", "p"),
        ("--send-tls", "127.0.0.1:7", "x", "--server-key", "sha256:12", "p"),
        ("--send-tls", "127.0.0.1:7", "x", "--server-key", "/nowhere.pem", "p"),
        ("--send-tls", "127.0.0.1:7", "x", "--send", "127.0.0.1:7", "x", "--server-key", PIN, "p"),
        ("--send", "127.0.0.1:7", "x", "--server-key", PIN, "p"),
        ("--send", "127.0.0.1:7", "x", "--client", "c", "k", "p"),
        ("--send-tls", "127.0.0.1:7", "x", "--server-key", PIN, "--client", "/nowhere", "/nowhere", "p"),
        ("--client", "c", "k", "p"),
    ],
)
def test_contradictions_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        plan(*words)
