"""`pyseminorm bench`: our engines and modes beside other packages, at equal gradient error (extra "benchmarks")."""
