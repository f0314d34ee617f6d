"""The Julia that the tests use: found once, before any test starts one, by the product's own configuration."""

from pathlib import Path

from pyseminorm.engines.julia.session import detect

_found = detect.find_julia()
JULIA = _found if isinstance(_found, detect.Julia) else None
NO_JULIA = _found.reason if isinstance(_found, detect.NoJulia) else None
HAS_SENSITIVITY = (
    JULIA is not None
    and JULIA.config is not None
    and "SciMLSensitivity" in (Path(JULIA.config.project) / "Project.toml").read_text()
)
