"""One call of a Julia solver: its settings, its callbacks into torch, its results."""
