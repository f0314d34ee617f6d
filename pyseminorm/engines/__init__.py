"""The engines that integrate: "torch" (embedded) and "julia" (OrdinaryDiffEq.jl), behind one interface."""
