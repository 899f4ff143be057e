"""Claims of speed and memory, measured: one script per claim, `python -m benchmarks` runs them all."""
