"""`pyseminorm reproduce`: the paper's claim measured on three families of tasks (needs the extra "reproduce")."""
