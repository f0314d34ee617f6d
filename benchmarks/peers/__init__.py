"""Other packages, with our functions in the place of torchdiffeq's."""
