"""TIFF files written byte by byte: every layout gives its pixels or a sentence, and none gives others."""

import struct
import zlib

import numpy as np
import pytest

from networks.errors import UserError
from networks.images.reading import read_image

GREY = ((np.arange(24)[:, None] + np.arange(32)) * 255 // 54).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)


RARE = "a rare kind, such as a TIFF with floating-point values"


def write_tiff(path, values, *, order="<", compressed=False, separate=False, photometric=None, extra=0):
    """A TIFF of one strip, or of one for each channel, after the specification (TIFF 6.0, sections 2, 5 and 8)."""
    values = np.asarray(values)
    channels = values[..., None] if values.ndim == 2 else values
    height, width, n_channels = channels.shape
    ordered = channels.astype(channels.dtype.newbyteorder(order))
    strips = [ordered[..., c].tobytes() for c in range(n_channels)] if separate else [ordered.tobytes()]
    strips = [zlib.compress(strip) for strip in strips] if compressed else strips
    if photometric is None:
        photometric = 2 if n_channels >= 3 else 1
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    bits = values.dtype.itemsize * 8
    tags = [(256, [width]), (257, [height]), (258, [bits] * n_channels), (259, [8 if compressed else 1])]
    tags += [(262, [photometric]), (273, None), (277, [n_channels]), (278, [height])]
    tags += [(279, [len(strip) for strip in strips]), (284, [2 if separate else 1])]
    tags += [(338, [2] * extra)] * bool(extra) + [(339, [kind] * n_channels)]
    at = 8 + 2 + 12 * len(tags) + 4
    places = {}
    for tag, numbers in tags:
        places[tag] = at
        at += 4 * (len(strips) if numbers is None else len(numbers))
    offsets = []
    for strip in strips:
        offsets.append(at)
        at += len(strip)
    entries, outside = b"", b""
    for tag, numbers in tags:
        numbers = offsets if numbers is None else numbers
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers))
        entries += packed if len(numbers) == 1 else struct.pack(f"{order}I", places[tag])
        outside += packed
    header = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    path.write_bytes(header + directory + outside + b"".join(strips))
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("dtype", "factor"), [(np.uint8, 1), (np.uint16, 257)])
def test_grey_in_both_byte_orders(tmp_path, order, compressed, dtype, factor):
    values = GREY.astype(dtype) * dtype(factor)
    image = read_image(write_tiff(tmp_path / "a.tif", values, order=order, compressed=compressed))
    assert (image == GREY[..., None]).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.float32])
def test_32_bits_are_refused(tmp_path, order, compressed, dtype):
    """Pillow opens some of them, and of these some in the wrong byte order."""
    path = write_tiff(tmp_path / "a.tif", GREY.astype(dtype), order=order, compressed=compressed)
    with pytest.raises(UserError, match=r"a.tif .*(32-bit|floating-point).* values.*; save it as PNG or JPEG with 8"):
        read_image(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_in_one_plane_and_in_three(tmp_path, order, compressed, separate, dtype):
    values = (COLOUR.astype(np.uint16) * (257 if dtype is np.uint16 else 1)).astype(dtype)
    path = write_tiff(tmp_path / "a.tif", values, order=order, compressed=compressed, separate=separate)
    if dtype is np.uint16 and separate and not compressed:  # Pillow takes each byte for a value
        with pytest.raises(UserError, match=r"a.tif cannot be read: it stores its 16-bit channels one after the other"):
            read_image(path)
    else:
        assert (read_image(path) == COLOUR).all()


def test_grey_and_alpha_in_two_planes(tmp_path):
    values = np.dstack([GREY, np.full_like(GREY, 255)])
    assert (read_image(write_tiff(tmp_path / "a.tif", values, extra=1)) == GREY[..., None]).all()
    with pytest.raises(UserError, match=r"8-bit channels one after the other.*save it as PNG or JPEG with 8 bits"):
        read_image(write_tiff(tmp_path / "b.tif", values, extra=1, separate=True))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (GREY.astype(np.int8), "signed 8-bit values"),
        (GREY.astype(np.int16), "signed 16-bit values"),
        (COLOUR.astype(np.int16), RARE),
        (COLOUR.astype(np.float32) / 255, RARE),
        (GREY.astype(np.float64) / 255, RARE),
        (GREY.astype(np.float16) / 255, RARE),
        (np.dstack([GREY] * 7), RARE),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_other_layouts_are_refused(tmp_path, values, said, order):
    with pytest.raises(UserError, match=f"a.tif cannot be read: it .*{said}.*; save it as PNG or JPEG with 8 bits"):
        read_image(write_tiff(tmp_path / "a.tif", values, order=order))
