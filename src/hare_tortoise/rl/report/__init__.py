"""What agents came to: figures, their comparison, and the words, tables and pictures that show it."""
