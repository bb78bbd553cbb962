"""Directories whose files are measured: an ordinary one, a shielded one, and what else encrypts files on Linux.

Each is made fresh in a directory given, and gone afterwards. What cannot be had here says why: NotMeasured.
"""

import fcntl
import os
import secrets
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.benchmark import NotMeasured, PackageMissing
from benchmarks.needs import PLACES

from cloister.launch.command import enclave_command

__all__ = ["SITES", "Site", "at"]

CLOISTER = (sys.executable, "-m", "cloister")
SECONDS = 60
PASSWORD = "measured"  # noqa: S105  it protects random bytes that are thrown away
CACHE = "256 MiB"
FS_IOC_ADD_ENCRYPTION_KEY, FS_IOC_SET_ENCRYPTION_POLICY = 0xC0506617, 0x800C6613
KEY, IDENTIFIER = struct.Struct("=II32sI36x"), 2  # struct fscrypt_add_key_arg without the key
POLICY, XTS, CTS, PAD_32 = struct.Struct("=BBBB4x16s"), 1, 4, 3  # struct fscrypt_policy_v2


@dataclass(frozen=True, kw_only=True)
class Site:
    """A directory, and how a program is started that sees it. `forget` empties caches of what lies there."""

    directory: Path
    start: Callable[[Sequence[str]], list[str]]
    forget: Callable[[], None]


Maker = Callable[[Path], Iterator[Site]]


def told(command: Sequence[str | Path], *, given: str = "", environment: dict[str, str] | None = None) -> str:
    """Run a tool; PackageMissing if it is not there, NotMeasured if it fails."""
    if shutil.which(command[0], path=PLACES) is None:
        raise PackageMissing(f"{command[0]} is not installed")
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=SECONDS, check=False,
        env={**os.environ, "PATH": PLACES, **(environment or {})},
    )  # fmt: skip
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())[-200:]
        raise NotMeasured(f"{Path(command[0]).name} ended with {done.returncode}: {words}")
    return done.stdout


