"""torchdiffeq's own tests with `pyseminorm.torchdiffeq` in its place: how many pass, how many do not, and why.

    python -m benchmarks.peers.torchdiffeq_tests DIR [--only PATTERN] [--theirs]

DIR is a checkout of torchdiffeq, whose files are not part of this project.
"""

from __future__ import annotations

import argparse
import collections
import re
import sys
import time
import unittest
import warnings
from pathlib import Path
from typing import Any

import pyseminorm.torchdiffeq


class Counts(unittest.TestResult):
    """Counts subtests, and tests that have none, and groups what failed by the reason."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0
        self.reasons: collections.defaultdict[str, list[str]] = collections.defaultdict(list)
        self._inside = 0  # subtests of the present test

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self._inside = 0

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:  # noqa: N802
        super().addSubTest(test, subtest, err)
        self._inside += 1
        self._count(subtest, err)

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().addSuccess(test)
        if not self._inside:
            self._count(test, None)

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        super().addError(test, err)
        self._count(test, err)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        super().addFailure(test, err)
        self._count(test, err)

    def _count(self, test: unittest.TestCase, err: Any) -> None:
        if err is None:
            self.passed += 1
            return
        message = (str(err[1]).splitlines() or [""])[0]
        reason = re.sub(r"-?\d+(\.\d+)?(e-?\d+)?", "#", message)[:110]
        self.reasons[f"{err[0].__name__}: {reason}"].append(str(test).replace("\n", " "))

    def show(self) -> None:
        """Print the counts, and every reason with the subtests that it failed."""
        failed = sum(map(len, self.reasons.values()))
        print(f"{self.passed} passed, {failed} failed, of {self.passed + failed}")
        for reason, tests in sorted(self.reasons.items(), key=lambda item: -len(item[1])):
            print(f"{len(tests):5d}  {reason}")
            for test in tests:
                print(f"         {test}")


def main() -> None:
    """Run the tests of a checkout and print what came out."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("checkout", type=Path, metavar="DIR")
    arguments.add_argument("--only", metavar="PATTERN", help="names of tests, such as '*TestEvent*'")
    arguments.add_argument("--theirs", action="store_true", help="with the checkout's own torchdiffeq, to compare")
    given = arguments.parse_args()
    sys.path[:0] = [str(given.checkout / "tests"), str(given.checkout)]
    if not given.theirs:
        pyseminorm.torchdiffeq.install()
    loader, counts, started = unittest.TestLoader(), Counts(), time.perf_counter()
    loader.testNamePatterns = [given.only] if given.only else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in sorted((given.checkout / "tests").glob("*_tests.py")):
            loader.loadTestsFromName(file.stem).run(counts)
    counts.show()
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
