# Failures come back as return codes; Python makes the messages.
const SILENT = DEVerbosity(SciMLLogging.None())

"""
    Control

Tolerances and limits of one pass; `dt = 0` leaves the (first) step size to the solver.
"""
struct Control
    rtol::Float64
    atol::Float64
    norm::Seminorm
    dt::Float64
    max_steps::Int
end

"""
    Outcome

How a pass ended: SciML's return code, the end of the last good step with its state, steps and calls, and the dense
solution where it was kept.
"""
struct Outcome{T, S}
    retcode::Symbol
    t::Float64
    u::Vector{T}
    naccept::Int
    nreject::Int
    calls::Int
    accepted::Vector{Float64}
    solution::S
end

"""
    integrate(field, u0, t0, t1, alg, control, tracker; adaptive, tstops, dense, calck) -> Outcome

One pass by OrdinaryDiffEq. A function that raised, a solver that failed, or an interrupt, ends it with the last good
state.
"""
function integrate(
        field::VectorField{T}, u0::Vector{T}, t0::Float64, t1::Float64, alg, control::Control, tracker::Tracker{T};
        adaptive::Bool, tstops::Vector{Float64} = Float64[], dense::Bool = false, calck::Bool = true
    ) where {T}
    problem = ODEProblem{true, FullSpecialize}(field, u0, (t0, t1))
    options = (;
        abstol = T(control.atol), reltol = T(control.rtol), internalnorm = control.norm, adaptive, tstops,
        callback = CallbackSet(callback(tracker)), save_everystep = dense, save_start = dense, dense,
        calck, maxiters = control.max_steps, verbose = SILENT,
    )
    integrator = nothing
    try
        integrator = if iszero(control.dt)
            init(problem, alg; options...)
        else
            init(problem, alg; options..., dt = copysign(control.dt, t1 - t0))
        end
        solve!(integrator)
        evaluate!(tracker.nodes)
    catch error
        error isa Union{CallbackFailure, InterruptException} || rethrow()
        retcode = error isa CallbackFailure ? :CallbackFailure : :Interrupted
        return outcome(integrator, retcode, field, tracker, u0, t0)
    end
    return outcome(integrator, Symbol(integrator.sol.retcode), field, tracker, u0, t0)
end

function outcome(integrator, retcode, field, tracker::Tracker{T}, u0, t0) where {T}
    if integrator === nothing    # raised in the very first calls
        return Outcome{T, Nothing}(retcode, t0, copy(u0), 0, 0, field.calls[], tracker.accepted, nothing)
    end
    # During a step `u` is a trial and `uprev` the state at `t`; once it is accepted, `u` is.
    good = retcode === :Success || tracker.working ? integrator.u : integrator.uprev
    stats = integrator.sol.stats
    solution = integrator.opts.dense ? integrator.sol : nothing
    return Outcome(
        retcode, integrator.t, copy(good), stats.naccept, stats.nreject, field.calls[], tracker.accepted, solution,
    )
end
