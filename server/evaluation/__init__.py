"""Thresholds, the one look at the test set, comparators and explanation."""
