"""The engine "julia": OrdinaryDiffEq through juliacall, on memory that PyTorch owns."""
