"""The runtime's cryptography as a program to ask: its sources, its own flags, a main that reads lines."""

import shutil
import subprocess
from pathlib import Path

import pytest

RUNTIME = Path(__file__).parents[2] / "runtime"
PARTS = Path(__file__).parent / "runtime_crypto"
SOURCES = ("sha2", "hmac", "x25519", "text")
INNER = (PARTS / "aead_parts.c", PARTS / "hpke_parts.c")
HOSTED = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{RUNTIME / 'src'}", f"-I{RUNTIME / 'include'}"]
SANITIZED = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def run(*words: str | Path) -> str:
    """What a build step prints; a failed one fails the test with what it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def runtime_flags() -> list[str]:
    """How runtime/Makefile compiles."""
    printed = run("make", "-C", RUNTIME, "-s", "--no-print-directory", "--eval", "flags: ; @echo $(CFLAGS)", "flags")
    return [word.replace("-I", f"-I{RUNTIME}/") for word in printed.split()]


def need_compiler() -> None:
    """Skip visibly without one."""
    for program in ("cc", "make"):
        if shutil.which(program) is None:
            pytest.skip(f"not installed: {program}")


def objects(directory: Path) -> list[Path]:
    """The sources as the runtime has them, compiled into `directory`."""
    need_compiler()
    flags = runtime_flags()
    sources = [*(RUNTIME / "src" / f"{name}.c" for name in SOURCES), *INNER]
    for source in sources:
        run("cc", *flags, "-c", "-o", directory / f"{source.stem}.o", source)
    return [directory / f"{source.stem}.o" for source in sources]


def link(main: str, compiled: list[Path]) -> Path:
    """A program of a hosted `main` and these objects, beside them."""
    program = compiled[0].with_name(main).with_suffix("")
    run("cc", *HOSTED, "-o", program, PARTS / main, *compiled)
    return program


def build(directory: Path) -> Path:
    """The driver of what the runtime has."""
    return link("driver.c", objects(directory))


def build_sanitized(directory: Path) -> Path:
    """The same sources with the C library's memcpy, watched by the compiler's sanitizers."""
    need_compiler()
    probe: list[str | Path] = ["cc", *SANITIZED, "-xc", "-o", directory / "probe", "-"]
    if subprocess.run(probe, input=b"int main(void){}", capture_output=True, check=False).returncode != 0:
        pytest.skip("the compiler has no sanitizers")
    sources = [RUNTIME / "src" / f"{name}.c" for name in SOURCES if name != "text"]
    run("cc", *HOSTED, *SANITIZED, "-o", directory / "program", PARTS / "driver.c", *INNER, *sources)
    return directory / "program"


class Driver:
    """One running driver."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, command: str, *arguments: bytes) -> list[bytes]:
        """The results of one command."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(" ".join([command, *(one.hex() or "-" for one in arguments)]) + "\n")
        self.process.stdin.flush()
        words = self.process.stdout.readline().split()
        assert words[:1] == ["ok"], f"{command}: the driver ended: what it says stands on standard error"
        return [b"" if word == "-" else bytes.fromhex(word) for word in words[1:]]

    def close(self) -> None:
        """End it; a driver that leaked memory says so here."""
        with self.process:
            pass
        assert self.process.returncode == 0
