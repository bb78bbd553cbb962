"""Two hospitals compute together, and neither shows the other a row: all roles, by the commands that each would type.

    python run.py DIRECTORY

DIRECTORY is made, with a folder for each role: study, hospital-a, hospital-b, broker, and host, the machine that nobody
trusts. Every step is printed: `hospital-a$ command` was run in that hospital's folder.
"""

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAME = "joint_statistics"
STUDY = "study/statistics"
HOSPITALS = ("hospital-a", "hospital-b")
SECONDS = 60
NOT_PROVISIONED = 122

SESSION = """\
# The program that two hospitals agreed on. It gets both keys, as files that exist inside the enclave only.
name: study/statistics
version: "1"

services:
  - name: joint-statistics
    command: [joint_statistics, /run/keys/a, hospital-a.enc, /run/keys/b, hospital-b.enc]
    injection_files:
      - path: /run/keys/a
        content: "$$SCONE::key-a$$"
      - path: /run/keys/b
        content: "$$SCONE::key-b$$"
    attestation:
      - tee: software
        anchors: [software]
        measurement: "{measurement}"
        claims: {{ admission: strict, guard: armed }}

secrets:
  - name: key-a
    kind: aes-key
    import: {{ session: hospital-a/table, secret: table-key }}
  - name: key-b
    kind: aes-key
    import: {{ session: hospital-b/table, secret: table-key }}

access_policy:
  read: [ANY]
"""


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Play:
    """The stage and who is on it. Each command runs in the folder of the role that types it."""

    def __init__(self, directory: Path) -> None:
        """Make the folders of all roles."""
        self.directory = directory.resolve()
        self.url = f"https://127.0.0.1:{free_port()}"
        for role in ("study", *HOSPITALS, "broker", "host"):
            (self.directory / role).mkdir(parents=True)

    def say(self, text: str) -> None:
        """For a person."""
        print(text, flush=True)

    def command(self, role: str, *words: str, expected: int = 0) -> str:
        """Show a command, run it, show and return what it printed."""
        self.say(f"{role}$ {shlex.join(words)}")
        done = subprocess.run(
            self.real(words), cwd=self.directory / role, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        if done.stdout:
            self.say(done.stdout.rstrip("\n"))
        if done.returncode != expected:
            raise SystemExit(f"exit status {done.returncode}, not {expected}")
        if expected:
            self.say(f"(exit status {expected})")
        return done.stdout

    @staticmethod
    def real(words: tuple[str, ...]) -> list[str]:
        """The command, with the `cloister` that belongs to this Python."""
        first = {"cloister": [sys.executable, "-m", "cloister"], "python3": [sys.executable]}.get(words[0], [words[0]])
        return [*first, *words[1:]]

    def study(self) -> None:
        """The study's people write the program, measure it, and say in a session which keys it gets."""
        self.say("== The study: one program, which everybody reads, builds and measures")
        shutil.copy(HERE / f"{NAME}.c", self.directory / "study")
        self.command("study", "cc", "-O2", "-o", NAME, f"{NAME}.c", "-lcrypto", "-lm")
        printed = self.command("study", "cloister", "measure", f"./{NAME}")
        session = SESSION.format(measurement=measurement_in(printed))
        (self.directory / "study" / "session.yaml").write_text(session)

    def hospital(self, role: str) -> None:
        """A hospital builds what it read, looks whether the session names that, and gives its key to this session."""
        self.say(f"\n== {role}: what leaves it is ciphertext, and a key for that session")
        self.command(role, "cc", "-O2", "-o", NAME, f"../study/{NAME}.c", "-lcrypto", "-lm")
        measured = self.command(role, "cloister", "measure", "-q", f"./{NAME}")
        self.command(role, "grep", measurement_in(measured), "../study/session.yaml")
        study = self.command(role, "cloister", "session", "hash", "../study/session.yaml").strip()
        shutil.copy(HERE / "encrypt_table.py", self.directory / role)
        self.command(role, "python3", "encrypt_table.py", role, study)
        self.command(role, "cp", "table.enc", f"../host/{role}.enc")

    @contextlib.contextmanager
    def broker(self) -> Iterator[None]:
        """The key broker, on a machine that all trust. It believes the host's attestation key."""
        self.say("\n== The broker, which all trust: releases keys to attested programs")
        self.command("host", "cloister", "host-key", "--key", "host-key.pem", "-o", "../broker/host.pem")
        where = self.url.removeprefix("https://")
        words = (
            "cloister", "serve", "--listen", where, "--state", "state", "--trust-host-key", "host.pem",
            "--admin-token-file", "token",
        )  # fmt: skip
        self.say(f"broker$ {shlex.join(words)} &")
        log = self.directory / "broker" / "log"
        with log.open("wb") as stream:
            server = subprocess.Popen(self.real(words), cwd=log.parent, stderr=stream)
        try:
            await_listening(server, log)
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(SECONDS)

    def put(self, role: str, file: str = "session.yaml") -> None:
        """A session takes effect. The file goes to the broker only, over TLS."""
        trust = ("--ca", "../broker/state/tls.pem", "--admin-token-file", "../broker/token")
        self.command(role, "cloister", "session", "upload", file, "--url", self.url, *trust)

    def put_all(self) -> None:
        """Everybody brings their session."""
        for role in ("study", *HOSPITALS):
            self.put(role)

    def take_program(self) -> None:
        """The host gets the program, as anybody may."""
        self.command("host", "cp", f"../study/{NAME}", NAME)

    def host_command(self, program: str = f"./{NAME}") -> tuple[str, ...]:
        """What the host's administrator types to run the program."""
        return (
            "cloister", "run", "--broker", self.url, "--ca", "../broker/state/tls.pem", "--host-key", "host-key.pem",
            "--session", STUDY, "--", program,
        )  # fmt: skip

    def change_the_program(self) -> None:
        """One byte, in a text that it prints: it would still run."""
        content = (self.directory / "host" / NAME).read_bytes()
        other = self.directory / "host" / "changed"
        other.write_bytes(content.replace(b"patients, both", b"patientz, both", 1))
        other.chmod(0o755)

    def change_the_session(self) -> None:
        """One letter, and what an update must say: which session it replaces."""
        session = self.directory / "study" / "session.yaml"
        before = self.command("study", "cloister", "session", "hash", "session.yaml").strip()
        changed = session.read_text().replace("path: /run/keys/b", "path: /run/keys/B")
        (self.directory / "study" / "changed.yaml").write_text(f'{changed}predecessor: "{before}"\n')


def measurement_in(printed: str) -> str:
    """What `cloister measure` found."""
    return printed.partition("software:measurement=")[2][:64]


def await_listening(server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the server accepts connections."""
    for _ in range(SECONDS * 20):
        if "listening" in log.read_text():
            return
        if server.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"the broker does not listen: {log.read_text()}")


def main() -> None:
    """All roles, one after another."""
    play = Play(Path(sys.argv[1]))
    play.study()
    for hospital in HOSPITALS:
        play.hospital(hospital)
    with play.broker():
        play.put_all()
        play.say("\n== The host runs the program. Its administrator has ciphertext, and sees the result")
        play.take_program()
        play.command("host", *play.host_command())
        play.say("\n== The host changes one byte of the program: no key")
        play.change_the_program()
        play.command("host", "cmp", NAME, "changed", expected=1)
        play.command("host", *play.host_command("./changed"), expected=NOT_PROVISIONED)
        play.say("\n== The study changes one letter of its session: the hospitals' keys are not for that session")
        play.change_the_session()
        play.put("study", "changed.yaml")
        play.command("host", *play.host_command(), expected=NOT_PROVISIONED)
        play.say("\n== Who got what, and who did not")
        play.command("broker", "cloister", "log", "show", "state/audit.log", "--session", STUDY)


if __name__ == "__main__":
    os.umask(0o077)
    main()
