"""A value that needs more bits than the header says is refused: without them it would be a plausible other one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
)

from fedescc.client.imaging.headers.fields import own_fields, shared_fields
from fedescc.client.imaging.headers.header import DicomRow, read_header
from fedescc.client.imaging.inspection import inspect_folder
from fedescc.client.imaging.volumes.pixels import stored_values
from fedescc.client.imaging.volumes.stored_bits import significant_bits
from fedescc.client.imaging.volumes.volume import read_slice
from fedescc.common.errors import Refusal

Slice = Callable[..., Dataset]
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
NOTHING = DicomRow._make(("", "", 0, None, *own_fields({}), *shared_fields({}, "", little=True, has_pixels=True)))


def saved(folder: Path, dataset: Dataset) -> DicomRow:
    dataset.save_as(folder / "slice", enforce_file_format=True)
    return read_header(str(folder), "slice")


def verdict(row: DicomRow) -> Any:
    """The values, or the code against them."""
    try:
        return stored_values(row)
    except Refusal as refusal:
        return refusal.code


def bits(stored: int) -> dict[str, int]:
    return {"BitsStored": stored, "HighBit": stored - 1}


def bone(top: int) -> np.ndarray:
    """A smooth image, soft tissue at 1000 and a ridge up to the top."""
    y, x = np.mgrid[:40, :40]
    return (1000 + (top - 1000) * np.exp(-((x - 20) ** 2 + (y - 20) ** 2) / 90)).astype(np.int32)


def chest(value: int) -> np.ndarray:
    """HU: a body of soft tissue in air, with a few pixels of another value in its middle."""
    y, x = np.mgrid[:40, :40]
    hu = np.where(np.hypot(y - 20, x - 20) < 15, 40, -1000) + (x % 5)
    hu[19:21, 19:21] = value
    return hu


@pytest.mark.parametrize("value", [3000, 5000, -2500, -3024, -4096, -10_000, -32_768])
@pytest.mark.parametrize("syntax", NATIVE)
def test_signed_values_beyond_the_stated_bits_are_refused(
    tmp_path: Path, ct_slice: Slice, syntax: str, value: int
) -> None:
    """3000 in 12 bits would be -1096, -3024 would be 1072, -2500 would be 1596."""
    row = saved(tmp_path, ct_slice(chest(value).astype(np.int16), syntax=syntax, **bits(12)))
    assert verdict(row) == "bits_contradicted"


@pytest.mark.parametrize(("stored", "hu"), [(12, 5000), (12, 3072), (13, 9000), (12, -10_000), (12, -4096)])
def test_unsigned_values_beyond_the_stated_bits_are_refused(
    tmp_path: Path, ct_slice: Slice, stored: int, hu: int
) -> None:
    """5000 HU in 12 bits would be 904 HU, 9000 in 13 bits 808, a padding of -10,000 would be 2288."""
    words = (chest(hu) + 1024).astype(np.int16).view(np.uint16)
    assert verdict(saved(tmp_path, ct_slice(words, **bits(stored)))) == "bits_contradicted"


@pytest.mark.parametrize("extremes", [(-2048, 2047), (-1000, 1500)])
def test_all_that_fits_in_the_stated_bits_is_read(tmp_path: Path, ct_slice: Slice, extremes: tuple[int, int]) -> None:
    for value in extremes:
        row = saved(tmp_path, ct_slice(chest(value).astype(np.int16), **bits(12)))
        np.testing.assert_array_equal(verdict(row), chest(value))
        row = saved(tmp_path, ct_slice((chest(value) + 2048).astype(np.uint16), **bits(12)))
        np.testing.assert_array_equal(verdict(row), chest(value) + 2048)


def test_a_series_with_such_a_slice_is_refused_by_its_code(tmp_path: Path, ct_series: Callable[..., Any]) -> None:
    hu = np.stack([chest(40), chest(40), chest(5000), chest(40)])
    ct_series(tmp_path, (hu + 1024).astype(np.uint16), **bits(12))
    (series,) = inspect_folder(tmp_path)["series"]
    assert (series["verdict"], series["reasons"], series["hu"]) == ("refused", ["bits_contradicted"], None)


ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    JPEG2000Lossless: lambda a: bytes(encode_array(a, photometric_interpretation=2)),
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEGLossless: lambda a: imagecodecs.ljpeg_encode(a, bitspersample=16),
}


@pytest.mark.parametrize("syntax", [*ENCODERS, RLELossless])
def test_a_codestream_with_more_bits_than_the_header_says_is_refused(
    tmp_path: Path, ct_slice: Slice, syntax: str
) -> None:
    words = (chest(5000) + 1024).astype(np.uint16)
    dataset = ct_slice(words, **bits(12))
    if syntax == RLELossless:
        dataset = ct_slice(words)
        dataset.compress(syntax, encoding_plugin="pydicom")
        dataset.BitsStored, dataset.HighBit = 12, 11
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([ENCODERS[syntax](words)])
        dataset["PixelData"].VR = "OB"
    assert verdict(saved(tmp_path, dataset)) == "bits_contradicted"


@given(st.integers(1, 16), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_unused_bits_that_say_nothing_else_never_change_the_value(
    stored: int, signed: bool, extended: bool, seed: int
) -> None:
    """PS3.5 8.1.1: of a negative value they are 0 throughout the image or extend the sign throughout."""
    low, high = (-(1 << stored - 1), 1 << stored - 1) if signed else (0, 1 << stored)
    if not extended:  # an image that spans the whole range may as well be one that wrapped around
        low, high = low // 2, high // 2
    smooth = np.sort(np.random.default_rng(seed).integers(low, high if signed else max(high, 1), 64)).reshape(8, 8)
    words = smooth if extended else smooth & ((1 << stored) - 1)
    dtype = np.int16 if signed else np.uint16
    row = NOTHING._replace(bits_allocated=16, bits_stored=stored, signed=signed)
    values = significant_bits(words.astype(np.uint16).view(dtype), row)
    assert values.dtype == dtype
    np.testing.assert_array_equal(values, smooth)


@given(st.integers(2, 15), st.booleans(), st.integers(0, 2**32 - 1))
def test_one_bit_too_many_is_always_refused(stored: int, signed: bool, seed: int) -> None:
    """A value just beyond the range, anywhere in an image that has both signs."""
    rng = np.random.default_rng(seed)
    low, high = (-(1 << stored - 1), 1 << stored - 1) if signed else (0, 1 << stored)
    values = np.sort(rng.integers(low, high, 64))
    values[:2] = low, low
    values[rng.integers(2, 64)] = high + rng.integers(0, high)
    row = NOTHING._replace(root="/", name="nowhere", bits_allocated=16, bits_stored=stored, signed=signed)
    words = values.reshape(8, 8).astype(np.uint16).view(np.int16 if signed else np.uint16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedescc.client.imaging.volumes.stored_bits._overlay_bits", lambda _: 0)
        with pytest.raises(Refusal) as caught:
            significant_bits(words, row)
    # Where all values but the excess are small, the excess may look like a sign; refused all the same.
    assert caught.value.code in {"bits_contradicted", "sign_contradicted"}


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_bone_that_would_wrap_around_is_refused(tmp_path: Path, ct_slice: Slice, syntax: str) -> None:
    """Unsigned values under a header that calls them signed: above 2047 they would turn to less than air."""
    twelve = {**bits(12), "syntax": syntax}
    assert verdict(saved(tmp_path, ct_slice(bone(3000).astype(np.int16), **twelve))) == "sign_contradicted"
    below = saved(tmp_path, ct_slice(bone(2047).astype(np.int16), **twelve))
    np.testing.assert_array_equal(verdict(below), bone(2047))


def test_negative_values_without_extended_sign_are_read(tmp_path: Path, ct_slice: Slice) -> None:
    """As the standard has it: unused bits may be 0, whatever the sign."""
    values = bone(1500) - 2000
    row = saved(tmp_path, ct_slice((values & 0x0FFF).astype(np.int16), **bits(12)))
    np.testing.assert_array_equal(verdict(row), values)


def test_some_signs_extended_and_some_not_are_refused(tmp_path: Path, ct_slice: Slice) -> None:
    words = bone(1500) - 2000
    words[:20] &= 0x0FFF
    assert verdict(saved(tmp_path, ct_slice(words.astype(np.int16), **bits(12)))) == "bits_contradicted"


def test_negative_values_under_an_unsigned_header_are_refused(tmp_path: Path, ct_slice: Slice) -> None:
    words = (bone(1500) - 2000).astype(np.int16).view(np.uint16)
    assert verdict(saved(tmp_path, ct_slice(words, **bits(12)))) == "sign_contradicted"


def with_overlay(dataset: Dataset, position: int, allocated: int = 16, group: int = 0x6000) -> Dataset:
    """Overlay Bits Allocated and Overlay Bit Position (PS3.3 C.9.2, retired in 2004)."""
    dataset.add_new((group, 0x0100), "US", allocated)
    dataset.add_new((group, 0x0102), "US", position)
    return dataset


def drawn(values: np.ndarray, position: int, dtype: type) -> np.ndarray:
    """Words whose first lines carry an overlay in one bit."""
    words = values.astype(np.uint16)
    words[:4] ^= np.uint16(1 << position)
    return words.view(dtype)


def test_large_unsigned_values_with_a_declared_overlay_are_read(tmp_path: Path, ct_slice: Slice) -> None:
    values = bone(4095)
    dataset = ct_slice(drawn(values, 15, np.uint16), **bits(12))
    assert verdict(saved(tmp_path, dataset)) == "bits_contradicted"
    np.testing.assert_array_equal(verdict(saved(tmp_path, with_overlay(dataset, 15, group=0x6002))), values)


@pytest.mark.parametrize("extended", [True, False])
def test_signed_values_with_a_declared_overlay_are_read(tmp_path: Path, ct_slice: Slice, extended: bool) -> None:
    """Whether the other unused bits extend the sign or not, the overlay's bit is no part of it."""
    values = bone(1500) - 2000
    words = drawn(values if extended else values & 0x0FFF, 12, np.int16)
    dataset = ct_slice(words, **bits(12))
    assert verdict(saved(tmp_path, dataset)) == "bits_contradicted"
    np.testing.assert_array_equal(verdict(saved(tmp_path, with_overlay(dataset, 12))), values)


