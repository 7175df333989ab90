"""What a run's network makes of a drawing or a photo: the figures and pictures of the demo's page."""

import base64
import io
import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from dlcourse import runs
from dlcourse.core.errors import InputError, first_line
from dlcourse.data.photos import decode
from dlcourse.plots.images import mosaic
from dlcourse.plots.style import SIGNED, Array
from dlcourse.reading.form import Form, fit
from dlcourse.reading.ink import COARSE, find_ink, to_page
from dlcourse.reading.reader import Reader, load_form, open_reader
from dlcourse.tasks import Classify, Reconstruct
from dlcourse.training.encoders import trained
from dlcourse.training.loading import load_task_and_data
from dlcourse.training.summary import data_facts

log = logging.getLogger(__name__)

DRAWN = 64  # pixels: larger images are photos, which nobody draws
MAPPED = 2000  # training images whose codes are shown
UNITS = 36  # of the first layer
PIXELS = 50_000_000  # of an upload
CLEAR = SIGNED.with_extremes(bad=(0, 0, 0, 0))


class Playground:
    """A run's best checkpoint, asked about one picture at a time.

    Raises InputError for a run that neither classifies images nor gives them back.
    """

    def __init__(self, run: Path) -> None:
        self.run, self.plain, result = run, runs.read_config(run), runs.read_result(run)
        recorded = result.get("data", {})
        self.shape = recorded.get("stored_shape", [])
        self.task, self.data = load_task_and_data(run)
        kind = type(self.task).__name__.lower()
        if not isinstance(self.task, Classify | Reconstruct):
            raise InputError(f"run={run} is a {kind} run: the demo is of networks that classify images or restore them")
        if len(self.shape) != 3:
            given = self.plain["data"]["name"]
            raise InputError(f"run={run} is trained on {given}, which are no images: there is nothing to draw or drop")
        self.classes: list[str] = recorded["classes"]
        self.files, self.value_range = recorded["files"], recorded.get("value_range")
        self.layer = next((m for m in self.task.net.modules() if isinstance(m, nn.Linear | nn.Conv2d)), None)
        self.form, self.why = self._form()
        self.place: Callable[[Tensor], list[float]] | None = None
        self.codes: dict[str, Any] = {}
        if self.layer is not None and self.shape[-1] <= DRAWN:
            try:
                self._map_codes()
            except InputError as error:
                self.why = self.why or str(error)
        self.reader = self._reader() if self.form else None
        said = {key: value for key, value in result["metrics"].items() if key.startswith("test/")}
        measures = ("test/accuracy", "test/psnr", "test/loss")
        self.about = {
            "title": f"{result['model']} on {self.plain['data']['name']}",
            "run": str(run),
            "score": next((f"{key} {said[key]:.4g}" for key in measures if key in said), ""),
            "banner": "" if recorded["source"] == "real" else f"Stand-in data: {recorded['provenance']}",
            "classes": self.classes if isinstance(self.task, Classify) else [],
            "draw": self.form is not None,
            "page": self.reader is not None,
            "why": self.why,
            "codes": self.codes,
        }

    # --- what is known from the start ---

    def _form(self) -> tuple[Form | None, str]:
        """What a drawing has to look like; None, and why, where the data are not drawn or not here to be measured."""
        channels, height, width = self.shape
        if channels != 1 or height != width or width > DRAWN:
            return None, ""
        try:
            form = load_form(self.run)
        except InputError as error:
            return None, str(error)
        usable = math.isfinite(form.extent) and form.extent > form.thickness > 0
        return (form, "") if usable else (None, "nothing to draw: its training images are no strokes on paper")

    def _reader(self) -> Reader | None:
        try:
            return open_reader(self.run)
        except InputError:  # no letters
            return None

    def _map_codes(self) -> None:
        """The codes of training images in two dimensions, and `place`, which finds an image among them."""
        self.data.prepare()
        if data_facts(self.data)["files"] != self.files:
            raise InputError(f"run={self.run} was trained on other data than there are here: no codes are shown")
        encoder = trained(self.run, self.task, self.data, torch.device("cpu"))
        examples = self.data.stored["train"]
        some = torch.arange(0, len(examples), max(1, len(examples) // MAPPED))[:MAPPED]
        codes = torch.cat([encoder(examples.__getitems__(part)[0]) for part in some.split(250)]).double()
        if codes.shape[1] < 2:
            return
        what, project = "its two numbers", torch.Tensor.double
        if codes.shape[1] > 2:
            from sklearn import decomposition  # here, because it takes a second to import

            pca = decomposition.PCA(2, random_state=0).fit(codes.numpy())
            project = partial(onto, torch.from_numpy(pca.mean_), torch.from_numpy(pca.components_).T)
            share = 100 * pca.explained_variance_ratio_.sum()
            what = f"the two directions in which its {codes.shape[1]} numbers vary most ({share:.0f} % of variance)"
        flat = project(codes)
        low, span = flat.amin(0), (flat.amax(0) - flat.amin(0)).clamp_min(1e-9)

        def place(x: Tensor) -> list[float]:
            at: list[float] = ((project(encoder(x)) - low) / span).clamp(-0.05, 1.05)[0].tolist()
            return [round(value, 4) for value in at]

        self.place = place
        code = "the code" if isinstance(self.task, Reconstruct) else "what the last layer sees"
        self.codes = {
            "what": f"{len(some):,} training images by {code}: {what}",
            "points": ((flat - low) / span).mul(1000).round().int().tolist(),
            "labels": examples.y[some].tolist(),
            "names": self.data.classes,
        }

    # --- one picture ---

    @torch.inference_mode()
    def answer(self, upload: bytes, drawn: bool) -> dict[str, Any]:
        """What the network says of an image file, of black ink on white where it was `drawn`.

        Raises InputError for what is no image, or has no ink.
        """
        image = open_image(upload)
        if drawn and self.form:
            stored = fit(1 - np.asarray(image.convert("L"), np.float32) / 255, self.form)[None]
        elif self.form and image.size != (self.form.side, self.form.side):
            stored = fit(ink_of(image), self.form)[None]
        else:
            try:
                stored = decode(upload, self.shape[-1], self.shape[0], self.value_range)
            except Exception as error:  # Pillow's decoders raise nearly anything
                raise InputError(f"this can't be read as a picture: {first_line(error)}") from None
        x = torch.from_numpy(stored.copy())[None]
        seen: list[tuple[Tensor, Tensor]] = []  # by the first layer; nothing where the network is computed by hand
        hook = self.layer.register_forward_hook(lambda _, i, o: seen.append((i[0], o))) if self.layer else None
        try:
            out = self._output(x)
        finally:
            if hook:
                hook.remove()
        out["seen"] = data_url(stored)
        if self.layer and seen and (shown := responses(self.layer, *seen[0], self._input_shape())):
            out["first"] = shown
        if self.place:
            out["place"] = self.place(x)
        return out

    def _input_shape(self) -> list[int]:
        """The shape of what goes in, where that is an image."""
        side = self.data.resize or self.shape[-1]
        return [] if self.data.encoder else [self.shape[0], side, side]

    def _output(self, x: Tensor) -> dict[str, Any]:
        given = self.data.seen(x)
        if isinstance(self.task, Classify):
            return {"probabilities": [round(p, 4) for p in self.task.probabilities(given)[0].tolist()]}
        back = self.task(given).float()
        error = float((back - given).square().mean())
        picture = (255 * back[0].clamp(0, 1)).round().byte().numpy()
        return {"back": data_url(picture) if picture.ndim == 3 else "", "error": f"{error:.2g}"}

    def read_page(self, upload: bytes) -> dict[str, Any]:
        """The text on a photographed page, and each letter's box in shares of its height and width."""
        if self.reader is None:
            raise InputError("this run doesn't read pages: it doesn't tell letters apart")
        page, _ = to_page(open_image(upload))
        reading = self.reader.read(page)
        high, wide = page.shape
        letters = [
            {
                "text": x.text,
                "probability": round(x.probability, 3),
                "box": [x.box[0] / high, x.box[1] / wide, x.box[2] / high, x.box[3] / wide],
            }
            for x in reading.letters
        ]
        return {"text": reading.text, "letters": letters}


def onto(mean: Tensor, axes: Tensor, codes: Tensor) -> Tensor:
    """Codes [B, D] along axes [D, 2] through their mean."""
    return (codes.double() - mean) @ axes


def open_image(upload: bytes) -> Image.Image:
    try:
        image: Image.Image = Image.open(io.BytesIO(upload))
        if math.prod(image.size) <= PIXELS:
            image.load()
            return image
    except Exception as error:  # Pillow's decoders raise nearly anything
        why = "no image format is recognised" if "cannot identify" in str(error) else first_line(error)
        raise InputError(f"this can't be read as a picture: {why}") from None
    raise InputError(
        f"this picture has {math.prod(image.size) // 1_000_000} megapixels, the most is {PIXELS // 1_000_000}"
    )


def ink_of(image: Image.Image) -> Array:
    """The ink on a photo of one sign, float [H, W] with 1 for ink."""
    page, _ = to_page(image, COARSE)
    ink = find_ink(page)
    if ink is None:
        raise InputError("there is no ink on this picture: nothing but paper")
    return ink.darkness * ink.mask


def responses(layer: nn.Module, given: Tensor, out: Tensor, shape: list[int]) -> dict[str, str] | None:
    """The first layer's units as one sheet: a convolution's maps; of a dense layer each unit's weights times the
    image, whose sum is its response. Blue is below 0, red above; None where what goes in is no image."""
    if isinstance(layer, nn.Conv2d):
        tiles, total = out[0, :UNITS].float().numpy(), out.shape[1]
        what = "what each convolution of the first layer gives"
    elif isinstance(layer, nn.Linear) and given.dim() == 2 and math.prod(shape) == given.shape[1]:
        parts = layer.weight[:UNITS].float() * given[0].float()
        tiles, total = parts.unflatten(1, shape).sum(1).numpy(), len(layer.weight)
        what = "each unit's weights times the image, what speaks for it in red and against it in blue"
    else:
        return None
    sheet, _ = mosaic(tiles, math.ceil(math.sqrt(1.6 * len(tiles))), fill=np.nan)
    most = float(np.quantile(np.abs(tiles), 0.998)) or 1.0
    pixels = (255 * CLEAR(0.5 + sheet / (2 * most))).astype(np.uint8)
    count = f"{len(tiles)} of {total} units" if total > len(tiles) else f"{total} unit{'s' * (total > 1)}"
    return {"src": to_url(Image.fromarray(pixels)), "what": f"{count}: {what}"}


def data_url(pixels: Array) -> str:
    """An image, uint8 [1 or 3, H, W], as a URL of its own."""
    return to_url(Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))))


def to_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
