"""Pure statistics on arrays and sums."""
