"""python benchmarks/fuzz.py [inputs=200000] [seed=0] [reader=NAME] [out=FILE.md]

Feeds damaged, truncated, exaggerated and random inputs to everything that reads what somebody else may have made: raw
files of data sets, archives, images, pages, checkpoints, weights, caches, run directories, what is typed.

Each input is a small good one, changed in up to six places, or wholly random. It may be accepted or refused with a
documented error (InputError, which users see as one sentence); anything else is a finding, as is an input that takes
more than 2 s or 1 GiB.
"""

import functools
import gzip
import io
import json
import logging
import os
import pickle
import random
import resource
import shutil
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image
from scipy.io import savemat

from dlcourse import runs
from dlcourse.callbacks.keep import read_metrics
from dlcourse.core import cli
from dlcourse.core.errors import InputError
from dlcourse.data import cache, photos
from dlcourse.data.raw import Options, unpack
from dlcourse.data.readers import cifar10, flowers17, mnist, nist36, sun
from dlcourse.launch.compose import compose_config, resolve
from dlcourse.launch.overrides import check_overrides, sweep_values
from dlcourse.nets import read_weights
from dlcourse.reading import ink
from dlcourse.reports import overview
from dlcourse.training.loading import read_checkpoint

SLOW, LARGE = 2.0, 1 << 30  # seconds, bytes
UNCHECKED = Options(size=16, verify=False)


@dataclass(frozen=True)
class Reader:
    """inputs: good ones, by the name of their file. read: what takes such a file; of texts, the text's own."""

    inputs: dict[str, bytes]
    read: Callable[[Path], Any]
    share: int = 1


# --- what is read ----------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def mat(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, arrays)
    return buffer.getvalue()


