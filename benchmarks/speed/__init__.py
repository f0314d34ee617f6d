"""Training steps of our engines and modes beside other packages, at equal gradient error."""
