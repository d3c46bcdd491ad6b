"""Synthetic cohorts and whole federations in one process."""
