"""
    PySeminorm

The Julia engine of the Python package pyseminorm: forward and adjoint solves by OrdinaryDiffEq, on memory that PyTorch
owns, with a [`Seminorm`](@ref) as `internalnorm`. It depends on no Python: vector fields arrive as C function pointers.

`PySeminorm.Seminorm` can also be used alone, as the `internalnorm` of any adjoint solve:

```julia
using PySeminorm
norm = PySeminorm.Seminorm([1:n, (n + 1):2n], 2n + p)   # max(rms λ, rms y); the p parameter gradients are not measured
solve(adjoint_problem, Tsit5(); internalnorm = norm)
```
"""
module PySeminorm

using Base.StackTraces: StackFrame, StackTraces
using DiffEqBase: DiffEqBase, DEVerbosity
using FunctionWrappers: FunctionWrapper
using OrdinaryDiffEqCore: OrdinaryDiffEqCore
using OrdinaryDiffEqLowOrderRK: BS3, DP5, Euler, Midpoint, RK4
using OrdinaryDiffEqTsit5: Tsit5
using OrdinaryDiffEqVerner: Vern7
using PrecompileTools: @compile_workload, @setup_workload
using Profile: Profile
using SciMLBase: SciMLBase, CallbackSet, DiscreteCallback, FullSpecialize, ODEFunction, ODEProblem, init, solve!
using SciMLBase: derivative_discontinuity!
using SciMLLogging: SciMLLogging

export Seminorm

include("arrays.jl")
include("seminorm.jl")
include("vector_field.jl")
include("algorithms.jl")
include("stages.jl")
include("integral.jl")
include("steps.jl")
include("tracker.jl")
include("integrate.jl")
include("solves.jl")
include("native.jl")
include("native_solves.jl")
include("kernels.jl")
include("lowered.jl")
include("discrete.jl")
include("entries.jl")
include("sensitivity.jl")
include("profile.jl")
include("speedscope.jl")
include("ticks.jl")
include("precompile.jl")
include("precompile_native.jl")

end
