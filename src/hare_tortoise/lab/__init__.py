"""The laboratory: recipes, trials, the run store, comparisons and reports."""
