"""A person at a keyboard: what is typed into an interactive bash, and what then stands on the screen.

Every step ends at the shell's prompt, and its screen does not depend on time or process ids once those are masked.
"""

import functools
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.system.process_tree import moments, read_process
from tests.system.session import FORMS
from tests.system.terminal import Terminal

__all__ = ["PROMPT", "SHELL", "Step", "order", "steps"]

PROMPT = rb"<>"
SHELL = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
CONTROL_C, CONTROL_D, CONTROL_Z = b"\x03", b"\x04", b"\x1a"
ESCAPE = b"\x1b"
NOTICE = re.compile(rb"^\[\d+\][+ -]? +(Done|Terminated|Killed|Exit|Running|Stopped)\b[^\n]*\n", re.MULTILINE)
STARTED = re.compile(rb"^\[\d+\] \d+\r?\n", re.MULTILINE)
"""Of jobs in the background: when they are told of depends on who is quicker, and the number is a process id."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is done: a name for messages, and the hands that do it."""

    name: str
    do: Callable[[Terminal], bytes]


def order(terminal: Terminal, line: str) -> bytes:
    """Type a line; returns what stands on the screen between it and the next prompt."""
    terminal.type(line.encode() + b"\n")
    seen = terminal.expect(re.escape(line.encode()) + rb"\r\n(.*?)" + PROMPT)[1]
    return NOTICE.sub(b"", STARTED.sub(b"", seen))


def steps() -> Iterator[Step]:
    """For ever: the same ones in every session."""
    chance = random.Random(11)  # noqa: S311 - the same session every time
    typed = [form for form in FORMS if "<<END" not in form and "set +m" not in form]  # this shell keeps job control
    while True:
        yield chance.choice(AT_THE_KEYBOARD)
        for form in chance.sample(typed, 12):
            line = form.replace("@N", str(chance.randint(1, 300))).replace("@D", str(chance.randint(0, 9)))
            yield Step(name=line, do=functools.partial(order, line=line))


def stops_and_goes_on(terminal: Terminal) -> bytes:
    """Control-Z, bg, fg, Control-C."""
    terminal.type(b"sleep 100\n")
    wait_for(terminal, "sleep")
    terminal.type(CONTROL_Z)
    seen = terminal.expect(rb"\[1\]\+  Stopped +sleep 100\r\n.*?" + PROMPT)[0]
    seen += order(terminal, "bg") + order(terminal, "jobs -r | wc -l")
    terminal.type(b"fg\n")
    terminal.expect(rb"fg\r\nsleep 100\r\n")
    wait_for(terminal, "sleep")
    terminal.type(CONTROL_C)
    terminal.expect(PROMPT)
    return seen + order(terminal, "echo status $?; jobs")


def two_jobs(terminal: Terminal) -> bytes:
    """Named by number, one killed, one waited for."""
    seen = order(terminal, "sleep 100 & sleep 0.2 &") + order(terminal, "wait %2; echo waited $?")
    return seen + order(terminal, "kill %1; wait %1; echo killed $?") + order(terminal, "jobs")


def typed_into_a_pipeline(terminal: Terminal) -> bytes:
    """Two programs in the foreground; lines, then the end of input."""
    terminal.type(b"tr a-z A-Z | cat -n\n")
    wait_for(terminal, "tr")
    terminal.type(b"first\nsecond\n" + CONTROL_D)
    return terminal.expect(rb"1\tFIRST\r\n.*2\tSECOND\r\n.*?" + PROMPT)[0]


def an_editor_of_lines(terminal: Terminal) -> bytes:
    """ed(1): append, substitute, write; the file is what it says."""
    terminal.type(b"ed -s letter\na\ndear sir\nyours\n.\n1s/sir/madam/\n,n\nw\nq\n")
    seen = terminal.expect(rb"1\tdear madam\r\n2\tyours\r\n.*?" + PROMPT)[0][:30]
    return seen + order(terminal, "cat letter; sed -i 's/yours/truly yours/; 1d' letter; cat letter; rm letter")


def an_editor_of_screens(terminal: Terminal) -> bytes:
    """Vi of busybox: a full screen, raw keys, and the terminal as it was afterwards."""
    before = order(terminal, "stty -a")
    terminal.type(b"TERM=xterm busybox vi note\n")
    wait_for(terminal, "busybox")
    terminal.expect(rb"~.*note")
    for keys, shown in ((b"iwritten", rb"n"), (ESCAPE, rb"- note"), (b"yyp", rb"written"), (b":wq\n", PROMPT)):
        terminal.type(keys)  # apart from each other: an escape and letters at once would be another key
        terminal.expect(shown)
    after = order(terminal, "stty -a")
    return before + after + order(terminal, "cat note; rm note")


