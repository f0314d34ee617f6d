"""Captured graphs as Julia source: strided views of flat memory, loops over fused expressions, matrix products."""
