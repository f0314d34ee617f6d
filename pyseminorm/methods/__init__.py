"""The formulas of Runge-Kutta methods."""
