"""SimpleITK, loaded when first used and kept out of the type checker's way: its functions carry no types."""

from typing import Any


def simple_itk() -> Any:
    """The SimpleITK module, with ITK's own warnings off: they quote paths, which may name a patient."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # type: ignore[no-untyped-call] # SimpleITK has no types
    return SimpleITK
