"""The embedded engine: explicit Runge-Kutta in PyTorch, on the tensor's own device."""
