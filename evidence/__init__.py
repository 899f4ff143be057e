"""The evidence under docs/results: what is run, what was measured, and the pages made of it."""