def image(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer, rng = io.BytesIO(), np.random.default_rng(0)
    kinds = {
        "RGB": ((9, 11, 3), np.uint8),
        "L": ((9, 11), np.uint8),
        "F": ((9, 11), np.float32),
        "I": ((9, 11), np.int32),
    }
    shape, dtype = kinds[mode]
    Image.fromarray((rng.random(shape) * 255).astype(dtype)).save(buffer, kind, **options)
    return buffer.getvalue()


def packed(kind: str, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, data in files.items():
                zipped.writestr(name, data)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def readers(folder: Path) -> dict[str, Reader]:
    """Every reader, with good inputs for it. folder: where files that stay as they are lie."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (6, 5, 5)), np.arange(6) % 3
    good = {name: folder / name for name in ("x", "y")}
    good["x"].write_bytes(idx(x))
    good["y"].write_bytes(idx(y))
    names = b"a.jpg\nb.jpg\n"
    pictures = [folder / "a.jpg", folder / "b.jpg"]
    for picture in pictures:
        picture.write_bytes(image("jpeg"))
    listed = [folder / name for name in ("train_files.txt", "train_labels.txt")]
    listed[0].write_bytes(names)
    listed[1].write_bytes(b"1\n2\n")

    def lists(path: Path, at: int) -> list[Path]:
        """SUN's four lists, one of them the input, and its photos."""
        four = [*listed, *listed]
        four[at] = path
        return [*four, *pictures]

    batch = {b"data": rng.integers(0, 256, (4, 3072), np.uint8), b"labels": [0, 1, 2, 3]}
    pickled = pickle.dumps(batch, protocol=2)
    batches = {f"cifar-10-batches-py/{file.name}": pickled for file in cifar10.BATCHES}
    binary = b"".join(bytes([k]) + bytes(3072) for k in range(2))
    eye = np.eye(36, dtype=np.uint8)
    letters = mat(train_data=rng.random((36, 1024)), train_labels=eye)
    permuted = rng.permutation(1360) + 1
    splits = mat(trn2=permuted[None, :680], val2=permuted[None, 680:1020], tst2=permuted[None, 1020:])
    checkpoint = {"state_dict": {"net.w": torch.ones(3)}, "hyper_parameters": {"net": {"_target_": "x"}}, "epoch": 1}
    result = {
        **{key: (None if type(None) in kinds else kinds[0]()) for key, kinds in runs.KEYS.items()},
        "status": "done",
    }
    result |= {"metrics": {"val/loss": 0.5}, "data": {"name": "mnist"}, "epochs": 2, "score": 0.5}
    config = OmegaConf.to_yaml(OmegaConf.create(resolve(compose_config(["model=mlp"]))))
    metrics = "epoch,step,seconds,lr,train/loss,val/loss\n1,4,0.5,0.1,0.9,0.8\n2,8,1.0,0.1,0.7,nan\n"
    archive = {f"jpg/image_{i:04d}.jpg": image("jpeg") for i in (1, 2)} | {"../x.jpg": image("jpeg"), "/y.jpg": b""}

    def in_run(name: str, read: Callable[[Path], Any]) -> Callable[[Path], Any]:
        """`read` of a run directory in which a file of that name is the input."""

        def reading(path: Path) -> Any:
            run = path.parent / "run"
            run.mkdir(exist_ok=True)
            for other, text in ((runs.RESULT, json.dumps(result)), (runs.CONFIG, config), (runs.METRICS, metrics)):
                (run / other).write_text(text)
            (run / name).write_bytes(path.read_bytes())
            return read(run)

        return reading

    def typed(check: Callable[[list[str]], Any]) -> Callable[[Path], Any]:
        return lambda path: check(path.read_bytes().decode(errors="replace").split("\n"))

    raw = {"train-images-idx3-ubyte": idx(x), "train-images-idx3-ubyte.gz": gzip.compress(idx(x), mtime=0)}
    return {
        "IDX": Reader(raw, lambda p: mnist.read(folder, [p, good["y"], good["x"], good["y"]], UNCHECKED), 4),
        "IDX labels": Reader({"l": idx(y)},
                             lambda p: mnist.read(folder, [good["x"], p, good["x"], good["y"]], UNCHECKED)),
        "letters, .mat": Reader({"nist36_train.mat": letters}, lambda p: nist36.read_split(p, "train"), 2),
        "flowers' splits, .mat": Reader({"datasplits.mat": splits}, flowers17.read_splits, 2),
        "CIFAR-10, pickled": Reader({"data_batch_1": pickled}, lambda p: cifar10.parse_batch(p, p.read_bytes()), 4),
        "CIFAR-10, binary": Reader({"data_batch_1.bin": binary}, cifar10.read_binary),
        "CIFAR-10, archive": Reader({"cifar-10-python.tar.gz": packed("tar", batches)},
                                    lambda p: cifar10.read_archive(p, UNCHECKED)),
        "archives": Reader({"a.zip": packed("zip", archive), "a.tar.gz": packed("tar", archive)},
                           lambda p: unpack(p, lambda name: name.endswith(".jpg")), 4),
        "lists of SUN": Reader({"train_files.txt": names}, lambda p: sun.read(folder, lists(p, 0), UNCHECKED)),
        "labels of SUN": Reader({"train_labels.txt": b"1\n2\n"}, lambda p: sun.read(folder, lists(p, 1), UNCHECKED)),
        "images": Reader({"a.png": image("png"), "a.jpg": image("jpeg"), "a.gif": image("gif"), "a.tif": image("tiff"),
                          "b.tif": image("tiff", "F"), "c.tif": image("tiff", "I"), "a.bmp": image("bmp"),
                          "a.webp": image("webp"), "d.tif": image("tiff", "L", compression="tiff_lzw")},
                         lambda p: photos.decode_named(p, p.read_bytes(), 16, 3, (0.0, 255.0)), 8),
        "headers of images": Reader({"a.png": image("png"), "a.jpg": image("jpeg"), "b.tif": image("tiff", "F")},
                                    lambda p: (photos.shorter_sides([p]), photos.measure_values([p]))),
        "pages": Reader({"a.png": image("png", "L"), "a.jpg": image("jpeg", "L"), "b.tif": image("tiff", "F")},
                        ink.load, 2),
        "checkpoints": Reader({"best.ckpt": saved(checkpoint)}, read_checkpoint, 4),
        "weights": Reader({"w.pth": saved({"features.0.weight": torch.ones(2, 3)})}, read_weights, 2),
        "the cache": Reader({"a.pt": saved({"fingerprint": "a", "verified": True, "splits": {}})},
                            lambda p: cache.load_prepared(p, "a", True), 2),
        runs.RESULT: Reader({runs.RESULT: json.dumps(result).encode()}, in_run(runs.RESULT, runs.read_result), 4),
        runs.CONFIG: Reader({runs.CONFIG: config.encode()}, in_run(runs.CONFIG, runs.read_config), 1),
        runs.METRICS: Reader({runs.METRICS: metrics.encode()}, read_metrics, 4),
        "runs, for a report": Reader({runs.METRICS: metrics.encode(), runs.RESULT: json.dumps(result).encode()},
                                     lambda p: in_run(p.name, lambda run: overview.read_records([run]))(p)),
        "what is typed": Reader({"a": b"model=mlp\noptimizer.lr=0.1,0.2\n+a.b=[1,{c: d}]\nname='x y'\nseed=range(3)"},
                                typed(lambda words: (sweep_values(words))), 4),
        "what is typed for a run": Reader({"a": b"model=mlp\noptimizer.lr=0.1", "b": b"data.limit=3\nname=a"},
                                          typed(lambda words: check_overrides(words, sweep=False))),
        "what is typed for others": Reader({"a": b"run=a\nsplit=val"},
                                           typed(lambda words: cli.parse_arguments(words, "", ("run",), ("out",)))),
    }  # fmt: skip


# --- how inputs are changed ------------------------------------------------------------------------------------------

WORDS = [b"", b"\0", b"\xff\xfe\0", b"nan", b"-1", b"1e999", b"99999999999999999999", b"null", b"[]", b"{}", b"../../x",
         b"!!python/object/apply:os.system [id]", b"${oc.env:HOME}", b"${a.b}", b"&a [*a]", b"'", b'"', b"=", b",",
         b"\n", b"\r", b"\xf0\x9f\x98\x80", "中文".encode(), b"cos\nsystem\n(S'id'\ntR.", b"\x80\x04\x95",
         b"PK\x03\x04", b"\x1f\x8b", b"$(id)", b"%s%n", b"<script>", b"a" * 300, b"[" * 300, b"9" * 300]  # fmt: skip
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def changed(data: bytes, draw: random.Random) -> bytes:
    """An input, changed in one to six places; one of forty is wholly random."""
    if draw.random() < 0.025:
        return draw.randbytes(draw.randrange(600))
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        at, kind = draw.randrange(len(out) + 1), draw.randrange(8)
        if kind == 0 and out:
            out[at - 1] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            out[at:at] = draw.randbytes(draw.randrange(1, 20))
        elif kind == 3:
            del out[at : at + draw.randrange(1, 40)]
        elif kind == 4:
            out[at:at] = out[at : at + draw.randrange(1, 200)]
        elif kind == 5:
            word = draw.choice(WORDS)
            out[at : at + draw.choice((0, len(word)))] = word
        else:
            size, order = draw.choice((1, 2, 4, 8)), draw.choice("<>")
            value = draw.choice(NUMBERS) & (256**size - 1)
            out[at : at + size] = value.to_bytes(size, "little" if order == "<" else "big")
    return bytes(out)


# --- the fuzzing -----------------------------------------------------------------------------------------------------


@dataclass
class Count:
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0
    largest: int = 0
    findings: Counter[str] = field(default_factory=Counter)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz(name: str, reader: Reader, inputs: int, draw: random.Random, folder: Path) -> Count:
    count = Count()
    for _ in range(inputs):
        file = draw.choice(list(reader.inputs))
        data = changed(reader.inputs[file], draw)
        path = folder / file
        path.write_bytes(data)
        before, began = peak(), time.perf_counter()
        finding = ""
        try:
            reader.read(path)
            count.accepted += 1
        except InputError as error:
            count.refused += 1
            if "\n" in str(error):
                finding = f"a refusal of several lines: {str(error)[:200]!r}"
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            finding = f"{type(error).__name__}: {str(error)[:100]} ({Path(frame.filename).name}:{frame.lineno})"
        took, grown = time.perf_counter() - began, peak() - before
        count.inputs += 1
        count.slowest, count.largest = max(count.slowest, took), max(count.largest, grown)
        if took > SLOW:
            finding = finding or f"it took {took:.1f} s"
        if grown > LARGE:
            finding = finding or f"it took {grown / 2**20:.0f} MiB"
        if finding:
            if not count.findings[finding]:
                kept = Path(tempfile.gettempdir()) / f"dlcourse-fuzz-{abs(hash(finding)) % 10**8}-{file}"
                kept.write_bytes(data)
                print(f"{name}: {finding}\n    {kept}", file=sys.stderr, flush=True)
            count.findings[finding] += 1
    return count


def in_a_child(work: Callable[[], Count], name: str, folder: Path) -> Count:
    """What `work` returns, in a process of its own: an input that ends it is a finding, and is kept."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(work(), pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if status == 0:
        count: Count = pickle.loads(data)
        return count
    count, finding = Count(inputs=1), f"the process ended with {os.waitstatus_to_exitcode(status)}"
    for file in folder.iterdir():
        kept = Path(tempfile.gettempdir()) / f"dlcourse-fuzz-crash-{file.name}"
        shutil.copy(file, kept)
        print(f"{name}: {finding}\n    {kept}", file=sys.stderr, flush=True)
    count.findings[finding] += 1
    return count


def fuzz_all(inputs: int, seed: int, only: str | None = None) -> dict[str, Count]:
    """So many inputs in all, in shares, to every reader (or one)."""
    place = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None  # memory, where there is such a disk
    folder = Path(tempfile.mkdtemp(prefix="dlcourse-fuzz-", dir=place))
    os.environ["DLCOURSE_CACHE"] = str(folder / "cache")
    try:
        every = readers(folder)
        if only is not None and only not in every:
            raise InputError(f"reader={only}: it can be {', '.join(every)}")
        chosen = {name: reader for name, reader in every.items() if only in (None, name)}
        shares = sum(reader.share for reader in chosen.values())
        counts = {}
        for name, reader in chosen.items():
            own = folder / "input"
            own.mkdir()
            share = -(-inputs * reader.share // shares)
            work = functools.partial(fuzz, name, reader, share, random.Random(f"{seed} {name}"), own)
            counts[name] = in_a_child(work, name, own)
            shutil.rmtree(own)
        return counts
    finally:
        shutil.rmtree(folder)


def table(counts: dict[str, Count]) -> str:
    rows = [["reader", "inputs", "accepted", "refused", "other", "slowest, s", "largest, MiB"]]
    for name, c in counts.items():
        rows.append([name, f"{c.inputs:,}", f"{c.accepted:,}", f"{c.refused:,}", str(sum(c.findings.values())),
                     f"{c.slowest:.2f}", f"{c.largest / 2**20:.0f}"])  # fmt: skip
    every = counts.values()
    rows.append(["all", *(f"{sum(getattr(c, key) for c in every):,}" for key in ("inputs", "accepted", "refused")),
                 str(sum(sum(c.findings.values()) for c in every)), f"{max(c.slowest for c in every):.2f}",
                 f"{max(c.largest for c in every) / 2**20:.0f}"])  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def main(argv: list[str]) -> None:
    given = cli.parse_arguments(argv, __doc__, (), ("inputs", "seed", "reader", "out"))
    warnings.filterwarnings("ignore")
    logging.getLogger("dlcourse").setLevel(logging.CRITICAL)
    began = time.monotonic()
    counts = fuzz_all(int(given.get("inputs", 200_000)), int(given.get("seed", 0)), given.get("reader"))
    text = table(counts) + f"\n\n{time.monotonic() - began:.0f} s, seed {given.get('seed', 0)}.\n"
    print(text)
    if "out" in given:
        Path(given["out"]).write_text(text, encoding="utf-8")
    if any(count.findings for count in counts.values()):
        sys.exit(1)


if __name__ == "__main__":
    cli.run_command(main)
