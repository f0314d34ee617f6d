"""Write the Julia code of the golden graphs anew: `python tests/record_golden.py`, after a change of the lowering.

With `--graphs` the graphs are captured anew, too, from the functions in fields.py. Look at what it changes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from captures import capture
from fields import FIELDS
from golden import FOLDER, NAMES, Golden
from problems import MLP, batch

FIELDS = {**FIELDS, "wide mlp": lambda: (MLP(width=64), batch(16), ())}


def captured(name: str) -> Golden:
    func, y0, args = FIELDS[name]()
    _, field, _ = capture(func, y0, args)
    return Golden.of(field.graph, field.sources)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        if "--graphs" in sys.argv:
            torch.manual_seed(0)
            captured(name).write(name)
        (FOLDER / f"{name}.jl").write_text(Golden.read(name).lowered().source)
    print(f"{len(NAMES)} graphs in {FOLDER}")


if __name__ == "__main__":
    main()
