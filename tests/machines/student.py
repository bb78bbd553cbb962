"""A student who solves the exercises on emulated machines through the command: attack and defence of each."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["SECONDS", "SOLUTIONS", "Student", "pin"]

SECONDS = 100


class Student:
    """Somebody at a terminal, in an empty directory."""

    def __init__(self, directory: Path, keys: str) -> None:
        self.directory, self.keys, self.number = directory, keys, 0
        self.environment = dict(os.environ, PYTHONPATH=":".join(sys.path))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cloister", *words],
            cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    def lab(self, *words: str) -> str:
        done = self.run("lab", *words)
        assert done.returncode == 0, done
        return done.stdout

    def start(self, number: int) -> str:
        self.number = number
        return self.lab("start", str(number), "--background", "--unsafe-outside", "--keys", self.keys)

    def host(self, machine: str, *words: str) -> str:
        done = self.run("host", f"cloister-lab-{self.number}/{machine}.sock", *words)
        assert done.returncode == 0, done
        return done.stdout

    def say(self, machine: str, words: str) -> str:
        return self.lab("say", str(self.number), machine, words).strip()

    def check(self, *words: str) -> tuple[int, str]:
        done = self.run("lab", "check", str(self.number), "--keys", self.keys, *words)
        return done.returncode, done.stdout + done.stderr


def pin(text: str) -> str:
    """The PIN that a page shows, from the characters on the right of its first line and the next."""
    found = re.search(r"PIN-[a-z0-9]{12}", text)
    assert found, text
    return found[0]


def attack_1(student: Student) -> str:
    found = student.directory / "cloister-lab-1" / "trustzone.dram"
    student.say("trustzone", "b")
    secret = re.search(rb"PIN-[a-z0-9]{12}", found.read_bytes())
    assert secret, "not in the file of a TrustZone machine's DRAM"
    assert secret[0].decode() == pin(student.host("trustzone", "search", "PIN-"))
    return secret[0].decode()


def defence_1(student: Student) -> None:
    assert "PIN-" not in student.host("sev", "dram", "secret")
    assert "not in the 32 MiB" in student.host("sev", "search", "PIN-")
    assert b"PIN-" not in (student.directory / "cloister-lab-1" / "sev.dram").read_bytes()


def attack_2(student: Student) -> str:
    found = pin(student.host("native", "read", "secret"))
    assert pin(student.host("native", "dma-read", "secret")) == found
    return found


def defence_2(student: Student) -> None:
    assert "ff ff ff ff" in student.host("sgx", "read", "secret")
    assert "range registers refuse" in student.host("sgx", "dma-read", "secret")


def attack_3(student: Student) -> None:
    student.host("sev", "keep-as-host", "balance", "full")
    assert student.say("sev", "w") == "taken"
    student.host("sev", "put-as-host", "balance", "full")
    assert student.say("sev", "b") == "1000"


def defence_3(student: Student) -> None:
    student.host("sgx", "keep", "balance", "full")
    assert student.say("sgx", "w") == "taken"
    student.host("sgx", "put", "balance", "full")
    assert "the program ended: integrity" in student.say("sgx", "b")


def attack_4(student: Student) -> None:
    student.host("sev", "remap", "balance", "riches")
    assert student.say("sev", "b") == "1000000"


def defence_4(student: Student) -> None:
    student.host("sev-snp", "remap", "balance", "riches")
    assert "the program ended" in student.say("sev-snp", "b")


def attack_5(student: Student) -> str:
    student.host("sgx", "trace", "walk", "bit_set", "bit_clear")
    student.say("sgx", "c")
    names = re.findall(r"bit_set|bit_clear", student.host("sgx", "faults"))
    assert len(names) == 32
    return "".join("1" if name == "bit_set" else "0" for name in names)


def defence_5(student: Student) -> None:
    student.host("sgx", "trace", "walk", "bit_set", "bit_clear")
    student.say("sgx", "o")
    assert "bit_" not in student.host("sgx", "faults")


def attack_6(student: Student) -> str:
    student.host("sev", "interrupt", "500")
    assert student.say("sev", "r") == "computed"
    shown = [set(student.host("sev", "registers", back).splitlines()) for back in ("0", "1", "7")]
    constant = set.intersection(*shown)
    keys = {line.split()[-1] for line in constant if re.fullmatch(r"[a-z0-9]{8}", line.split()[-1])}
    assert len(keys) == 1, constant
    return keys.pop()


def defence_6(student: Student) -> None:
    student.host("sev-es", "interrupt", "500")
    student.say("sev-es", "r")
    assert not re.search(r" [a-z0-9]{8}$", student.host("sev-es", "registers"), re.MULTILINE)


def attack_7(student: Student) -> None:
    student.host("native", "forge", "1048576")
    assert student.say("native", "i") == "1048576"


def defence_7(student: Student) -> None:
    student.host("sgx", "forge", "1048576")
    assert student.say("sgx", "b") == "1000"
    assert "untrusted host" in student.say("sgx", "i")
    write_policy(student)


def write_policy(student: Student) -> None:
    folder = "cloister-lab-7"
    measured = student.run("measure", "--tee", "sgx", f"{folder}/app").stdout.strip()
    made = student.run("policy", "init", "--measurement", measured, "-o", f"{folder}/policy.toml")
    assert made.returncode == 0, made
    assert student.check()[0] == 10, "a policy for real hardware accepts nothing of an emulated machine"
    policy = student.directory / folder / "policy.toml"
    policy.write_text(policy.read_text().replace('["hardware"]', '["testing"]'))


SOLUTIONS: dict[int, tuple[Callable[[Student], str | None], Callable[[Student], None]]] = {
    1: (attack_1, defence_1), 2: (attack_2, defence_2), 3: (attack_3, defence_3), 4: (attack_4, defence_4),
    5: (attack_5, defence_5), 6: (attack_6, defence_6), 7: (attack_7, defence_7),
}  # fmt: skip
