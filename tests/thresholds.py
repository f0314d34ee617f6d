"""Every tolerance that a gradient is held to, in one place."""

TIGHT = {"rtol": 1e-11, "atol": 1e-11}  # of the solves that gradients are checked on
GRADCHECK = {"eps": 1e-5, "atol": 1e-5, "rtol": 1e-5}
INNER_AUTOGRAD = {"eps": 1e-5, "atol": 1e-5, "rtol": 1e-5}

# At default tolerances (rtol 1e-3, atol 1e-6) against a 1e-11 reference, relative.
DEFAULT_VALUES = 5e-3
DEFAULT_GRADIENTS = 2e-2

# The engines against each other (docs/decisions.md, Parity: equal counts, accepted times to 1e-8).
PARITY_TIMES = 1e-8
PARITY_VALUES = 1e-8
PARITY_FLOAT32_STEPS = 0.02
PARITY_FLOAT32_VALUES = 1e-2  # the solves' own accuracy: their steps differ by rounding
# Lotka-Volterra on [0, 8] by backsolve in float32 at rtol 1e-3: its gradients are 5 % off by themselves, and an EPYC
# takes 35 attempts where the recording Xeon took 33. Only this case may differ by so much.
ILL_CONDITIONED = "lotka_volterra tsit5 backsolve seminorm 0.001 1e-06 2 8.0 float32"
ILL_CONDITIONED_STEPS = 2
ILL_CONDITIONED_GRADIENTS = 1e-1

SCALED_LOSS_GRADIENTS = 1e-10
