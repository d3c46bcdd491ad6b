"""Reconstruction kernels by name: soft ones show the mediastinum, sharp ones edges, lung and bone, with more noise."""

import re
from collections.abc import Callable
from typing import Literal

KernelClass = Literal["soft", "sharp", "lung", "bone", "unknown"]

# Whole words of Convolution Kernel (0018,1210) that mean the same with every vendor that writes words: GE (STANDARD,
# DETAIL, CHEST, BONEPLUS ...), United Imaging (B_SOFT_C, B_VSHARP_B ...), Philips on newer systems, exports of
# treatment planning systems. Sharper words first: "SOFT LUNG" is a lung kernel.
_WORDS: tuple[tuple[str, KernelClass], ...] = (
    (r"lung\d*|chst_?lung", "lung"),
    (r"bone\w*|osteo|ear|skel\w*", "bone"),
    (r"v?sharp|detail|edge|ultra|chest|chst|hd_?det\w*|y-?sharp", "sharp"),
    (r"v?soft\w*|smooth|standard|stnd|std|stand|mediast\w*", "soft"),
)
# Siemens' operating instructions (Somatom Sensation) recommend B30 and B40 for soft tissue and B50 and more where
# sharpness is wanted; the number means the same in the newer two-letter names (Br40, Bl57). B45 and B46 are its sharper
# cardiac kernels. The letter l stands for lung.
_SIEMENS = re.compile(r"([bhqustijd])([a-z]?)(\d\d)[a-z]{0,2}", re.IGNORECASE)
_SIEMENS_SHARP, _SIEMENS_EDGE = 45, 70
# Toshiba/Canon count kernels by organ: FC01-FC19 body, FC20-FC29 and FC40-FC49 head, FC30-FC39 bone and inner ear,
# FC50-FC59 lung, FC60-FC69 head, FC70-FC89 high resolution (FC86 lung).
_CANON = re.compile(r"fc[-_ ]?(\d\d)[-\w]*", re.IGNORECASE)
_CANON_TENS: dict[int, KernelClass] = {
    **dict.fromkeys((0, 1, 2, 4, 6), "soft"),
    **dict.fromkeys((3, 7, 8), "bone"),
    5: "lung",
}
_CANON_EXCEPTIONS: dict[int, KernelClass] = {85: "lung", 86: "lung"}
# Philips' letters run from smooth to sharp. The catalogue of the NLST trial has C and D where it has STANDARD and BONE,
# B30 and B50, FC10 and FC51; L is the lung's, Y and E the bone's, U the head's.
_PHILIPS: dict[str, KernelClass] = {
    **dict.fromkeys(("a", "b", "c", "sa", "sb", "ua", "ub", "uc", "ca", "cb", "xca", "xcb"), "soft"),
    **dict.fromkeys(("d", "sc", "cc", "cd", "xcc", "xcd"), "sharp"),
    "l": "lung",
    **dict.fromkeys(("e", "ea", "eb", "ec", "ya", "yb", "yc", "yd"), "bone"),
}


def kernel_class(kernel: str, manufacturer: str) -> KernelClass:
    """Class of a kernel by its name, as vendors write it in Convolution Kernel (0018,1210).

    The first value counts; the second is Siemens' strength of iterative reconstruction. Whoever needs two classes
    takes everything but ``soft`` and ``unknown`` for sharp. The tables follow a vendor's manual (Siemens) and usage in
    published protocols (the others), not measurements; a name that is in none of them is ``unknown``.

    Args:
        kernel: the tag's text, such as ``B30f``, ``STANDARD`` or ``FC08``; "" is unknown.
        manufacturer: (0008,0070); decides what Philips' letters mean, which other vendors use otherwise.

    """
    name = re.split(r"[\\,'\[\]]+", kernel.strip(" \\[']"))[0].strip()
    vendor = manufacturer.lower()
    if "philips" in vendor and name.lower() in _PHILIPS:
        return _PHILIPS[name.lower()]
    for read in _READERS:
        if (found := read(name)) != "unknown":
            return found
    return "unknown"


def is_sharp(kind: KernelClass) -> bool | None:
    """Whether a kernel of this class is sharp; None if that is not known."""
    return None if kind == "unknown" else kind != "soft"


def _canon(name: str) -> KernelClass:
    match = _CANON.fullmatch(name)
    if match is None:
        return "unknown"
    number = int(match[1])
    return _CANON_EXCEPTIONS.get(number) or _CANON_TENS.get(number // 10, "unknown")


def _siemens(name: str) -> KernelClass:
    match = _SIEMENS.fullmatch(name)
    if match is None:
        return "unknown"
    family, subgroup, sharpness = match[1].lower(), match[2].lower(), int(match[3])
    if sharpness < _SIEMENS_SHARP:
        return "soft"
    if subgroup == "l":
        return "lung"
    if sharpness < _SIEMENS_EDGE:
        return "sharp"
    return "lung" if family in "bid" else "bone"


def _words(name: str) -> KernelClass:
    words = [word for word in re.split(r"[^a-z0-9+-]+", name.lower()) if word]
    for pattern, kind in _WORDS:
        if any(re.fullmatch(pattern, word) for word in words):
            return kind
    return "unknown"


_READERS: tuple[Callable[[str], KernelClass], ...] = (_canon, _siemens, _words)
