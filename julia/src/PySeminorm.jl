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
using OrdinaryDiffEqLowOrderRK: BS3, DP5, Euler, Heun, Midpoint, RK4
using OrdinaryDiffEqTsit5: Tsit5
using OrdinaryDiffEqVerner: Vern7
using PrecompileTools: @compile_workload, @setup_workload
using Profile: Profile
using SciMLBase: SciMLBase, CallbackSet, DiscreteCallback, FullSpecialize, ODEFunction, ODEProblem, init, solve!
using SciMLBase: derivative_discontinuity!, terminate!
using SciMLLogging: SciMLLogging

export Seminorm

include("python/memory.jl")
include("python/layouts.jl")
include("python/callbacks.jl")
include("solver/seminorm.jl")
include("solver/finiteness.jl")
include("solver/last_stages.jl")
include("stages/tableau.jl")
include("stages/attempts.jl")
include("stages/parameter_integral.jl")
include("stages/parameter_sums.jl")
include("solver/vector_field.jl")
include("solver/algorithms.jl")
include("stages/recorded_steps.jl")
include("solver/gauss_nodes.jl")
include("solver/discontinuities.jl")
include("solver/looks.jl")
include("solver/tracker.jl")
include("solver/gauss_refinement.jl")
include("solver/integrate.jl")
include("solver/passes.jl")
include("python/poll.jl")
include("native/function.jl")
include("native/right_hand_sides.jl")
include("native/jacobian.jl")
include("native/kernels.jl")
include("native/lowered.jl")
include("native/sweep_sums.jl")
include("native/sweep.jl")
include("python/c_functions.jl")
include("sciml_sensitivity.jl")
include("profile/profile.jl")
include("profile/speedscope.jl")
include("profile/ticks.jl")
include("precompile/callbacks.jl")
include("precompile/native.jl")

end
