"""The seminorm paper's claim, measured on three families of tasks."""
