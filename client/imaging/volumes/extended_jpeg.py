"""Lossy JPEG of 12 bits (JPEG Extended, 1.2.840.10008.1.2.4.51), by GDCM itself.

pydicom declines to decode it by its GDCM plug-in, and the decoder that it would take is under the GPL. GDCM is right: a
test holds it equal, value by value, to libjpeg-turbo. It says "Unsupported JPEG data precision 12" on standard error
while it tries its decoders in turn.
"""

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.volumes.jpeg_stream import JpegFrame, parse_jpeg

_SYNTAX = "1.2.840.10008.1.2.4.51"
_SEQUENTIAL = 0xC1  # SOF1, Huffman-coded, the only frame that Process 4 has
_BITS = 12


def decode_extended(code: bytes, rows: int, columns: int) -> NDArray[np.uint16]:
    """Values (y, x) of one image.

    Args:
        code: a whole JPEG stream.
        rows: as the DICOM header has it.
        columns: likewise.

    Raises:
        ValueError: it is no grey image of that size in 12 bits, or is damaged.

    """
    import gdcm

    parsed = parse_jpeg(code)
    if not parsed or parsed[0] != JpegFrame(_SEQUENTIAL, _BITS, rows, columns, 1):
        raise ValueError("another kind of JPEG, or another size, than the header says")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(parsed[1])
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    pixels = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    pixels.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(pixels)
    grey = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(_SYNTAX)))
    # All 16 bits: with fewer stored than the stream has, GDCM shifts the values.
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 16, 15, 0))
    values = image.GetBuffer()
    if values is None:
        raise ValueError("damaged")
    # GDCM's bytes come as text, one lone surrogate for each that is no UTF-8.
    return np.frombuffer(values.encode("utf-8", "surrogateescape"), "<u2").reshape(rows, columns)
