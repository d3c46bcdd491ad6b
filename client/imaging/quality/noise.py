"""Image noise, measured where the tissue is homogeneous."""

import numpy as np

from fedescc.client.imaging.quality.tissue import Sample

# Fat, muscle, blood and organs with and without contrast medium; lung, gas and bone have a texture of their own.
_SOFT_HU = (-20.0, 180.0)
# At an edge the blocks differ as much as the pixels do; noise averages out in them (0.25 to 0.75 of the pixels' SD on
# three real series and with white noise behind soft kernels).
_EDGE_RATIO = 0.7
_BIN_HU = 1.0
_SMOOTHING_BINS = 5
_MAX_HU = 400.0
_MIN_CM3 = 5.0


def measure_noise(sample: Sample) -> float | None:
    """SD (HU) of the pixels within 9 mm of soft tissue: its most frequent value; None where there is too little.

    The most frequent local SD is that of homogeneous tissue; edges and vessels only fill the tail (global noise level,
    Christianson et al., AJR 2015;205:W93).
    """
    low, high = _SOFT_HU
    even = sample.homogeneous | (sample.texture < _EDGE_RATIO * sample.pixel_sd)
    sd = sample.pixel_sd[even & (sample.smooth > low) & (sample.smooth < high)]
    if sd.size * sample.block_cm3 < _MIN_CM3:
        return None
    count, edges = np.histogram(sd, bins=np.arange(0, _MAX_HU + _BIN_HU, _BIN_HU))
    smooth = np.convolve(count, np.ones(_SMOOTHING_BINS), mode="same")
    return float(edges[smooth.argmax()] + _BIN_HU / 2)
