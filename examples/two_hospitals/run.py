"""Two hospitals compute together, and neither shows the other a row: all roles, by the commands that each would type.

    python run.py DIRECTORY            (as root or with the runtime's capability; DIRECTORY is made)

DIRECTORY gets a folder for each role: study/, hospital-a/, hospital-b/, broker/ and host/, the machine that nobody
trusts. Every step is printed with the command that was run there.
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
    command: [{program}, /run/keys/a, {tables}/hospital-a.enc, /run/keys/b, {tables}/hospital-b.enc]
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
    """The stage and who is on it. Paths in commands are relative to `directory`, where each command runs."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        """Make the folders of all roles."""
        self.directory = directory.resolve()
        self.url = f"https://127.0.0.1:{port or free_port()}"
        for role in ("study", "host", "broker"):
            (self.directory / role).mkdir(parents=True)

    def say(self, text: str) -> None:
        """For a person."""
        print(text, flush=True)

    def command(self, *words: str, expected: int = 0) -> str:
        """Show a command, run it, show and return what it printed."""
        self.say(f"$ {shlex.join(words)}")
        done = subprocess.run(
            self.real(words), cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
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

    def study(self) -> str:
        """The study's people write the program, measure it, and say in a session which keys it gets. Its hash."""
        self.say("\n== The study: one program, which everybody reads and measures")
        shutil.copy(HERE / f"{NAME}.c", self.directory / "study")
        self.command("cc", "-O2", "-o", f"study/{NAME}", f"study/{NAME}.c", "-lcrypto", "-lm")
        printed = self.command("cloister", "measure", f"study/{NAME}")
        session = SESSION.format(
            program=self.directory / "host" / NAME, tables=self.directory / "host",
            measurement=printed.strip().rpartition("=")[2],
        )  # fmt: skip
        (self.directory / "study" / "session.yaml").write_text(session)
        return self.command("cloister", "session", "hash", "study/session.yaml").strip()

    def hospitals(self, study: str) -> None:
        """Each hospital encrypts its table; the key is for one version of the study's session. Ciphertext goes out."""
        self.say("\n== The hospitals: each encrypts its table; only ciphertext leaves")
        shutil.copy(HERE / "encrypt_table.py", self.directory)
        for hospital in HOSPITALS:
            self.command("python3", "encrypt_table.py", hospital, hospital, study)
            self.command("cp", f"{hospital}/table.enc", f"host/{hospital}.enc")

    @contextlib.contextmanager
    def broker(self, state: str = "broker/state") -> Iterator[None]:
        """The key broker, on a machine that all trust. It believes the host's attestation key."""
        self.say("\n== The broker: releases keys to attested programs")
        self.command("cloister", "host-key", "--key", "host/host-key.pem", "-o", "broker/host.pem")
        where = self.url.removeprefix("https://")
        words = (
            "cloister", "serve", "--listen", where, "--state", state, "--trust-host-key", "broker/host.pem",
            "--admin-token-file", f"{state}-token",
        )  # fmt: skip
        self.say(f"$ {shlex.join(words)} &")
        with (self.directory / "broker" / "log").open("wb") as log:
            server = subprocess.Popen(self.real(words), cwd=self.directory, stderr=log)
        try:
            self.await_listening(server)
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(SECONDS)

    def await_listening(self, server: "subprocess.Popen[bytes]") -> None:
        """Until it accepts connections."""
        for _ in range(SECONDS * 20):
            if "listening" in (self.directory / "broker" / "log").read_text():
                return
            if server.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"the broker does not listen: {(self.directory / 'broker' / 'log').read_text()}")

    def put(self, file: str, state: str = "broker/state") -> None:
        """A session takes effect. The file goes to the broker only, over TLS."""
        token = ("--admin-token-file", f"{state}-token")
        self.command("cloister", "session", "upload", file, "--url", self.url, "--ca", f"{state}/tls.pem", *token)

    def put_all(self, state: str = "broker/state") -> None:
        """Everybody brings their session."""
        for role in ("study", *HOSPITALS):
            self.put(f"{role}/session.yaml", state)

    def take_program(self) -> None:
        """The host gets the program, as anybody may."""
        self.command("cp", f"study/{NAME}", f"host/{NAME}")

    def host_command(self, program: str = f"host/{NAME}", state: str = "broker/state") -> tuple[str, ...]:
        """What the host's administrator types to run the program."""
        return (
            "cloister", "run", "--broker", self.url, "--ca", f"{state}/tls.pem", "--host-key", "host/host-key.pem",
            "--session", STUDY, "--", program,
        )  # fmt: skip

    def tamper_with_the_program(self) -> None:
        """One byte of the program, in a text that it prints: it would still run."""
        content = (self.directory / "host" / NAME).read_bytes()
        other = self.directory / "host" / "changed"
        other.write_bytes(content.replace(b"patients, both", b"patientz, both", 1))
        other.chmod(0o755)

    def tamper_with_the_session(self) -> None:
        """A version of the study's session that hands out the keys under another name."""
        before = (self.directory / "study" / "session.yaml").read_text()
        (self.directory / "study" / "changed.yaml").write_text(before.replace("/run/keys/b", "/run/keys/B"))


def main() -> None:
    """All roles, one after another."""
    play = Play(Path(sys.argv[1]))
    play.hospitals(play.study())
    with play.broker():
        play.put_all()
        play.say("\n== The host: runs the program. Its administrator has ciphertext, and sees the result")
        play.take_program()
        play.command(*play.host_command())
        play.say("\n== The host changes one byte of the program: it gets no key")
        play.tamper_with_the_program()
        play.command("cmp", f"host/{NAME}", "host/changed", expected=1)
        play.command(*play.host_command("host/changed"), expected=NOT_PROVISIONED)
        play.say("\n== The study changes its session: the hospitals' keys are not for that version")
        play.tamper_with_the_session()
        shown = play.command("cloister", "session", "hash", "study/session.yaml").strip()
        with (play.directory / "study" / "changed.yaml").open("a") as file:
            file.write(f'predecessor: "{shown}"\n')
        play.put("study/changed.yaml")
        play.command(*play.host_command(), expected=NOT_PROVISIONED)
        play.say("\n== Everybody: who got what, and who did not")
        play.command("cloister", "log", "show", "broker/state/audit.log", "--session", STUDY)


if __name__ == "__main__":
    os.umask(0o077)
    main()
