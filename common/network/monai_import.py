"""MONAI imported without the one warning that nobody here can act on."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def torch_jit_unmentioned() -> Iterator[None]:
    """MONAI 1.6 still imports TorchScript, of which torch 2.13 warns; nothing here uses it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        yield
