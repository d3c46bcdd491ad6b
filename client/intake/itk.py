"""SimpleITK, loaded when first used and kept out of the type checker's way: its functions carry no types."""

from typing import Any


def simple_itk() -> Any:
    """The SimpleITK module."""
    import SimpleITK

    return SimpleITK
