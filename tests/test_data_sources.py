"""Where data come from: prepared, raw, downloaded (from loopback), or a stand-in; and the command line."""

import gzip
import hashlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from data_files import mnist_files, write_folder, write_mnist, write_nist36, write_sun
from dlcourse.core.errors import InputError
from dlcourse.data import cache, raw
from dlcourse.data.__main__ import main
from dlcourse.data.readers import mnist
from dlcourse.data.sources import SOURCES, load
from dlcourse.data.tensors import Splits, Tensors


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of one's own, no data of this machine, no downloads but those that a test offers."""
    monkeypatch.setenv("DLCOURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DLCOURSE_OFFLINE", "1")
    monkeypatch.delenv("DLCOURSE_DATA", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def same(a: Splits, b: Splits) -> bool:
    assert isinstance(a.train, Tensors) and isinstance(b.train, Tensors)
    return torch.equal(a.train.x, b.train.x) and torch.equal(a.test.y, b.test.y) and a.provenance == b.provenance


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


# --------------------------------------------------------------------------------------------- prepared data


def test_prepared_data_are_served_until_the_raw_files_change(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(home / "data")
    first = load("mnist", home / "data")
    with monkeypatch.context() as patch:
        patch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], read=None))  # type: ignore[arg-type]
        assert same(load("mnist", home / "data"), first)  # without reading a raw file
    write_mnist(home / "data", train=50)
    assert len(load("mnist", home / "data").train) == 50


def test_prepared_data_outlive_their_raw_files(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_mnist(home / "data")
    first = load("mnist", home / "data", source="real")
    for path in (home / "data").iterdir():
        path.unlink()
    assert same(load("mnist", home / "data", source="real"), first) and "gone" in caplog.text
    with pytest.raises(InputError, match=r"there is no folder"):
        load("mnist", home / "elsewhere")  # another root's data don't serve


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"junk" * 99])
def test_a_damaged_cache_is_rebuilt(home: Path, damage, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    write_mnist(home / "data")
    first = load("mnist", home / "data")
    (file,) = (home / "cache" / "prepared").iterdir()
    good = file.read_bytes()
    file.write_bytes(damage(good))
    assert same(load("mnist", home / "data"), first) and "is damaged" in caplog.text
    assert same(load("mnist", home / "data"), first) and len(file.read_bytes()) == len(good)


def test_without_room_for_a_cache_one_goes_on_without(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_mnist(home / "data")
    (home / "cache").write_text("a file where the folder should be", encoding="utf-8")
    assert len(load("mnist", home / "data").train) == 40
    assert caplog.text.count("can't keep the prepared data") == 1
    assert len(load("mnist", source="stand-in").train) == 3500


def test_a_cache_that_fails_half_way_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(home / "data")
    splits = load("mnist", home / "data")
    target = home / "full" / "mnist.pt"

    def disk_is_full(saved: object, file) -> None:  # type: ignore[no-untyped-def]
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.torch, "save", disk_is_full)
    cache.save_prepared(target, splits, "", True)
    assert files_in(target.parent) == []


def test_several_processes_may_prepare_at_once(home: Path) -> None:
    write_mnist(home / "data", train=20_000)
    script = f"from dlcourse.data.sources import load; print(len(load('mnist', {str(home / 'data')!r}).train))"
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]  # new ones: a fork of this one could wait for ever for a lock that one of its threads held
    assert [process.communicate(timeout=100)[0].strip() for process in processes] == ["20000"] * 3
    assert len(files_in(home / "cache" / "prepared")) == 1


def test_sizes_are_prepared_apart(home: Path) -> None:
    write_folder(home / "data", {"a": 8, "b": 8})
    shapes = []
    for size in (4, 6, 4):
        train = load("folder", home / "data", size=size).train
        assert isinstance(train, Tensors)
        shapes.append(train.x.shape[-1])
    assert shapes == [4, 6, 4]


# --------------------------------------------------------------------------------------------- what is taken


