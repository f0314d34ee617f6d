"""Every tolerance that a gradient is held to, in one place."""

TIGHT = {"rtol": 1e-11, "atol": 1e-11}  # of the solves that gradients are checked on
GRADCHECK = {"eps": 1e-5, "atol": 1e-5, "rtol": 1e-5}
INNER_AUTOGRAD = {"eps": 1e-5, "atol": 1e-5, "rtol": 1e-5}

# At default tolerances (rtol 1e-3, atol 1e-6) against a 1e-11 reference, relative.
DEFAULT_VALUES = 5e-3
DEFAULT_GRADIENTS = 2e-2

# The engines against each other (design: equal counts, accepted times to 1e-8).
PARITY_TIMES = 1e-8
PARITY_VALUES = 1e-8
PARITY_FLOAT32_STEPS = 0.02
# In float32 steps follow rounding, which differs between processors (seen: Xeon and EPYC), so that values differ by the
# accuracy of the solves themselves, which for the backsolve gradients of Lotka-Volterra on [0, 8] at rtol 1e-3 is 5 %.
PARITY_FLOAT32_VALUES = 1e-2
PARITY_FLOAT32_GRADIENTS = 1e-1

SCALED_LOSS_GRADIENTS = 1e-10
