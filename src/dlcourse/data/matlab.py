"""Arrays of numbers in MATLAB's .mat files (version 5), read by SciPy after their elements were looked through.

SciPy trusts a file's types and flags: wrong ones end the process, not only the reading. Format: MathWorks, "MAT-File
Format", https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcourse.data.raw import BOMB, UNPACKED, damaged

HEADER, VERSION = 128, 0x0100
CHARS, INT32, UINT32, MATRIX, COMPRESSED = 1, 5, 6, 14, 15  # types of elements
NUMBERS = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13)  # those that hold numbers
NUMERIC = range(6, 16)  # classes of arrays: double to uint64


class Element(NamedTuple):
    kind: int
    data: memoryview


def read_mat(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Those variables of these names that there are. Raises DamagedFileError for a file that can't be read, and for a
    variable that is no array of numbers."""
    from scipy.io import loadmat  # here, because importing it takes longer than loading a prepared data set

    data = path.read_bytes()
    try:
        order = {b"IM": "<", b"MI": ">"}.get(data[126:HEADER])
        if order is None or struct.unpack(f"{order}H", data[124:126])[0] != VERSION:
            raise ValueError("it is no MATLAB file of version 5")
        for variable in elements(memoryview(data)[HEADER:], order):
            if variable.kind == COMPRESSED:
                (variable,) = elements(unpack(variable.data), order)
            check_variable(variable, order, names)
        saved = loadmat(io.BytesIO(data), variable_names=list(names))
    except Exception as error:  # a damaged .mat raises nearly anything
        raise damaged(path, str(error) or type(error).__name__) from error
    return {name: saved[name] for name in names if name in saved}


def elements(data: memoryview, order: str) -> Iterator[Element]:
    """The elements that follow each other in `data`. Raises ValueError for one of a size that can't be."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start, stop = at + 8, at + 8 + size
        if kind >> 16:  # up to 4 bytes, in the tag itself
            kind, size = kind & 0xFFFF, kind >> 16
            start, stop = at + 4, at + 4 + size
        if stop > len(data) or (start == at + 4 and size > 4):
            raise ValueError("one of its elements is longer than its place")
        yield Element(kind, data[start:stop])
        at = stop if kind == COMPRESSED else at + -(-(stop - at) // 8) * 8


def unpack(data: memoryview) -> memoryview:
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(data, UNPACKED)
    if unpacker.unconsumed_tail:
        raise ValueError(BOMB)
    return memoryview(unpacked)


def check_variable(variable: Element, order: str, names: Sequence[str]) -> None:
    """Raise ValueError for what is no variable, and for one of these names that is no array of numbers."""
    if variable.kind != MATRIX:
        raise ValueError(f"there is no type {variable.kind} of variables")
    flags, shape, name, *parts = elements(variable.data, order)
    if (flags.kind, shape.kind, name.kind, len(flags.data)) != (UINT32, INT32, CHARS, 8):
        raise ValueError("one of its variables has no flags, shape and name")
    if bytes(name.data).decode("latin-1") not in names:
        return
    (word,) = struct.unpack_from(f"{order}I", flags.data)
    is_complex = bool(word >> 11 & 1)
    if word & 0xFF not in NUMERIC or len(parts) != 1 + is_complex or any(p.kind not in NUMBERS for p in parts):
        raise ValueError(f"its {bytes(name.data).decode('latin-1')} is no array of numbers")
