"""Real programs in every emulated machine, by `cloister run --tee`: output, status and files are as natively."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.machines.build import LAB_PROGRAM
from tests.system.arms import CLOISTER_ENVIRONMENT, ENVIRONMENT
from tests.system.emulated import COMPILERS, MACHINES, PROGRAMS, X86, Keyed, Result, architecture, build, tree_of

BUSYBOX = "/bin/busybox"
TYPED = b"first\nwithout its end"
WORKOUT = PROGRAMS / "workout.c"


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Two empty directories: for the native run and for the emulated one."""
    for name in ("native", "emulated"):
        (tmp_path / name).mkdir()
    return tmp_path / "native", tmp_path / "emulated"


def worked_out(emulated: Keyed, machine: str, places: tuple[Path, Path], native: str, program: str) -> Result:
    """Run it natively and in the machine, with many words and settings; everything must agree."""
    words = ("", "two words", "\udce4\n", *(f"{n:0100}" for n in range(300)))
    settings = {"WORKOUT": "x" * 50_000, "HOME": "/a home"}
    theirs, ours = places
    expected = emulated.natively(native, *words, cwd=theirs, given=TYPED, environment={**ENVIRONMENT, **settings})
    assert expected.status == 42, expected
    result = emulated.run(
        machine, program, *words, cwd=ours, given=TYPED, environment={**CLOISTER_ENVIRONMENT, **settings}
    )
    assert result == expected
    assert tree_of(ours) == tree_of(theirs)
    return result


@pytest.mark.parametrize("machine", MACHINES)
def test_what_programs_do_is_as_natively(machine: str, emulated: Keyed, built: Path, places: tuple[Path, Path]) -> None:
    native = build(built, WORKOUT, "gcc", "-lm")
    program = build(built, WORKOUT, COMPILERS[architecture(machine)], "-lm")
    result = worked_out(emulated, machine, places, native, program)
    assert b"jumped 7\n" in result.stdout


@pytest.mark.parametrize("machine", ["sgx", "sev-snp"])
def test_with_another_c_library(machine: str, emulated: Keyed, built: Path, places: tuple[Path, Path]) -> None:
    program = build(built, WORKOUT, "musl-gcc", "-lm")
    worked_out(emulated, machine, places, program, program)


CORNERS = PROGRAMS / "corners.c"


@pytest.mark.parametrize("machine", MACHINES)
def test_what_processors_do_rarely_is_as_natively(
    machine: str, emulated: Keyed, built: Path, places: tuple[Path, Path]
) -> None:
    """With so few frames that pages come and go within single instructions and functions."""
    expected = emulated.natively(build(built, CORNERS, "gcc"), cwd=places[0])
    assert expected.status == 0, expected
    program = build(built, CORNERS, COMPILERS[architecture(machine)])
    assert emulated.run(machine, program, cwd=places[1], options=["--frames", "64"]) == expected
    assert tree_of(places[1]) == tree_of(places[0])


@pytest.mark.needs_runtime
def test_in_the_software_enclave(built: Path, emulated: Keyed, places: tuple[Path, Path]) -> None:
    program = build(built, WORKOUT, "gcc", "-lm")
    worked_out(Keyed(emulated.keys, inside=True), "sev", places, program, program)


@pytest.mark.parametrize(
    ("machine", "compiler"),
    [("sgx", "musl-gcc"), ("sev-es", "gcc"), ("cca", "aarch64-linux-gnu-gcc"), ("keystone", "riscv64-linux-gnu-gcc")],
)
def test_the_exercises_program(machine: str, compiler: str, emulated: Keyed, built: Path, tmp_path: Path) -> None:
    program = build(built, LAB_PROGRAM, compiler)
    result = emulated.run(machine, program, cwd=tmp_path, given=b"correct horse\n\n")
    number = 0
    for byte in b"correct horse":
        number = (31 * number + byte) % 2**32
    expected = b"Enter a secret: Hash of your input: %d\n" % number
    assert result == Result(status=0, stdout=expected, stderr=b"")


SCRIPT = """
n=0; while read -r line; do n=$((n + 1)); last=$line; done <input
echo "$n lines, the last: $last"; f() { return 5; }; f || echo "returned $?"
for name in *; do echo "$name"; done; case $last in *9*) echo nine;; esac
[ -d directory ] && cd directory && pwd; printf '%s-%04d\\n' a 12 >made; read -r back <made; echo "$back"; exit 9
"""
APPLETS = (
    "cat input -", "sort -n input", "wc input", "grep -c 7 input", "sha256sum input", "gzip -c input", "tar cf - .",
    "find .", "ls -la", "dd if=input bs=100 skip=2 count=3", "date -u -d @86399", "env", "printf %s-%05d\\n a 42",
    "seq 1 500", "stat -c %s,%a,%F input", "od -c input", "sed s/1/one/g input", "head -n 3 input", "tr 0-9 a-j",
    "awk {s+=$1}END{print(s,sin(s))} input", "cp input copied", "mv input moved", "rm -r directory", "touch new",
    "base64 input", "bzip2 -c input", "diff input /dev/null", "tee teed", "mkdir -p a/b/c", "cat missing", "false",
    "cut -c2-3 input", "chmod 640 input", "expr 6 * 7", "test -d input", "sleep 0.01",
)  # fmt: skip


