"""Children by fork and exec, one of them holding the secret: pipes, exit codes, signals, time limits, groups."""
# ruff: noqa: T201 - it talks to its test

import os
import signal
import subprocess
import sys

CHILD = "import sys; secret = sys.stdin.readline(); print('have it', flush=True); sys.stdin.read(); print(len(secret))"

secret = sys.stdin.readline()
child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
assert child.stdin
assert child.stdout
child.stdin.write(secret)
child.stdin.flush()
print(child.stdout.readline().strip())
print("ready", flush=True)
sys.stdin.readline()
print(*child.communicate(), child.returncode)

print(subprocess.check_output(["tr", "a-z", "A-Z"], input=b"upper"))
first = subprocess.Popen(["printf", "b\\na\\n"], stdout=subprocess.PIPE)
print(subprocess.check_output(["sort"], stdin=first.stdout), first.wait())
print(subprocess.run(["sh", "-c", "exit 42"], check=False).returncode)
print(subprocess.run(["sh", "-c", "kill -SEGV $$"], check=False).returncode)
print(subprocess.run(["env"], env={"ONLY": "this"}, capture_output=True, check=True).stdout)
try:
    subprocess.run(["sleep", "20"], timeout=0.1, check=False)
except subprocess.TimeoutExpired as expired:
    print("timed out", expired.cmd)
try:
    subprocess.run(["/nonexistent"], check=False)
except FileNotFoundError as missing:
    print(missing)
pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], dict(os.environ))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
sleeper = subprocess.Popen(["sleep", "20"], start_new_session=True)
os.killpg(sleeper.pid, signal.SIGTERM)
print(sleeper.wait())
