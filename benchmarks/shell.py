"""bash: a loop of command substitutions, which fork for each, without and with executing a program."""

from benchmarks.benchmark import Benchmark, Better, Group, Need, Quantity, Run, enclaved, native
from benchmarks.needs import find
from benchmarks.processes import numbers_of

__all__ = ["BENCHMARK"]

LOOP = """\
loop() {
    local begin=${EPOCHREALTIME/./} i x
    for ((i = 0; i < 50; i++)); do
        x=$($2)
        [ "$x" = "$3" ] || exit 1
    done
    echo "$1 $(((${EPOCHREALTIME/./} - begin) / 50))"
}
loop fork 'echo word' word
loop exec /bin/true ''
"""


def measure(this: Run) -> dict[str, float]:
    """Milliseconds for one turn, by what is substituted; the shell itself looks at the clock."""
    microseconds = numbers_of(this.arm.start([find("bash"), "-c", LOOP]))
    return {name: value / 1e3 for name, value in microseconds.items()}


BENCHMARK = Benchmark(
    name="shell",
    quantities=(
        Quantity(key="fork", what="bash, x=$(echo word)", unit="ms", better=Better.LESS, group=Group.FORKING),
        Quantity(key="exec", what="bash, x=$(/bin/true)", unit="ms", better=Better.LESS, group=Group.FORKING),
    ),
    needs=(Need(program="bash", package="bash"),),
    measure=measure,
    baseline=native,
    candidate=enclaved,
)