def lines_that_go_on(terminal: Terminal) -> bytes:
    """A here-document and a loop, line by line, behind the second prompt."""
    terminal.type(b"cat <<END\n")
    terminal.expect(rb"> $")
    terminal.type(b"for me\n")
    terminal.expect(rb"> $")
    terminal.type(b"END\n")
    seen = terminal.expect(rb"END\r\n(.*?)" + PROMPT)[1]
    terminal.type(b"for i in a b; do\n")
    terminal.expect(rb"> $")
    terminal.type(b"echo $i$i; done\n")
    return seen + terminal.expect(rb"done\r\n(.*?)" + PROMPT)[1]


def an_interpreter(terminal: Terminal) -> bytes:
    """python3: an expression, a function, an interrupt, the end of input."""
    seen = b""
    terminal.type(b"/usr/bin/python3 -q\n")
    terminal.expect(rb">>> ")
    for line in (b"print(6 * 7)", b"[n * n for n in range(5)]", b"import os; os.system('echo below')"):
        terminal.type(line + b"\n")
        seen += terminal.expect(re.escape(line) + rb"(.*?)>>> ")[1]
    terminal.type(b"import time; print('as', 'leep', sep=''); time.sleep(100)\n")
    terminal.expect(rb"\r\nasleep\r\n")
    terminal.type(CONTROL_C)
    seen += terminal.expect(rb"(KeyboardInterrupt)\r\n>>> ")[1]
    terminal.type(CONTROL_D)
    terminal.expect(PROMPT)
    return seen + order(terminal, "echo ended $?")


def a_database(terminal: Terminal) -> bytes:
    """sqlite3: statements at its prompt."""
    seen = b""
    terminal.type(b"sqlite3 shop.db\n")
    terminal.expect(rb"sqlite> ")
    for line in (b"create table t(a, b);", b"insert into t values (1, 'x'), (2, 'y');", b"select a * 2, b from t;"):
        terminal.type(line + b"\n")
        seen += terminal.expect(re.escape(line) + rb"(.*?)sqlite> ")[1]
    terminal.type(b".quit\n")
    terminal.expect(PROMPT)
    return seen + order(terminal, "sqlite3 shop.db 'select count(*) from t'; rm shop.db")


def a_project(terminal: Terminal) -> bytes:
    """Compiled, run, kept in git, packed."""
    lines = (
        "mkdir p && cd p && git init -q . && git config user.email a@b.c && git config user.name a",
        r"printf 'int main(void) { return 7; }\n' > m.c && printf 'm: m.c\n\tcc -o m m.c\n' > Makefile",
        "make -s m && ./m; echo ended $?",
        "git add m.c Makefile && git commit -q -m first && git log --format=%s && git status --short",
        "tar cf - m.c Makefile | gzip -9 | gunzip | tar tf -",
        "find . -name '*.c' -exec wc -l {} + ; openssl dgst -sha256 m.c | cut -d= -f2",
        "cd .. && rm -rf p && ls | wc -l",
    )
    return b"".join(order(terminal, line) for line in lines)


def a_shell_in_the_shell(terminal: Terminal) -> bytes:
    """bash, dash within it, and a shell that replaces itself."""
    terminal.type(b"bash --norc --noprofile --noediting -i\n")
    terminal.expect(PROMPT)
    seen = order(terminal, "echo depth $SHLVL; x=inner")
    seen += order(terminal, "exec bash --norc --noprofile --noediting -i") + order(terminal, "echo ${x:-gone}")
    seen += order(terminal, "sh -c 'read -r line; echo got $line' <<< word")
    return seen + order(terminal, "exit 5") + order(terminal, "echo left $?")


def a_trap(terminal: Terminal) -> bytes:
    """Control-C at a shell that has a trap for it, and while it waits."""
    seen = order(terminal, "trap 'echo caught' INT; kill -INT $$; echo on")
    terminal.type(b"sleep 100; echo after $?\n")
    wait_for(terminal, "sleep")
    terminal.type(CONTROL_C)
    seen += terminal.expect(rb"(\^C.*?)" + PROMPT)[1]
    return seen + order(terminal, "trap - INT; trap")


def a_password(terminal: Terminal) -> bytes:
    """Read without echo, then the echo is back."""
    terminal.type(b"read -rs word; echo got ${#word}\n")
    terminal.expect(rb"\{#word\}\r\n")
    for _ in moments(10):
        if not terminal.echoes():
            break
    terminal.type(b"hidden\n")
    return terminal.expect(rb"(.*?)" + PROMPT)[1] + order(terminal, "stty -a | grep -ow -- '-*echo'")


def wait_for(terminal: Terminal, name: str) -> None:
    """Until a program of that name is in the foreground: before, it is still the shell, deaf to some keys."""
    for _ in moments(20):
        process = read_process(terminal.foreground())
        if process and process.name == name:
            return
    raise AssertionError(f"{name} did not come into the foreground; on the screen: {terminal.seen[-500:]!r}")


AT_THE_KEYBOARD = [
    Step(name=do.__name__, do=do)
    for do in (
        stops_and_goes_on, two_jobs, typed_into_a_pipeline, an_editor_of_lines, an_editor_of_screens, lines_that_go_on,
        an_interpreter, a_database, a_project, a_shell_in_the_shell, a_trap, a_password,
    )
]  # fmt: skip
