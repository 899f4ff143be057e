from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest
import torch
from rich.console import Console

from hare_tortoise.streams import load_source
from hare_tortoise.streams.download import ATTEMPTS, download

# The function of the same name hides the module in the package.
mnist_module = importlib.import_module("hare_tortoise.streams.sources.mnist")
CONTENT = bytes(range(256)) * 700


class Server(ThreadingHTTPServer):
    """Serves `files`; `cut` bytes at most in one answer, and says that there are more."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.ranges = True
        self.status = 200
        self.seconds = 0.0
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        span = self.headers.get("Range")
        self.server.asked.append((self.path, span))
        time.sleep(self.server.seconds)
        content = self.server.files.get(self.path)
        if content is None or self.server.status != 200:
            self.send_error(404 if content is None else self.server.status)
            return
        start = int(span.removeprefix("bytes=").removesuffix("-")) if span and self.server.ranges else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : None if self.server.cut is None else start + self.server.cut])


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    running.files["/data.bin"] = CONTENT
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "data.bin"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def get(server: Server, target: Path, console: Console | None = None) -> Path:
    return download(f"{server.url}/data.bin", target, md5(CONTENT), console=console)


def test_a_file_comes_whole_and_only_once(server: Server, target: Path) -> None:
    assert get(server, target).read_bytes() == CONTENT
    assert get(server, target) == target
    assert server.asked == [("/data.bin", None)]
    assert [path.name for path in target.parent.iterdir()] == ["data.bin"]


def test_a_download_that_is_cut_off_goes_on_where_it_stopped(server: Server, target: Path) -> None:
    server.cut = len(CONTENT) // 3 + 1
    assert get(server, target).read_bytes() == CONTENT
    assert [span for _, span in server.asked] == [None, f"bytes={server.cut}-", f"bytes={2 * server.cut}-"]


def test_a_truncated_download_is_no_file_and_the_next_call_resumes_it(server: Server, target: Path) -> None:
    server.cut = 1000
    with pytest.raises(ConnectionError, match=rf"ended early.*\({ATTEMPTS} times\)"):
        get(server, target)
    assert not target.exists()
    assert (target.parent / "data.bin.part").read_bytes() == CONTENT[: ATTEMPTS * 1000]
    server.cut = None
    assert get(server, target).read_bytes() == CONTENT
    assert server.asked[-1] == ("/data.bin", f"bytes={ATTEMPTS * 1000}-")
    assert [path.name for path in target.parent.iterdir()] == ["data.bin"]


def test_a_server_without_ranges_sends_everything_again(server: Server, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / "data.bin.part").write_bytes(CONTENT[:500])
    server.ranges = False
    assert get(server, target).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server: Server, target: Path) -> None:
    server.files["/data.bin"] = CONTENT[:-1] + b"?"
    with pytest.raises(ValueError, match="another checksum") as caught:
        get(server, target)
    assert not isinstance(caught.value, OSError)
    assert f"{server.url}/data.bin" in str(caught.value)
    assert md5(CONTENT) in str(caught.value)
    assert list(target.parent.iterdir()) == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("left", [b"of another file", CONTENT + b"too long", CONTENT])
def test_what_an_earlier_download_left_may_be_wrong(server: Server, target: Path, left: bytes) -> None:
    target.parent.mkdir()
    (target.parent / "data.bin.part").write_bytes(left)
    assert get(server, target).read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["data.bin"]


def test_a_refusal_of_the_server(server: Server, target: Path) -> None:
    server.status = 503
    with pytest.raises(OSError, match="503"):
        get(server, target)
    with pytest.raises(OSError, match="404"):
        download(f"{server.url}/nothing", target, md5(b""))
    assert len(server.asked) == 2


def test_no_server(server: Server, target: Path) -> None:
    url = server.url
    with pytest.raises(OSError, match="refused"):
        download(f"{url.rsplit(':', 1)[0]}:1/data.bin", target, md5(b""))
    with pytest.raises(OSError, match="No scheme"):
        download("nothing/data.bin", target, md5(b""))


def test_several_at_once_fetch_it_once(server: Server, target: Path) -> None:
    server.seconds = 0.1
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda _: get(server, target), range(3)))
    assert paths == [target] * 3
    assert server.asked == [("/data.bin", None)]


def test_the_progress_bar_is_drawn_in_a_terminal_only(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = io.StringIO()
    get(server, target, Console(file=terminal, force_terminal=True, width=100))
    assert "data.bin" in terminal.getvalue()
    assert "179.2/179.2 kB" in terminal.getvalue()
    target.unlink()
    get(server, target)
    assert capsys.readouterr() == ("", "")


def test_the_library_says_nothing_of_its_own(server: Server, target: Path) -> None:
    said: list[logging.LogRecord] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record)

    handler = Listener()
    logger = pooch.get_logger()
    level = logger.level
    logger.addHandler(handler)
    try:
        get(server, target)
    finally:
        logger.removeHandler(handler)
    assert said == []
    assert logger.level == level


def test_mnist_is_downloaded_where_it_is_missing(
    server: Server, mnist_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = mnist_root / "MNIST" / "raw"
    files: dict[str, str] = {}
    for name in mnist_module.MNIST_FILES:
        packed, plain = raw / name, raw / name.removesuffix(".gz")
        content = packed.read_bytes() if packed.exists() else gzip.compress(plain.read_bytes())
        server.files[f"/mirror/{name}"], files[name] = content, md5(content)
    monkeypatch.setattr(mnist_module, "MNIST_FILES", files)
    fetched = load_source("mnist", root=tmp_path / "new", mirror=f"{server.url}/mirror/")
    assert fetched.digest == load_source("mnist", root=mnist_root).digest
    assert sorted(path.name for path in (tmp_path / "new" / "MNIST" / "raw").iterdir()) == sorted(files)
    assert len(server.asked) == 4
    again = load_source("mnist", root=tmp_path / "new", mirror="http://127.0.0.1:1")
    assert torch.equal(again.train_inputs, fetched.train_inputs)


def test_a_wrong_checksum_of_a_known_set_names_the_file(server: Server, tmp_path: Path) -> None:
    name = "t10k-labels-idx1-ubyte.gz"
    server.files |= {f"/{file}": b"something else" for file in mnist_module.MNIST_FILES}
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz has another checksum"):
        load_source("mnist", root=tmp_path, mirror=server.url)
    with pytest.raises(
        ValueError, match=f"cannot be downloaded .*Put train-images-.*, {name} into {tmp_path}"
    ):
        load_source("mnist", root=tmp_path, mirror=f"{server.url}/elsewhere")
