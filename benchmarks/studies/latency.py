"""What a user waits for: import, start of Julia, first solve, a second model's first solve, warm solves.

    python -m benchmarks.studies.latency [--julia]

Every figure is the median over fresh processes; the imports of torch and of pyseminorm are timed in the same process.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys

CODE = """
import json, sys, time
backend = sys.argv[1]
marks = {}
def mark(name, started):
    marks[name] = time.perf_counter() - started
s = time.perf_counter(); import torch; mark("import torch", s)
s = time.perf_counter(); import pyseminorm; mark("import pyseminorm, after torch", s)
if backend == "julia":
    from pyseminorm.engines.julia.session.runtime import runtime
    s = time.perf_counter(); runtime(); mark("start of Julia with PySeminorm", s)
def train(width):
    field = torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.Tanh(), torch.nn.Linear(width, 2))
    y0, t = torch.randn(8, 2), torch.linspace(0, 1, 5)
    pyseminorm.solve(lambda t, y: field(y), y0, t, params=field.parameters(), backend=backend).ys.sum().backward()
for name, width in (("first solve, both passes", 16), ("second model's first solve", 32), ("warm solve", 32)):
    s = time.perf_counter(); train(width); mark(name, s)
print(json.dumps(marks))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--julia", action="store_true", help="the Julia engine too")
    given = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {given.repeats} processes"
    )
    for backend in ("torch", "julia") if given.julia else ("torch",):
        runs = []
        for _ in range(given.repeats):
            done = subprocess.run([sys.executable, "-c", CODE, backend], capture_output=True, text=True, check=True)
            runs.append(json.loads(done.stdout))
        print(f"\n| engine {backend} | seconds |\n|---|---:|")
        for name in runs[0]:
            print(f"| {name} | {statistics.median(r[name] for r in runs):.3f} |")


if __name__ == "__main__":
    main()
