"""From rows to CT volumes in HU on an exact grid, or reasons against them."""
