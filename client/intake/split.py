"""Divide patients into training, validation and test: a property of each patient alone."""

import hashlib

from fedescc.client.cohort import SplitName
from fedescc.common.study import Split


def split_of(key: str, split: Split) -> SplitName:
    """The part a patient belongs to, from a hash of the fractions and the salted key.

    No other patient enters, so adding or removing patients moves nobody.
    """
    text = f"fedescc-split|{split.train!r}|{split.validation!r}|{key}"
    u = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    if u < split.train:
        return "train"
    return "validation" if u < split.train + split.validation else "test"
