"""What tests of methods without an explicit tableau share: adjoints that need none, and settings that are refused."""

import pytest
from problems import batch

import pyseminorm
from pyseminorm import BacksolveAdjoint, DirectAdjoint, GaussAdjoint, InterpolatingAdjoint, InvalidInputError

ADJOINTS = [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint, DirectAdjoint]
every_adjoint = pytest.mark.parametrize("adjoint", ADJOINTS)


def check_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        pyseminorm.solve(lambda t, y: -y, batch(1), [0.0, 1.0], **settings)
