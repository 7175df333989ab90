"""Published weights: found, downloaded, checked, and never run."""

import functools
import hashlib
import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from dlcourse.core.errors import InputError
from dlcourse.nets import Pretrained, find_weights, read_weights, weights

DATA = Path(os.environ.get("DLCOURSE_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_weights_none_and_a_path(tmp_path: Path) -> None:
    nothing = {"file": None, "sha256": None, "published": False}
    assert find_weights("mobilenet_v2", "none") == find_weights("mobilenet_v2", None) == (None, nothing)
    file = tmp_path / "mine.pth"
    torch.save({"a": torch.ones(2)}, file)
    path, about = find_weights("mobilenet_v2", str(file))
    assert path == file and not about["published"]
    assert about["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert torch.equal(read_weights(file)["a"], torch.ones(2))
    with pytest.raises(InputError, match=r"no file .*absent\.pth"):
        find_weights("mobilenet_v2", tmp_path / "absent.pth")
    with pytest.raises(InputError, match="did you mean mobilenet_v2"):
        find_weights("mobilenetv2", "imagenet")


def test_offline_no_weights_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCOURSE_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"OFFLINE forbids its download: put it at .*mobilenet_v2\.pth"):
        find_weights("mobilenet_v2", "imagenet", tmp_path)
    assert not list(tmp_path.iterdir())


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    "content", [b"", b"not weights", {"model": {"a": torch.ones(1)}}, [torch.ones(1)], {}, {"a": Code()}]
)
def test_a_file_that_is_no_state_dict_is_refused_and_never_run(
    content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(InputError, match=r"weights\.pth (is not|holds no)") as caught:
        read_weights(file)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty torch.hub cache, and no data folder."""
    before = torch.hub.get_dir()
    monkeypatch.delenv("DLCOURSE_OFFLINE", raising=False)
    monkeypatch.delenv("DLCOURSE_DATA", raising=False)
    torch.hub.set_dir(tmp_path / "hub")
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on loopback, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}", folder
        web.shutdown()


def test_imagenet_weights_are_downloaded_once_and_checked(
    hub: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = server
    torch.save({"a": torch.ones(2)}, folder / "made")
    digits = hashlib.sha256((folder / "made").read_bytes()).hexdigest()[:8]
    file = (folder / "made").rename(folder / f"resnet18-{digits}.pth")
    monkeypatch.setattr(weights, "published_url", lambda *_: f"{url}/{file.name}")
    path, about = find_weights("resnet18", "imagenet")
    assert path == hub / file.name and about["published"]
    file.unlink()
    assert find_weights("resnet18", "imagenet") == (path, about)  # from the cache


def test_a_damaged_download_is_refused_and_not_kept(
    hub: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = server
    (folder / "resnet18-00000000.pth").write_bytes(b"something else")
    monkeypatch.setattr(weights, "published_url", lambda *_: f"{url}/resnet18-00000000.pth")
    with pytest.raises(InputError, match="invalid hash"):
        find_weights("resnet18", "imagenet")
    assert not list(hub.iterdir())


def test_without_a_network_the_sentence_says_where_to_put_the_file(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:  # bound, never listening: refuses connections
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/resnet18-00000000.pth"
        monkeypatch.setattr(weights, "published_url", lambda *_: url)
        with pytest.raises(InputError, match=r"resnet18-00000000\.pth .*weights/resnet18\.pth.*model\.weights=none"):
            find_weights("resnet18", "imagenet", tmp_path)
        with pytest.raises(InputError, match=r"put it at .*hub/checkpoints/resnet18-00000000\.pth"):
            find_weights("resnet18", "imagenet")


def test_the_data_folder_comes_first(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights" / "resnet18.pth"
    file.parent.mkdir()
    torch.save({"a": torch.ones(1)}, file)
    path, about = find_weights("resnet18", "imagenet", tmp_path)
    assert path == file and not about["published"]
    monkeypatch.setenv("DLCOURSE_DATA", str(tmp_path))
    assert find_weights("resnet18", "imagenet") == (path, about)


@pytest.mark.parametrize("name", ("mobilenet_v2", "squeezenet1_1", "resnet18"))
def test_torchvision_publishes_the_file_the_docs_name(name: str) -> None:
    assert Path(weights.published_url(name)).name in (
        "mobilenet_v2-b0353104.pth",
        "squeezenet1_1-b8a52dc0.pth",
        "resnet18-f37072fd.pth",
    )


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
def test_the_real_weights_load_strictly(name: str) -> None:
    if not (DATA / "weights" / f"{name}.pth").is_file():
        pytest.skip(f"no real weights: {DATA / 'weights'} is missing (set DLCOURSE_DATA)")
    path, about = find_weights(name, "imagenet", DATA)
    assert path is not None and len(about["sha256"]) == 64
    state = read_weights(path)
    torchvision.models.get_model(name, weights=None).load_state_dict(state, strict=True)
    net = Pretrained(name, 8)
    before = net.first_layer.weight.detach().clone()
    net.load_backbone(state)
    assert torch.equal(net.first_layer.weight, state["features.0.0.weight" if name[0] == "m" else "features.0.weight"])
    assert not torch.equal(net.first_layer.weight, before)
