"""ICC profiles for colour spaces that files describe by numbers: H.273 codes, gAMA and cHRM."""

import struct
from dataclasses import dataclass

import numpy as np

from model.imaging.errors import UnsupportedFormatError

# Parameters g, a, b, c, d of ICC's parametric curve of type 3: light is (a x + b) ** g from d on,
# and c x below. IEC 61966-2-1.
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_A_240M, _B_240M = 1.1115, 0.0228
_D65 = (0.3127, 0.3290)
_C = (0.310, 0.316)
_BT709 = (*_D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
_BT601 = (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)
# x and y of white, red, green and blue. ITU-T H.273, table 2.
_PRIMARIES = {
    1: _BT709,
    4: (*_C, 0.670, 0.330, 0.210, 0.710, 0.140, 0.080),
    5: (*_D65, 0.640, 0.330, 0.290, 0.600, 0.150, 0.060),
    6: _BT601,
    7: _BT601,
    8: (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
# ITU-T H.273, table 3: curves of cameras (BT.709, BT.601, xvYCC, BT.2020), which no display shows
# as they are, and those that are shown.
_CAMERA = (1, 6, 11, 14, 15)
_BT1886 = (2.4,)
# libpng's PNG_GAMMA_THRESHOLD: a gamma nearer to 1 / 2.2 than this share is sRGB's.
_GAMMA_THRESHOLD = 0.05
_CURVES = {
    13: _SRGB_CURVE,
    4: (2.2,),
    5: (2.8,),
    7: (1 / 0.45, 1 / _A_240M, 1 - 1 / _A_240M, 1 / 4, 4 * _B_240M),
    8: (1.0,),
}
_HDR = {16: "PQ (SMPTE ST 2084)", 18: "HLG (ARIB STD-B67)"}
# The profile connection space's white, as ICC.1:2022 spells it (section 7.2.16).
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


@dataclass(frozen=True)
class ColourSpace:
    """An RGB colour space.

    Attributes:
        primaries: x and y of white, red, green and blue.
        curve: from samples to light: (g,), a power, or (g, a, b, c, d), ICC's parametric curve
            of type 3.

    Example:
        >>> SRGB == from_h273(1, 13, is_png=True)
        True
    """

    primaries: tuple[float, ...]
    curve: tuple[float, ...]


SRGB = ColourSpace(_BT709, _SRGB_CURVE)


def from_h273(primaries: int, transfer: int, *, is_png: bool) -> ColourSpace | None:
    """Looks up a colour space by its code points, as Chromium renders them (version 156).

    Args:
        primaries: colour primaries; 2, unspecified, and reserved ones count as BT.709.
        transfer: transfer characteristics; 2, unspecified, counts as sRGB.
        is_png: curves of cameras, such as BT.709's, are shown by BT.1886's gamma of 2.4 in a PNG,
            and as sRGB in an AVIF.

    Returns:
        None for transfer characteristics that browsers do not render.

    Raises:
        UnsupportedFormatError: for those of high dynamic range, PQ and HLG.

    Source:
        ITU-T H.273 (07/2024), tables 2 and 3; ITU-R BT.1886.
    """
    if transfer in _HDR:
        raise UnsupportedFormatError(
            f"high dynamic range is not rendered: its transfer function is {_HDR[transfer]}"
        )
    if transfer in _CAMERA:
        curve: tuple[float, ...] | None = _BT1886 if is_png else _SRGB_CURVE
    else:
        curve = _CURVES.get(13 if transfer == 2 else transfer)
    return None if curve is None else ColourSpace(_PRIMARIES.get(primaries, _BT709), curve)


def from_gamma(
    gamma: float | None, chromaticities: tuple[float, ...] | None
) -> ColourSpace | None:
    """Describes a PNG's colours by its gAMA and cHRM chunks, as Chromium renders them.

    Args:
        gamma: samples are light to this power; None without gAMA.
        chromaticities: x and y of white, red, green, blue; None without cHRM.

    Returns:
        None, for sRGB, without gAMA, with impossible chromaticities, and with a gamma near
        1 / 2.2 alone, which writers mean as sRGB's.

    Source:
        PNG (third edition), sections 11.3.2.1 and 11.3.2.2; libpng's `PNG_GAMMA_THRESHOLD`.
    """
    if gamma is None:
        return None
    if chromaticities is None:
        is_srgb = abs(gamma * 2.2 - 1) <= _GAMMA_THRESHOLD
        return None if is_srgb else ColourSpace(_BT709, (1 / gamma,))
    return ColourSpace(chromaticities, (1 / gamma,))


def icc_profile(space: ColourSpace, *, is_grey: bool) -> bytes | None:
    """Builds the ICC profile of a colour space.

    Args:
        space: see `ColourSpace`.
        is_grey: for pixels of one grey plane: the profile then has the curve alone.

    Returns:
        A profile of version 4.3, always the same bytes for the same space; None for sRGB, which
        needs none, and where no profile can hold the numbers.

    Source:
        ICC.1:2022, sections 7 to 10; Lindbloom, "RGB/XYZ matrices" and "Chromatic adaptation".
    """
    is_srgb = space.curve == SRGB.curve and (is_grey or space.primaries == SRGB.primaries)
    xyz = _to_xyz(space.primaries)
    if is_srgb or xyz is None:
        return None
    kind = 0 if len(space.curve) == 1 else 3
    try:
        curve = b"para" + bytes(4) + struct.pack(">HH", kind, 0) + _fixed(*space.curve)
        tags = {b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50)}
        if is_grey:
            tags[b"kTRC"] = curve
        else:
            adaptation = _adaptation(space.primaries)
            tags[b"chad"] = b"sf32" + bytes(4) + _fixed(*adaptation.ravel())
            columns = (adaptation @ xyz).T
            for name, column in zip((b"r", b"g", b"b"), columns, strict=True):
                tags[name + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(*column)
                tags[name + b"TRC"] = curve
    except struct.error:
        return None
    return _profile(b"GRAY" if is_grey else b"RGB ", tags)


def _to_xyz(primaries: tuple[float, ...]) -> np.ndarray | None:
    """The matrix from linear RGB to CIE XYZ, white with Y = 1; None for impossible primaries."""
    x, y = np.array(primaries[0::2]), np.array(primaries[1::2])
    if (y <= 0).any():
        return None
    xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])  # columns: white, red, green, blue
    try:
        scale = np.linalg.solve(xyz[:, 1:], xyz[:, 0])
    except np.linalg.LinAlgError:
        return None
    return xyz[:, 1:] * scale if np.isfinite(scale).all() else None


def _adaptation(primaries: tuple[float, ...]) -> np.ndarray:
    """Bradford's matrix from the white of some primaries to D50."""
    x, y = primaries[:2]
    white = _BRADFORD @ [x / y, 1, (1 - x - y) / y]
    return np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / white) @ _BRADFORD


def _fixed(*numbers: float) -> bytes:
    """Numbers as s15Fixed16."""
    return struct.pack(f">{len(numbers)}i", *(round(float(n) * 65536) for n in numbers))


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A display profile with these tags, a description and a copyright notice."""
    text = "Colours of the source".encode("utf-16-be")
    words = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28)
    tags = {b"desc": words + text, b"cprt": words + text, **tags}
    offsets: dict[bytes, int] = {}
    directory, content = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        if body not in offsets:
            offsets[body] = 132 + 12 * len(tags) + len(content)
            content += body + bytes(-len(body) % 4)
        directory += name + struct.pack(">II", offsets[body], len(body))
    head = struct.pack(
        ">II4s4s4s4s",
        132 + len(directory) - 4 + len(content),
        0,
        b"\4\x30\0\0",
        b"mntr",
        space,
        b"XYZ ",
    )
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(*_D50)
    return head.ljust(128, b"\0") + directory + content
