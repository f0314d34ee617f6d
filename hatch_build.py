"""Build hook: a wheel carries the Julia package inside, and a juliapkg.json that points there.

The checkout's pyseminorm/juliapkg.json points to ../julia; the wheel's is made from it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class JuliaPackage(BuildHookInterface):
    """Map julia/ to pyseminorm/julia in a standard wheel; an editable install keeps the checkout's layout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable":
            return
        root = Path(self.root)
        described = json.loads((root / "pyseminorm" / "juliapkg.json").read_text())
        described["packages"]["PySeminorm"]["path"] = "julia"
        self._folder = tempfile.TemporaryDirectory()
        made = Path(self._folder.name) / "juliapkg.json"
        made.write_text(json.dumps(described, indent=2) + "\n")
        build_data["force_include"][str(made)] = "pyseminorm/juliapkg.json"
        for part in ("Project.toml", "src", "ext", "test"):
            build_data["force_include"][str(root / "julia" / part)] = f"pyseminorm/julia/{part}"
