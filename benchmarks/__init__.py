"""The laboratory: run from a checkout, not installed (extra "benchmarks").

python -m benchmarks.speed       training steps of every engine, mode and peer at equal gradient error
python -m benchmarks.paper       the seminorm paper's claim on three families of tasks
python -m benchmarks.studies.…   single questions behind a default
"""
