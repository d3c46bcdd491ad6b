"""What a federation is compared with, and what only a simulation knows."""