def drop(*directories: Path) -> None:
    """Have the kernel forget the files below these: posix_fadvise(2)."""
    for path in (path for directory in directories for path in directory.rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def outside(base: Path, name: str) -> Site:
    """An ordinary directory below `base`."""
    directory = base / name
    directory.mkdir()
    return Site(directory=directory, start=list, forget=lambda: drop(directory))


@contextmanager
def native(base: Path) -> Iterator[Site]:
    """An ordinary directory."""
    yield outside(base, "native")


@contextmanager
def enclaved(base: Path) -> Iterator[Site]:
    """The same, the program in the enclave: what is left of a difference is the enclave's, not the shield's."""
    site = outside(base, "enclaved")
    yield Site(directory=site.directory, start=lambda words: enclave_command(words[0], words[1:]), forget=site.forget)


@contextmanager
def shielded(base: Path) -> Iterator[Site]:
    """A region of the file shield on a volume."""
    directory, key, volume, policy = (base / name for name in ("shielded", "key", "volume", "shield.toml"))
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    told([*CLOISTER, "volume", "create", "--key", key, volume], environment=environment)
    policy.write_text(
        "[shield]\nunsafe_open_files = true\nunsafe_open_network = true\n"
        f'[[shield.files]]\npath = "{directory}"\nkind = "encrypted"\ncache = "{CACHE}"\n'
        f'volume = "{volume}"\nunsafe_key_file = "{key}"\n'
    )
    start = [*CLOISTER, "run", "--quiet", "--shield", str(policy), "--"]
    yield Site(directory=directory, start=lambda words: [*start, *words], forget=lambda: drop(base))


@contextmanager
def waiting(base: Path) -> Iterator[Site]:
    """The same, the program started by a shell that waits for it: two families of processes have the volume."""
    with shielded(base) as site:
        shell = ["sh", "-c", '"$@"; exit $?', "sh"]
        yield replace(site, start=lambda words: site.start([*shell, *words]))


@contextmanager
def mounted(mount: Path, stored: Path) -> Iterator[Site]:
    """What is mounted at `mount`, and its ciphertext at `stored`; unmounted at the end."""
    try:
        yield Site(directory=mount, start=list, forget=lambda: drop(mount, stored))
    finally:
        for _ in range(50):
            done = subprocess.run(["fusermount3", "-u", mount], capture_output=True, check=False)
            if done.returncode == 0 or not mount.is_mount():
                break
            time.sleep(0.1)


SHARED = ("-o", "allow_other")
"""PostgreSQL runs as a user of its own."""


def folders(base: Path, name: str) -> tuple[Path, Path]:
    """Where ciphertext is stored, and where it is mounted."""
    stored, mount = base / f"{name}-stored", base / name
    stored.mkdir()
    mount.mkdir()
    return stored, mount


@contextmanager
def gocryptfs(base: Path) -> Iterator[Site]:
    """gocryptfs: AES-256-GCM, in user space; without a Merkle tree."""
    stored, mount = folders(base, "gocryptfs")
    password = base / "password"
    password.write_text(PASSWORD)
    told(["gocryptfs", "-q", "-init", "-scryptn", "10", "-passfile", password, stored])
    told(["gocryptfs", "-q", "-allow_other", "-passfile", password, stored, mount])
    with mounted(mount, stored) as site:
        yield site


@contextmanager
def encfs(base: Path) -> Iterator[Site]:
    """EncFS: AES in CBC, in user space; its standard settings authenticate nothing."""
    stored, mount = folders(base, "encfs")
    told(["encfs", "--public", "--standard", "--stdinpass", stored, mount], given=f"{PASSWORD}\n")
    with mounted(mount, stored) as site:
        yield site


@contextmanager
def cryfs(base: Path) -> Iterator[Site]:
    """CryFS: blocks of 16 KiB, each a file, in user space; it notices older blocks."""
    stored, mount = folders(base, "cryfs")
    quiet = {"CRYFS_FRONTEND": "noninteractive", "CRYFS_NO_UPDATE_CHECK": "true", "HOME": str(base)}
    told(["cryfs", stored, mount, *SHARED], given=PASSWORD, environment=quiet)
    with mounted(mount, stored) as site:
        yield site


@contextmanager
def securefs(base: Path) -> Iterator[Site]:
    """securefs: AES-256-GCM, in user space, format 4; without a tree over its files."""
    stored, mount = folders(base, "securefs")
    told(["securefs", "create", "--pass", PASSWORD, "--pbkdf", "pkcs5-pbkdf2-hmac-sha256", "-r", "1000", stored])
    told(["securefs", "mount", "--pass", PASSWORD, "-b", "--log", base / "securefs.log", *SHARED, stored, mount])
    for _ in range(50):
        if mount.is_mount():
            break
        time.sleep(0.1)
    else:
        raise NotMeasured("securefs does not mount here")
    with mounted(mount, stored) as site:
        yield site


def encrypt(mount: Path, directory: Path) -> None:
    """Give an empty directory a fresh key: Documentation/filesystems/fscrypt.rst. NotMeasured."""
    try:
        descriptor = os.open(mount, os.O_RDONLY)
        request = bytearray(KEY.pack(IDENTIFIER, 0, bytes(32), 32) + secrets.token_bytes(32))
        fcntl.ioctl(descriptor, FS_IOC_ADD_ENCRYPTION_KEY, request)
        os.close(descriptor)
        descriptor = os.open(directory, os.O_RDONLY)
        fcntl.ioctl(descriptor, FS_IOC_SET_ENCRYPTION_POLICY, POLICY.pack(2, XTS, CTS, PAD_32, bytes(request[8:24])))
        os.close(descriptor)
    except OSError as error:
        raise NotMeasured(f"the kernel does not encrypt a directory of ext4: {error.strerror}") from error


@contextmanager
def fscrypt(base: Path) -> Iterator[Site]:
    """The kernel's own encryption of ext4 directories: AES-256-XTS, no authentication. On a disk in a file."""
    image, mount = base / "image", base / "fscrypt"
    mount.mkdir()
    image.touch()
    os.truncate(image, 2 << 30)
    told(["mkfs.ext4", "-q", "-O", "encrypt", image])
    told(["mount", "-o", "loop", image, mount])
    try:
        directory = mount / "encrypted"
        directory.mkdir()
        encrypt(mount, directory)
        yield Site(directory=directory, start=list, forget=lambda: drop(directory))
    finally:
        subprocess.run(["umount", mount], capture_output=True, check=False)


SITES = {
    "native": native,
    "enclaved": enclaved,
    "shielded": shielded,
    "waiting": waiting,
    "gocryptfs": gocryptfs,
    "encfs": encfs,
    "securefs": securefs,
    "cryfs": cryfs,
    "fscrypt": fscrypt,
}
"""Every site by its name. dm-crypt (LUKS) is no site: it encrypts disks, not directories, and needs a device mapper."""


@contextmanager
def at(name: str, scratch: Path) -> Iterator[Site]:
    """A site of that name, fresh; nothing of it is left afterwards."""
    base = scratch / f"site-{name}"
    if base.exists():
        shutil.rmtree(base)
    base.mkdir()
    try:
        with SITES[name](base) as site:
            yield site
    finally:
        shutil.rmtree(base, ignore_errors=True)
