"""`pyseminorm demo`: a Neural CDE trained on real time series, once with each norm (needs the extra "demo")."""