def shell_words() -> Iterator[tuple[str, ...]]:
    yield ("sh", "-c", SCRIPT)
    for words in APPLETS:
        yield tuple(words.split())


@pytest.mark.needs_program("busybox")
@pytest.mark.parametrize(
    ("machine", "words"),
    [pytest.param(X86[n % len(X86)], words, id=words[0]) for n, words in enumerate(shell_words())],
)
def test_busybox(machine: str, words: tuple[str, ...], emulated: Keyed, places: tuple[Path, Path]) -> None:
    """Each applet on one machine, in turn."""
    for place in places:
        (place / "directory").mkdir()
        (place / "input").write_text("".join(f"{n * n % 1000}\n" for n in range(400)))
        for path in (place / "input", place / "directory", place):
            os.utime(path, (10**9, 10**9))
    common = dict(CLOISTER_ENVIRONMENT)
    expected = emulated.natively(BUSYBOX, *words, cwd=places[0], given=b"input\n", environment=common)
    result = emulated.run(machine, BUSYBOX, *words, cwd=places[1], given=b"input\n", options=["--quiet"])
    assert comparable(result, places[1]) == comparable(expected, places[0])
    assert tree_of(places[1]) == tree_of(places[0])


def comparable(result: Result, place: Path) -> Result:
    """Without the name of the directory, and without the speed that dd tells."""
    kept = [line for line in result.stderr.splitlines() if b"copied" not in line]
    stdout = result.stdout.replace(bytes(place), b"")
    return Result(status=result.status, stdout=stdout, stderr=b"\n".join(kept))


LUA = r"""
local total, words = 0, {}
for line in io.lines() do total = total + #line; for word in line:gmatch("%a+") do words[#words + 1] = word end end
table.sort(words)
print(_VERSION, #arg, arg[1], total, table.concat(words, ","))
local file = assert(io.open("made by lua", "w")); file:write(("%5.3f\n"):format(math.pi)):close()
local steps = coroutine.wrap(function() for n = 1, 3 do coroutine.yield(n * n) end end)
print(steps(), steps(), steps(), pcall(error, "caught"), string.rep("ab", 3, "-"))
os.exit(7)
"""


@pytest.mark.parametrize("machine", ["sgx-scalable", "sev"])
def test_lua(machine: str, emulated: Keyed, built: Path, places: tuple[Path, Path]) -> None:
    program = build(built, PROGRAMS / "lua_script.c", "gcc", "-llua5.4", "-lm")
    results = []
    for place in places:
        (place / "script.lua").write_text(LUA)
    words = (program, "script.lua", "an argument")
    results.append(emulated.natively(*words, cwd=places[0], given=b"some words\nof some lines"))
    results.append(emulated.run(machine, *words, cwd=places[1], given=b"some words\nof some lines"))
    assert results[0].status == 7, results[0]
    assert results[1] == results[0]
    assert tree_of(places[1]) == tree_of(places[0])


SQL = b"""
create table t(id integer primary key, word text);
with recursive n(i) as (select 1 union all select i+1 from n where i < 3000) insert into t select i, 'word' || i from n;
create index by_word on t(word);
begin; delete from t where id % 3 = 0; rollback;
delete from t where id % 7 = 0; vacuum;
select count(*), sum(id), max(word) from t; pragma integrity_check;
select word from t order by word desc limit 3;
"""


@pytest.mark.parametrize("machine", ["native", "tdx", "sev-es"])
def test_a_database_is_whole_afterwards(machine: str, emulated: Keyed, built: Path, places: tuple[Path, Path]) -> None:
    program = build(built, PROGRAMS / "sqlite_rows.c", "gcc", "-lsqlite3", "-lm")
    expected = emulated.natively(program, "file.db", cwd=places[0], given=SQL)
    assert expected.status == 0, expected
    assert emulated.run(machine, program, "file.db", cwd=places[1], given=SQL) == expected
    rows = []
    for place in places:
        with closing(sqlite3.connect(place / "file.db")) as database:
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)
            rows.append(database.execute("select * from t order by id").fetchall())
        assert os.listdir(place) == ["file.db"], "no journal is left"
    assert rows[1] == rows[0]
    assert len(rows[0]) == 3000 - 3000 // 7


@pytest.mark.parametrize(("machine", "words"), [("sev-snp", b"a b a"), ("sgx", b"throw one")])
def test_cplusplus(machine: str, words: bytes, emulated: Keyed, built: Path, places: tuple[Path, Path]) -> None:
    """Also where nobody catches the exception: std::terminate, abort."""
    program = build(built, PROGRAMS / "containers.cc", "g++")
    expected = emulated.natively(program, cwd=places[0], given=words)
    assert expected.status == (134 if b"throw" in words else 0)
    assert emulated.run(machine, program, cwd=places[1], given=words) == expected
    assert tree_of(places[1]) == tree_of(places[0])
