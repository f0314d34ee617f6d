"""How the two passes of a solve are posed: problems and results, right-hand sides, sweeps, and autograd around them."""
