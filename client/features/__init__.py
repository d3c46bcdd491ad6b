"""Named and radiomic features of a site's own images."""
