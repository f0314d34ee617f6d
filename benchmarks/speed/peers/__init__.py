"""The packages that ours is measured beside."""