@pytest.mark.parametrize(("position", "allocated"), [(13, 16), (0, 16), (13, 1), (0, 1), (12, 8)])
def test_an_overlay_that_does_not_explain_the_bits_is_no_excuse(
    tmp_path: Path, ct_slice: Slice, position: int, allocated: int
) -> None:
    """At position 0 it is no high bit."""
    dataset = ct_slice(drawn(bone(4095), 12, np.uint16), **bits(12))
    assert verdict(saved(tmp_path, with_overlay(dataset, position, allocated))) == "bits_contradicted"


def test_overlays_in_every_unused_bit_are_dropped(tmp_path: Path, ct_slice: Slice) -> None:
    values = bone(1500) - 2000
    words = (values & 0x0FFF) | np.random.default_rng(0).integers(0, 16, values.shape) << 12
    dataset = ct_slice(words.astype(np.uint16).view(np.int16), **bits(12))
    for k in range(4):
        with_overlay(dataset, 12 + k, group=0x6000 + 2 * k)
    np.testing.assert_array_equal(verdict(saved(tmp_path, dataset)), values)


@pytest.mark.parametrize("allocated", [1, None])
def test_an_overlay_whose_allocation_old_writers_got_wrong_is_dropped(
    tmp_path: Path, ct_slice: Slice, allocated: int | None
) -> None:
    values = bone(4095)
    dataset = with_overlay(ct_slice(drawn(values, 12, np.uint16), **bits(12)), 12, allocated or 1)
    if allocated is None:
        del dataset[0x6000, 0x0100]
    np.testing.assert_array_equal(verdict(saved(tmp_path, dataset)), values)
    dataset.add_new((0x6000, 0x3000), "OW", bytes(values.size // 8))  # stored apart: the bit is none of its
    assert verdict(saved(tmp_path, dataset)) == "bits_contradicted"


CORNER = np.s_[:4, :4]


def padded_words(tissue: np.ndarray, padding: int, dtype: type) -> np.ndarray:
    words = tissue.astype(np.int16)
    words[CORNER] = np.int16(padding)
    return words.view(dtype)


@pytest.mark.parametrize("extended", [True, False])
@pytest.mark.parametrize("padding", [-2000, -2500, -3024, -4096, -32_768])
def test_declared_padding_keeps_its_value_beyond_the_stated_bits(
    tmp_path: Path, ct_slice: Slice, padding: int, extended: bool
) -> None:
    """Without its high bits -3024 would be 1072, tissue."""
    body = bone(1500) - 2000
    words = padded_words(body if extended else body & 0x0FFF, padding, np.int16)
    tags = {**bits(12), "RescaleIntercept": 0, "PixelPaddingValue": padding}
    truth = body.copy()
    truth[CORNER] = padding
    np.testing.assert_array_equal(verdict(saved(tmp_path, ct_slice(words, **tags))), truth)


@pytest.mark.parametrize("syntax", NATIVE)
def test_negative_padding_of_unsigned_values_lies_below_air(tmp_path: Path, ct_slice: Slice, syntax: str) -> None:
    """63536 is -2000 written unsigned; in 12 bits it would be 2096, or 1072 HU."""
    words = padded_words(bone(3000), -2000, np.uint16)
    tags = {**bits(12), "RescaleIntercept": -1024, "syntax": syntax}
    row = saved(tmp_path, ct_slice(words, PixelPaddingValue=63536, **tags))
    hu = read_slice(row)
    assert (hu[CORNER] == -3024).all()
    np.testing.assert_array_equal(hu[4:], bone(3000)[4:] - 1024)
    assert verdict(saved(tmp_path, ct_slice(words, **tags))) in {"bits_contradicted", "sign_contradicted"}


def test_padding_excuses_no_other_word(tmp_path: Path, ct_slice: Slice) -> None:
    tags = {**bits(12), "RescaleIntercept": -1024}
    words = padded_words(bone(5000), -2000, np.uint16)
    assert verdict(saved(tmp_path, ct_slice(words, PixelPaddingValue=63536, **tags))) == "bits_contradicted"
    words = padded_words(bone(3000), -2000, np.int16)  # unsigned values under a signed header
    assert verdict(saved(tmp_path, ct_slice(words, PixelPaddingValue=-2000, **tags))) == "sign_contradicted"
    assert (
        verdict(saved(tmp_path, ct_slice(np.full((8, 8), -2500, np.int16), PixelPaddingValue=-2500, **tags)))
    ).max() == -2500


@given(st.integers(8, 15), st.booleans(), st.integers(-32_768, 65_535), st.integers(-8192, 0), st.booleans())
def test_no_padding_becomes_tissue(stored: int, signed: bool, padding: int, intercept: int, as_signed: bool) -> None:
    """It is refused, or its HU are those of a word read whole."""
    padding = (padding + 32_768) % 65_536 - 32_768
    top = 1 << (stored - 1)
    words = np.sort(np.random.default_rng(0).integers(0, top // 2, 64)).reshape(8, 8)
    words[0, :4] = padding
    row = NOTHING._replace(root="/", name="nowhere", bits_allocated=16, bits_stored=stored, signed=signed)
    row = row._replace(slope=1.0, intercept=float(intercept), pixel_padding=padding if as_signed else padding % 65_536)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedescc.client.imaging.volumes.stored_bits._overlay_bits", lambda _: 0)
        try:
            values = significant_bits(words.astype(np.uint16).view(np.int16 if signed else np.uint16), row)
        except Refusal:
            return
    np.testing.assert_array_equal(values[1:], words[1:])
    if not (0 <= padding < 2 * top):  # else it is a value like any other, and may be a sign left out
        assert (values[0, :4] == padding).all()
        assert signed or padding + intercept <= -1000
