"""The shared network: encoders, fusion, and what it may start from."""
