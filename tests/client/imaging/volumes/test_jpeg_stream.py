"""A JPEG stream's own precision and size, read from its segments."""

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.imaging.volumes.jpeg_stream import JpegFrame, parse_jpeg

VALUES = np.random.default_rng(2).integers(0, 4096, (37, 21)).astype(np.uint16)
STREAMS = {
    "lossless 12": (imagecodecs.ljpeg_encode(VALUES, bitspersample=12), JpegFrame(0xC3, 12, 37, 21, 1)),
    "lossless 16": (imagecodecs.ljpeg_encode(VALUES, bitspersample=16), JpegFrame(0xC3, 16, 37, 21, 1)),
    "extended": (imagecodecs.jpeg_encode(VALUES, bitspersample=12), JpegFrame(0xC1, 12, 37, 21, 1)),
    "baseline": (imagecodecs.jpeg_encode((VALUES >> 4).astype(np.uint8)), JpegFrame(0xC0, 8, 37, 21, 1)),
    "colour": (
        imagecodecs.jpeg_encode(np.stack([(VALUES >> 4).astype(np.uint8)] * 3, 2)),
        JpegFrame(0xC0, 8, 37, 21, 3),
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_frame_header_is_found(name: str) -> None:
    code, frame = STREAMS[name]
    parsed = parse_jpeg(bytes(code))
    assert parsed
    assert parsed[0] == frame


def test_only_what_applications_read_is_dropped() -> None:
    code = bytes(STREAMS["extended"][0])
    assert code[2:4] == b"\xff\xe0"
    length = 2 + int.from_bytes(code[4:6])
    parsed = parse_jpeg(code[:2] + b"\xff\xfe\x00\x05abc" + code[2:])
    assert parsed
    assert parsed[1] == code[:2] + code[2 + length :]


def test_a_stream_without_frame_or_scan_is_none() -> None:
    code = bytes(STREAMS["extended"][0])
    scan, frame = code.index(b"\xff\xda"), code.index(b"\xff\xc1")
    for bad in (
        b"",
        b"\xff\xd8",
        code[:scan],
        code[1:],
        code[:frame] + code[frame + 13 :],
        code[:20] + b"x" + code[20:],
    ):
        assert parse_jpeg(bad) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_to_an_end(data: bytes) -> None:
    for code in (data, b"\xff\xd8" + data, b"\xff\xd8\xff\xc1" + data):
        parsed = parse_jpeg(code)
        assert parsed is None or parsed[0].kind in range(0xC0, 0xD0)
