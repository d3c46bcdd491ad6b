"""The first CT's ROI carried over to the second."""
