"""The Julia of this process: finding, installing and starting it, its signals, threads and C functions."""
