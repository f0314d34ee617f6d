module PySeminormSciMLSensitivityExt

using PySeminorm: PySeminorm, ELTYPES, ForeignField, SILENT, algorithm, wrap
using PySeminorm.SciMLBase: FullSpecialize, ODEFunction, ODEProblem, solve, successful_retcode
using SciMLSensitivity: BacksolveAdjoint, GaussAdjoint, InterpolatingAdjoint, QuadratureAdjoint, ZygoteVJP
using SciMLSensitivity: adjoint_sensitivities

"""
    Plug{T}

A foreign function of one or two vectors on buffers of its own: SciMLSensitivity calls with views of its states.
"""
struct Plug{T}
    field::ForeignField{Vector{T}}
    input::Vector{T}
    output::Vector{T}
end

function plug(::Type{T}, (call, register), inputs, outputs) where {T}
    return Plug{T}(ForeignField{Vector{T}}(Ptr{Cvoid}(UInt(call)), Ptr{Cvoid}(UInt(register))), zeros(T, inputs), zeros(T, outputs))
end

function evaluate!(plug::Plug, out, t)
    plug.field(plug.output, plug.input, Float64(t))
    copyto!(out, plug.output)
    return nothing
end

(plug::Plug)(du, u, p, t) = (copyto!(plug.input, u); evaluate!(plug, du, t))

function (plug::Plug)(out, λ, u, p, t)
    n = length(u)
    copyto!(plug.input, 1, λ, 1, n)
    copyto!(plug.input, n + 1, u, 1, n)
    return evaluate!(plug, out, t)
end

struct Forward{T, S, A}
    solution::S
    alg::A
    n::Int
    m::Int
end

function PySeminorm.sensitivity_solve(
        eltype, field, product, params_product, y0, n, m, start, stop, method, rtol, atol, max_steps
    )
    T = ELTYPES[eltype]
    # FullSpecialize: SciMLSensitivity drops vjp and vjp_p where it unwraps an AutoSpecialize function.
    f = ODEFunction{true, FullSpecialize}(
        plug(T, field, n, n); vjp = plug(T, product, 2n, n), vjp_p = plug(T, params_product, 2n, m),
    )
    # torch owns the parameters: the values of p are never read
    problem = ODEProblem{true, FullSpecialize}(f, copy(wrap(Vector{T}, y0, n)), (start, stop), zeros(T, m))
    alg = first(algorithm(String(method); dense = true))
    solution = solve(problem, alg; abstol = T(atol), reltol = T(rtol), maxiters = max_steps, verbose = SILENT)
    successful_retcode(solution) || throw(ErrorException("the forward solve ended with $(solution.retcode)"))
    return Forward{T, typeof(solution), typeof(alg)}(solution, alg, n, m)
end

"""
    StepCounter(start)

Counts accepted steps as an `unstable_check`, which the solver calls with the time that every step but the first starts from.
"""
mutable struct StepCounter
    t::Float64
    naccept::Int
end

StepCounter(start) = StepCounter(start, 1)

function (counter::StepCounter)(dt, u, p, t)
    counter.naccept += t != counter.t
    counter.t = t
    return any(isnan, u)
end

# The products are plugged in ahead of autojacvec, which only must be one that records nothing.
const ADJOINTS = Dict{String, Any}(
    "BacksolveAdjoint" => (rtol, atol) -> BacksolveAdjoint(autojacvec = ZygoteVJP()),
    "InterpolatingAdjoint" => (rtol, atol) -> InterpolatingAdjoint(autojacvec = ZygoteVJP()),
    "GaussAdjoint" => (rtol, atol) -> GaussAdjoint(autojacvec = ZygoteVJP()),
    "QuadratureAdjoint" => (rtol, atol) -> QuadratureAdjoint(autojacvec = ZygoteVJP(), reltol = rtol, abstol = atol),
)

function PySeminorm.sensitivity_gradients(
        forward::Forward{T}, adjoint, times, cotangents, rtol, atol, max_steps, dy0, dparams
    ) where {T}
    ts = copy(wrap(Vector{Float64}, times...))
    cotangent = unsafe_wrap(Array, Ptr{T}(UInt(cotangents)), (forward.n, length(ts)))
    counter = StepCounter(last(forward.solution.prob.tspan))
    du0, dp = adjoint_sensitivities(
        forward.solution, forward.alg; t = ts, sensealg = ADJOINTS[String(adjoint)](rtol, atol),
        dgdu_discrete = (out, u, p, t, i) -> copyto!(out, view(cotangent, :, i)),
        reltol = T(rtol), abstol = T(atol), maxiters = max_steps, unstable_check = counter,
    )
    copyto!(wrap(Vector{T}, dy0, forward.n), du0)
    copyto!(wrap(Vector{T}, dparams, forward.m), vec(dp))
    return counter.naccept
end

include("native_vjps.jl")

end