def test_data_are_found_under_dlcourse_data(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCOURSE_DATA", str(home / "all"))
    write_mnist(home / "all" / "mnist")
    write_nist36(home / "all" / "nist36like")
    write_sun(home / "all" / "sun8")
    assert load("mnist").provenance.root == str(home / "all" / "mnist")
    assert load("sun", size=8).provenance.root == str(home / "all" / "sun8")
    assert load("nist36").provenance.source == "stand-in"  # a set that is only like it must be asked for
    assert load("nist36", home / "all" / "nist36like").provenance.source == "real"
    assert load("mnist", home / "all").provenance.root == str(home / "all" / "mnist")  # a root of several data sets


def test_a_root_without_the_files_is_never_replaced(home: Path) -> None:
    (home / "empty").mkdir()
    for source in ("auto", "real"):
        with pytest.raises(InputError) as error:
            load("mnist", home / "empty", source=source)
        assert "train-images-idx3-ubyte" in str(error.value)
        assert f"python -m dlcourse.data fetch mnist data.root={home / 'empty'}" in str(error.value)
    (home / "file").touch()
    with pytest.raises(InputError, match=r"is not a folder"):
        load("mnist", home / "file")
    with pytest.raises(InputError, match=r"there is no folder .* aquarium to windmill"):
        load("sun", home / "none")


def test_a_damaged_raw_file_is_no_reason_for_a_stand_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCOURSE_DATA", str(home))
    write_mnist(home / "mnist")
    (home / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte.gz is damaged"):
        load("mnist")


def test_a_stand_in_is_announced_and_can_be_refused(caplog: pytest.LogCaptureFixture) -> None:
    splits = load("mnist")
    assert splits.provenance.source == "stand-in" and not splits.provenance.comparable
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1 and lines[0].startswith("STAND-IN for mnist") and "DLCOURSE_OFFLINE" in lines[0]
    with pytest.raises(InputError, match=r"put train-images.* in .*mnist, or give data.root=DIR"):
        load("mnist", source="real")
    with pytest.raises(InputError, match=r"sun has no download.*put the folders aquarium"):
        load("sun", source="real")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "mnits"}, "did you mean mnist"),
        ({"name": "imagenet21k"}, r"'imagenet21k' \(possible: mnist, nist36, cifar10"),
        ({"name": "mnist", "source": "fake"}, "auto, real or stand-in"),
        ({"name": "mnist", "size": 64}, "flowers17, sun or folder"),
        ({"name": "sun", "size": 0}, "1 or more"),
        ({"name": "sun", "channels": 2}, r"1 \(grey\) or 3"),
    ],
)
def test_what_was_mistaken_is_said(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(**arguments)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- downloads


class Server:
    """Serves bytes by name on loopback; `broken` ones promise more than they send."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                outer.asked.append(name)
                data = outer.files.get(name)
                if data is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(data) + 100 * (name in outer.broken)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of a small MNIST, which `mnist`'s entry in the register points to."""
    server = Server()
    entries = []
    for name, data in mnist_files().items():
        server.files[f"{name}.gz"] = gzip.compress(data)
        entries.append(raw.File(f"{name}.gz", f"{server.url}{name}.gz", hashlib.sha256(data).hexdigest()))
    monkeypatch.setattr(mnist, "FILES", tuple(entries))
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], files=tuple(entries)))
    monkeypatch.delenv("DLCOURSE_OFFLINE")
    yield server
    server.http.shutdown()
    server.http.server_close()


NAMES = sorted(file.name for file in mnist.FILES)


def test_what_is_missing_is_downloaded_once(home: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = load("mnist", source="real")
    assert splits.provenance.comparable and splits.provenance.root == str(home / "cache" / "raw" / "mnist")
    assert files_in(home / "cache" / "raw") == NAMES and sorted(server.asked) == NAMES
    assert same(load("mnist"), splits) and len(server.asked) == 4
    monkeypatch.setenv("DLCOURSE_DATA", str(home / "data"))
    (home / "data").mkdir()
    for path in (home / "cache").rglob("*.*"):
        path.unlink()
    assert load("mnist").provenance.root == str(home / "data" / "mnist")


def test_a_part_of_the_files_is_completed(home: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCOURSE_DATA", str(home))
    (home / "mnist").mkdir()
    (home / "mnist" / NAMES[0]).write_bytes(server.files[NAMES[0]])
    assert load("mnist").provenance.comparable and sorted(server.asked) == NAMES[1:]


@pytest.mark.parametrize("what", ["other", "missing", "truncated", "refused", "no host"])
def test_a_download_that_fails_leaves_nothing_and_says_why(
    home: Path, server: Server, what: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "train-images-idx3-ubyte.gz"  # the first to be asked for
    words = {"other": "another file", "missing": "HTTP 404", "truncated": "was cut off"}.get(
        what, "can't be downloaded"
    )
    if what == "other":
        server.files[bad] = gzip.compress(b"other content")
    elif what == "missing":
        del server.files[bad]
    elif what == "truncated":
        server.broken.add(bad)
    elif what == "refused":
        server.http.shutdown()
        server.http.server_close()
    else:
        files = tuple(replace(file, url=f"http://nowhere.invalid/{file.name}") for file in mnist.FILES)
        monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], files=files))
    with pytest.raises(InputError, match=rf"{bad}.*{words}.*put train-images"):
        load("mnist", source="real")
    assert files_in(home / "cache" / "raw") == []
    assert load("mnist").provenance.source == "stand-in"
    (line,) = [record.getMessage() for record in caplog.records if "STAND-IN" in record.getMessage()]
    assert words in line


def test_md5_is_checked_where_no_sha256_is_known(home: Path, server: Server) -> None:
    server.files["a.tgz"] = b"content"
    file = raw.File("a.tgz", server.url + "a.tgz", md5=hashlib.md5(b"content").hexdigest())
    assert raw.download(file, home / "a.tgz") == hashlib.sha256(b"content").hexdigest()
    with pytest.raises(raw.DownloadError, match=r"expected md5"):
        raw.download(replace(file, md5="0" * 32), home / "b.tgz")
    assert not (home / "b.tgz").exists()


