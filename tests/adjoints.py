"""The adjoints that tests go through, one of each kind."""

from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint

ADJOINTS = [
    BacksolveAdjoint(),
    InterpolatingAdjoint(),
    GaussAdjoint(),
    DiscreteAdjoint(),
    DiscreteAdjoint(keep="stages"),
]
