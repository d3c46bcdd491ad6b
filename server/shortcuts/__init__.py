"""Whether the model could tell the hospital or the scanner instead of the outcome."""