def test_a_download_without_permission_or_room_is_one_sentence(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "cache").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte.gz can't be written to .*cache/raw/mnist"):
        load("mnist")

    class Full:
        name = str(home / "part")

        def __enter__(self) -> "Full":
            Path(self.name).write_bytes(b"half")
            return self

        def __exit__(self, *args: object) -> None:
            pass

        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(raw.tempfile, "NamedTemporaryFile", lambda **options: Full())
    with pytest.raises(InputError, match=r"No space left on device"):
        raw.download(mnist.FILES[0], home / "data" / "file.gz")
    assert files_in(home / "data") == [] and not (home / "part").exists()


# ---------------------------------------------------------------------------------------------- command line


def mistake(*arguments: str) -> str:
    """The sentence in which a command fails; empty where it doesn't."""
    try:
        main(list(arguments))
    except InputError as error:
        return str(error)
    return ""


def run(*arguments: str) -> tuple[int, list[str], str]:
    """The real command line in a process of its own: exit code, lines of stdout, stderr."""
    command = [sys.executable, "-m", "dlcourse.data", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_list_says_what_would_be_loaded(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DLCOURSE_DATA", str(home / "all"))
    write_sun(home / "all" / "sun8")
    main(["list"])
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(SOURCES) < set(rows)
    assert "real" in rows["sun"] and str(home / "all" / "sun8") in rows["sun"]
    assert "download, else stand-in" in rows["mnist"] and "needs data.root" in rows["folder"]


def test_mistakes_leave_with_2_and_one_sentence() -> None:
    code, lines, errors = run("fetch", "mnits")
    assert (code, lines) == (2, []) and errors.count("\n") == 1
    assert errors.startswith("error: there is no data set 'mnits'; did you mean mnist? (possible: mnist, nist36, ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "list, fetch or verify"),
        (("fecth",), "'fecth' is not one of list, fetch or verify; did you mean fetch?"),
        (("fetch",), "fetch needs a name: mnist"),
        (("fetch", "mnist", "more"), "'more' is not KEY=VALUE (possible: data.root=...)"),
        (("verify", "mnist", "data.rot=x"), "no data.rot= here; did you mean data.root? (possible: data.root=)"),
        (("verify", "data.root=x", "sum"), "did you mean sun?"),
        (("verify", "folder"), "folder needs data.root=DIR"),
    ],
)
def test_mistakes_on_the_command_line(arguments: tuple[str, ...], words: str) -> None:
    said = mistake(*arguments)
    assert words in said and not said.endswith(".")


def test_help_and_one_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0 and "verify NAME" in capsys.readouterr().out
    main(["list", "sun"])
    assert "aquarium to windmill" in capsys.readouterr().out


def test_fetch(home: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fetch", "mnist", f"data.root={home / 'new'}"])
    assert files_in(home / "new") == NAMES and capsys.readouterr().out.count("downloaded, sha256") == 4
    main(["fetch", f"data.root={home / 'new'}", "mnist"])
    assert capsys.readouterr().out.count("is there already") == 4 and len(server.asked) == 4
    assert load("mnist", home / "new", source="real").provenance.comparable

    write_mnist(home / "plain", packed=False)
    main(["fetch", "mnist", f"data.root={home / 'plain'}"])
    assert len(server.asked) == 4

    (home / "new" / NAMES[0]).write_bytes(b"damaged")
    assert f"{NAMES[0]} is damaged" in mistake("fetch", "mnist", f"data.root={home / 'new'}")
    assert (home / "new" / NAMES[0]).read_bytes() == b"damaged"  # raw files are never changed
    del server.files[NAMES[1]]
    assert "404" in mistake("fetch", "mnist", f"data.root={home / 'third'}")
    assert "sun has no download" in mistake("fetch", "sun")


def test_verify(home: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no folder" in mistake("verify", "mnist", f"data.root={home / 'data'}")
    write_mnist(home / "data")
    main(["verify", "mnist", f"data.root={home / 'data'}"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all("  OK  " in line for line in lines)
    write_mnist(home / "data", packed=False, seed=1)
    for name in NAMES:
        (home / "data" / name).unlink()
    main(["verify", "mnist", f"data.root={home / 'data'}"])
    assert capsys.readouterr().out.count("UNKNOWN") == 2  # the images; the labels are the same
    bad = home / "data" / "t10k-images-idx3-ubyte"
    bad.write_bytes(bad.read_bytes()[:-1])
    assert "expected sha256" in mistake("verify", "mnist", f"data.root={home / 'data'}")
    out = capsys.readouterr().out
    assert f"DAMAGED  {bad}" in out and out.count("DAMAGED") == 1


def test_verify_names_every_damaged_photo(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(home / "data", {"cat": 8, "dog": 8})
    assert mistake("verify", "folder", f"data.root={home / 'data'}") == ""
    for name in ("cat/001.png", "dog/002.png"):
        (home / "data" / name).write_bytes(b"no image")
    capsys.readouterr()
    assert "dog/002.png" in mistake("verify", "folder", f"data.root={home / 'data'}")  # cli.run prints the last one
    out, err = capsys.readouterr()
    assert out.count("DAMAGED") == 1 and err.startswith("error: ") and "cat/001.png" in err and "002" not in err
