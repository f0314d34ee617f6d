"""Record what the real Julia engine does on the parity cases: `python tests/record_julia.py` writes the data file.

Run it only with a real Julia configured; the torch engine is tested against its output everywhere.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from parity_cases import cases, run

FILE = Path(__file__).parent / "data" / "julia_reference.json"


def main() -> None:
    from pyseminorm.engines.julia.session.runtime import runtime

    recorded = {name: run(settings, "julia") for name, settings in cases().items()}
    versions = {**runtime().versions, "torch": torch.__version__, "python": platform.python_version()}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps({"versions": versions, "cases": recorded}, indent=1) + "\n")
    print(f"{len(recorded)} cases written to {FILE}: {versions}")


if __name__ == "__main__":
    main()
