"""Vector fields that run in Julia without Python: written in Julia, or lowered from graphs."""
