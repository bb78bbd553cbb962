"""Unmodified programs on pipes: the same output and status in both arms; memory proof while they hold the marker."""

import contextlib
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.system.arms import ARMS, command
from tests.system.conftest import MemoryProof
from tests.system.conversation import Conversation

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

PROGRAMS = Path(__file__).parent / "programs"
DEBIAN_PYTHON = "/usr/bin/python3"
OWN_PYTHON = sys.executable


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program and what is said to it. `MARKER` in any input stands for the random marker.

    first: sent at once. The proof is taken when `ready` stands in the output; if `ready` is empty, when the program has
    taken its input and waits for more. rest: sent then, followed by the end of the input.
    """

    name: str
    argv: tuple[str, ...]
    first: bytes = b"MARKER\n"
    ready: bytes = b"ready"
    rest: bytes = b"\n"
    holders: int = 1
    """How many native processes must hold the marker, so that the control says the whole tree was searched."""
    needs: tuple[str, ...] = field(default=())


def python(name: str, *args: str, holders: int = 1, interpreter: str = DEBIAN_PYTHON) -> Program:
    title = "-".join(("python3" if interpreter == DEBIAN_PYTHON else "own-python", name, *args))
    argv = (interpreter, str(PROGRAMS / f"python_{name}.py"), *args)
    return Program(name=title, argv=argv, needs=(interpreter,), holders=holders)


SHELL = r"""
read -r secret
count=$(printf '%s' "$secret" | wc -c)
(inner=$secret; echo "in a subshell: ${#inner} $count"; { read -r go; echo "on: $go"; } | cat) <<END | sed s/on/ON/
$secret
END
upper=$(printf %s "$secret" | tr a-z A-Z | tr A-Z a-z)
[ "$upper" = "$secret" ] && echo same
false | true && echo "true at the end of a pipeline"
(exit 3) || echo "status $?"
echo ready
read -r more
for i in 1 2 3; do echo $i; done | while read -r n; do echo $((n * n)); done
sleep 0.05 & wait $! && echo "waited $?"
trap 'echo "trapped"' USR1; kill -USR1 $$
sh -c 'kill -TERM $$'; echo "child: $?"
cat <<END | tail -n 1
first $more
last $more
END
exec sh -c 'echo "in place: $0"; exit 5' name
"""
PROCESS_SUBSTITUTION = """
read -r secret
mapfile -t lines < <(printf '%s\\n' "$secret" two three)
declare -A map=([key]=${lines[0]}); coproc CAT { cat; }
echo hello >&"${CAT[1]}"; read -r back <&"${CAT[0]}"
echo "${#lines[@]} ${#map[key]} $back"
echo ready; read -r _
exec {CAT[1]}>&-; wait "$CAT_PID"
set -o pipefail; false | true; echo "$? ${PIPESTATUS[*]}"
[[ abc =~ ^a(.)c$ ]] && echo "${BASH_REMATCH[1]}"; diff <(echo 1) <(echo 1) && echo equal
"""
SQL = b"""
create table t(id integer primary key, secret text);
with recursive n(i) as (select 1 union all select i+1 from n where i < 3000)
  insert into t select i, 'MARKER' || i from n;
create index by_secret on t(secret);
select count(*), count(distinct secret), sum(id) from t;
.shell echo ready
"""
SQL_REST = b"""
begin; delete from t where id % 3; rollback;
select count(*) from t where secret like 'MARKER%';
select id from t order by secret desc limit 5; pragma integrity_check;
"""
ALIKE = b"MARKER\n" + bytes(range(256)) * 300
# Of what is more than 32 KiB back gzip keeps only what it has not replaced by a match: and a marker may repeat itself.
WITHIN_ITS_WINDOW = b"MARKER\n" + bytes(range(256)) * 30

PERL = '$| = 1; $s = <>; $p = fork; print "ready\n" if $p; <>; waitpid $p, 0; print length $s'

TABLE = (
    Program(name="bash", argv=("bash", "-c", SHELL), needs=("bash",)),
    Program(name="bash-features", argv=("bash", "-c", PROCESS_SUBSTITUTION), holders=2, needs=("bash",)),
    Program(name="dash", argv=("dash", "-c", SHELL), needs=("dash",)),
    Program(name="busybox-sh", argv=("busybox", "sh", "-c", SHELL), needs=("busybox",)),
    python("threads"),
    python("subprocess", holders=2),
    python("multiprocessing", "fork", holders=4),
    python("multiprocessing", "spawn", holders=4),
    python("memory", holders=2),
    python("signals"),
    python("asyncio"),
    python("threads", interpreter=OWN_PYTHON),
    python("multiprocessing", "fork", holders=4, interpreter=OWN_PYTHON),
    Program(name="sqlite3-memory", argv=("sqlite3", ":memory:"), first=SQL, rest=SQL_REST, needs=("sqlite3",)),
    Program(name="sqlite3-file", argv=("sqlite3", "file.db"), first=SQL, rest=SQL_REST, needs=("sqlite3",)),
    Program(name="gzip", argv=("gzip", "-nc"), first=WITHIN_ITS_WINDOW, ready=b"", rest=ALIKE * 30, needs=("gzip",)),
    Program(name="xz", argv=("xz", "-c", "-T2"), first=ALIKE, ready=b"", rest=ALIKE * 30, needs=("xz",)),
    Program(name="openssl-dgst", argv=("openssl", "dgst", "-sha256"), ready=b"", rest=ALIKE * 9, needs=("openssl",)),
    Program(name="sort", argv=("sort",), ready=b"", rest=b"b\na\n", needs=("sort",)),
    Program(name="awk", argv=("awk", '{ kept[NR] = $0 } /go/ { print "ready" } END { print NR, length(kept[1]) }'),
            first=b"MARKER\n", ready=b"", rest=b"go\n", needs=("awk",)),
    Program(name="perl", argv=("perl", "-e", PERL),
            needs=("perl",)),
)  # fmt: skip


@pytest.mark.parametrize(
    "program", [pytest.param(one, id=one.name, marks=pytest.mark.needs_program(*one.needs)) for one in TABLE]
)
def test_same_result_and_memory_proof(
    program: Program, memory_proof: MemoryProof, marker: bytes, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        talks = []
        for arm in ARMS:
            (tmp_path / arm).mkdir()
            talks.append(stack.enter_context(Conversation(command(arm, program.argv), cwd=tmp_path / arm)))
        for talk in talks:
            talk.send(program.first.replace(b"MARKER", marker))
        for talk in talks:
            talk.expect(program.ready) if program.ready else talk.expect_input_taken()
        proof = memory_proof([talks[0].pid], [talks[1].pid], marker)
        assert len(proof.native.holders) >= program.holders
        native, enclaved = (talk.finish(program.rest.replace(b"MARKER", marker)) for talk in talks)
    assert native.status in {0, 5}
    assert enclaved == native
