"""What is downloaded (from loopback), and the command line that lists, fetches and verifies data sets."""

import gzip
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_files import files_in, mnist_files, same, write_folder, write_mnist, write_sun
from dlcourse.core.errors import InputError
from dlcourse.data import raw
from dlcourse.data.__main__ import main
from dlcourse.data.readers import mnist
from dlcourse.data.sources import SOURCES, load

pytestmark = pytest.mark.usefixtures("home")


# ------------------------------------------------------------------------------------------------- downloads


class Server:
    """Serves bytes by name on loopback; `broken` ones promise more than they send, `slow` ones stop in the middle, what
    is `moved` is somewhere else."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.slow: set[str] = set()
        self.moved: dict[str, str] = {}
        self.stop = threading.Event()
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                outer.asked.append(name)
                data = outer.files.get(name)
                if name in outer.moved:
                    self.send_response(302)
                    self.send_header("Location", outer.moved[name])
                    self.end_headers()
                    return
                if data is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(data) + 100 * (name in outer.broken)))
                self.end_headers()
                if name in outer.slow:
                    self.wfile.write(data[:10])
                    self.wfile.flush()
                    outer.stop.wait(10)
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
    server.stop.set()
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


@pytest.mark.parametrize(
    "what", ["other", "missing", "truncated", "refused", "no host", "stalled", "round in circles", "to a file"]
)
def test_a_download_that_fails_leaves_nothing_and_says_why(
    home: Path, server: Server, what: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "train-images-idx3-ubyte.gz"  # the first to be asked for
    words = {"other": "another file", "missing": "HTTP 404", "truncated": "was cut off", "stalled": "broke off"}.get(
        what, "can't be downloaded"
    )
    if what == "other":
        server.files[bad] = gzip.compress(b"other content")
    elif what == "missing":
        del server.files[bad]
    elif what == "truncated":
        server.broken.add(bad)
    elif what == "stalled":
        server.slow.add(bad)
        monkeypatch.setattr(raw, "READ_TIMEOUT", 0.3)
    elif what == "round in circles":
        server.moved[bad] = server.url + bad
    elif what == "to a file":
        (home / "mine").write_bytes(server.files[bad])
        server.moved[bad] = (home / "mine").as_uri()
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


def test_a_download_that_has_moved_is_followed(home: Path, server: Server) -> None:
    """Its content is what counts: what somebody else serves instead is refused by its hash as anything is."""
    name = NAMES[0]
    server.files["elsewhere.gz"] = server.files.pop(name)
    server.moved[name] = f"{server.url}elsewhere.gz"
    assert load("mnist", source="real").provenance.source == "real"
    assert "elsewhere.gz" in server.asked


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
        ((), "list, fetch, verify or cache"),
        (("fecth",), "'fecth' is not one of list, fetch, verify or cache; did you mean fetch?"),
        (("fetch",), "fetch needs a name: mnist"),
        (("fetch", "mnist", "more"), "'more' is not KEY=VALUE (possible: data.root=..., kind=... or limit=...)"),
        (("verify", "mnist", "data.rot=x"), "no data.rot= here; did you mean data.root?"),
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
