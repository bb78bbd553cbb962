"""Servers whose files are in a volume: redis and its snapshots and logs, nginx and its pages, curl and bash."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.file_places import ENVIRONMENT, Place, place_named
from tests.system.process_tree import moments
from tests.system.service import Service, free_port, serving
from tests.system.test_databases import check, fill, tell, wait_for_snapshot, wait_until_loaded

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

PAGE = b"what the page says, which the disk does not: "
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    with place_named("shielded", tmp_path) as found:
        return found


def on_the_disk(place: Place) -> bytes:
    assert place.volume is not None
    return place.volume.read_bytes()


@contextlib.contextmanager
def redis(place: Place) -> Iterator[Service]:
    port = free_port()
    words = [
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(place.directory), "--save", "",
        "--appendonly", "yes",
    ]  # fmt: skip
    with serving(place.start(words), port=port, cwd=place.beside, env=ENVIRONMENT) as service:
        wait_until_loaded(service)
        yield service


@pytest.mark.needs_program("redis-server")
def test_redis_keeps_its_data_in_a_volume(place: Place, marker: bytes) -> None:
    """The forked child writes the snapshot, and one rewrites the log; the next start reads it."""
    with redis(place) as service:
        fill(service, marker)
        assert tell(service, b"BGSAVE") == b"+Background saving started\r\n"
        wait_for_snapshot(service)
        assert tell(service, b"BGREWRITEAOF").startswith(b"+Background")
        for _ in moments(20):
            if b"aof_rewrite_in_progress:0" in tell(service, b"INFO", b"persistence"):
                break
        assert service.stop() == 0
    assert marker not in on_the_disk(place)
    with redis(place) as again:
        check(again, marker)
        assert again.stop() == 0
    assert b"dump.rdb" in place.run(["ls", str(place.directory)]).stdout.encode()


def nginx_settings(place: Place, port: int) -> str:
    temporary = "".join(f"{one}_temp_path {place.directory}/{one}; " for one in TEMPORARY)
    return (
        f"daemon off; worker_processes 1; user root; error_log stderr; pid {place.directory}/pid; events {{}}\n"
        f"http {{ access_log {place.directory}/access.log; {temporary}\n"
        f"  server {{ listen 127.0.0.1:{port}; root {place.directory}; }} }}\n"
    )


@pytest.mark.needs_program("nginx", "curl", "bash")
def test_nginx_serves_from_a_volume_and_curl_writes_into_one(place: Place, marker: bytes, tmp_path: Path) -> None:
    port, text, nginx = free_port(), PAGE + marker, shutil.which("nginx")
    assert nginx is not None
    place.run(["sh", "-c", f"mkdir -p {place.directory}; cat > {place.directory}/page"], given=text.decode())
    (place.beside / "nginx.conf").write_text(nginx_settings(place, port))
    words = place.start([nginx, "-c", str(place.beside / "nginx.conf")])
    (tmp_path / "other").mkdir()
    with place_named("shielded", tmp_path / "other") as other:
        with serving(words, port=port, cwd=place.beside, env=ENVIRONMENT) as service:
            address = f"http://127.0.0.1:{port}/page?{marker.decode()}"
            service.connect().close()
            script = f"curl -sS --create-dirs -o {other.directory}/page '{address}' && cat < {other.directory}/page"
            assert other.run(["bash", "-c", script]).stdout.encode() == text
            assert service.stop() == 0
        logged = place.run(["cat", f"{place.directory}/access.log"]).stdout
        assert f"GET /page?{marker.decode()} HTTP/1.1" in logged
        for disk in (on_the_disk(place), on_the_disk(other)):
            assert marker not in disk
            assert PAGE not in disk
