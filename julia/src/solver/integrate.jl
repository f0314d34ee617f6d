# Failures come back as return codes; Python makes the messages.
const SILENT = DEVerbosity(SciMLLogging.None())

"""
    Settings(method, rtol, atol, max_steps, controller, discontinuities, intervals, (tstops, dtmin, dtmax, grid))

How passes are integrated: `method` is what [`algorithm`](@ref) takes, no `controller` leaves it to the solver; `discontinuities` and `intervals` are those of [`Discontinuities`](@ref); `tstops`, `dtmin` and `dtmax` (infinite: the
solver's own) are SciML's, and a `grid` of fixed steps is in `tstops`. Python keeps those that it uses again.
"""
mutable struct Settings
    const method::Any
    const rtol::Float64
    const atol::Float64
    const max_steps::Int
    const controller::Any
    const discontinuities::Vector{Float64}
    const intervals::Vector{Float64}
    const tstops::Vector{Float64}
    const dtmin::Float64
    const dtmax::Float64
    const grid::Bool
end

function Settings((method, rtol, atol, max_steps, controller, discontinuities, intervals, limits)::Tuple)
    tstops, dtmin, dtmax, grid = limits
    return Settings(
        method, rtol, atol, max_steps, controller, Float64[discontinuities...], Float64[intervals...],
        Float64[tstops...], dtmin, dtmax, grid,
    )
end

"Whether steps end at outputs by themselves: fixed steps of no given size or grid."
output_to_output(settings, dt, adaptive) = !(adaptive || dt > 0 || settings.grid)

"""
    Outcome

How a pass ended: SciML's return code, the end of the last good step with its state, steps and calls, the sum of the squares of
the steps' errors, the size of step that was proposed after the first one, and the dense solution where it was kept.
"""
mutable struct Outcome{V, S}
    const retcode::Symbol
    const t::Float64
    const u::V
    const naccept::Int
    const nreject::Int
    const calls::Int
    const accepted::Vector{Float64}
    const squares::Float64
    const proposed::Float64
    const solution::S
end

"""
    Rejections(tracker)

Tells of rejected steps, if anybody wants to know. OrdinaryDiffEq has no callback for them, but asks `isoutofdomain` at the
end of every attempt, just before it decides; this one decides the same way, and answers no.
"""
mutable struct Rejections{V}
    tracker::Tracker{V}
    integrator::Any
end

function (rejections::Rejections)(u, p, t)
    hears_of_rejections(rejections.tracker) || return false
    attempt = rejections.integrator
    OrdinaryDiffEqCore.accept_step_controller(attempt, attempt.alg) ||
        tell(rejections.tracker, false, attempt.t, attempt.dt, attempt.uprev)
    return false
end

"""
    integrate(field, u0, t0, t1, alg, settings, norm, tracker; adaptive, dt, tstops, dense, calck, jacobian) -> Outcome

One pass by OrdinaryDiffEq; `dt = 0` leaves the (first) step size to it. A function that raised, a solver that failed, or an interrupt, ends it with the last good
state.
"""
function integrate(
        field::VectorField{V}, u0::V, t0::Float64, t1::Float64, alg, settings::Settings, norm::Seminorm,
        tracker::Tracker{V};
        adaptive::Bool, dt::Float64, tstops::Vector{Float64} = Float64[], dense::Bool = false, calck::Bool = true, jacobian = nothing,
    ) where {V}
    T = eltype(V)
    problem = ODEProblem{true, FullSpecialize}(with_jacobian(field, jacobian), u0, (t0, t1))
    rejections = Rejections{V}(tracker, nothing)
    options = (;
        abstol = T(settings.atol), reltol = T(settings.rtol), internalnorm = norm, adaptive,
        tstops = [tstops; settings.tstops], dtmin = settings.dtmin,
        callback = CallbackSet(callback(tracker)), save_everystep = dense, save_start = dense, dense,
        calck, maxiters = settings.max_steps, isoutofdomain = rejections, verbose = SILENT,
    )
    if settings.controller !== nothing && adaptive
        options = (; options..., controller = controller(alg, settings.controller))
    end
    isfinite(settings.dtmax) && (options = (; options..., dtmax = settings.dtmax))
    integrator = nothing
    try
        integrator = if iszero(dt)
            init(problem, alg; options...)
        else
            init(problem, alg; options..., dt = copysign(dt, t1 - t0))
        end
        rejections.integrator = integrator
        begin!(tracker.integral, [tstops; t1], integrator)
        integrator.accept_step = true   # nothing is rejected yet: a first stop may be nearer than dtmin, as later ones
        solve!(integrator)
        SciMLBase.successful_retcode(integrator.sol) && settle!(tracker, tracker.nodes)
        dense && check_dense(field, integrator, t0)
    catch error
        error isa Union{CallbackFailure, InterruptException, NotFinite} || rethrow()
        if error isa NotFinite
            tracker.working = false     # the state before the step is the last good one
            return outcome(integrator, :Unstable, field, tracker, u0, t0, error.t)
        end
        retcode = error isa CallbackFailure ? :CallbackFailure : :Interrupted
        return outcome(integrator, retcode, field, tracker, u0, t0)
    finally
        field.closed[] = true
    end
    ended = Symbol(integrator.sol.retcode)     # :Terminated where an event has ended it
    return outcome(integrator, ended === :Terminated ? :Success : ended, field, tracker, u0, t0)
end

"Refuse a dense output that calls the field again: the field belongs to the solve, which is over."
function check_dense(field::VectorField, integrator, t0)
    calls = field.calls[]
    integrator.sol((t0 + integrator.t) / 2)
    field.calls[] == calls || throw(LateCall())
    return nothing
end

with_jacobian(field, ::Nothing) = field
with_jacobian(field, jacobian) =
    ODEFunction{true, FullSpecialize}(field; jac = jac(jacobian), tgrad = tgrad(jacobian))

function outcome(integrator, retcode, field, tracker::Tracker{V}, u0, t0, t = nothing) where {V}
    if integrator === nothing    # raised in the very first calls
        return Outcome{V, Nothing}(retcode, t0, copy(u0), 0, 0, field.calls[], tracker.accepted, 0.0, NaN, nothing)
    end
    # During a step `u` is a trial and `uprev` the state at `t`; once it is accepted, `u` is.
    good = retcode === :Success || tracker.working ? integrator.u : integrator.uprev
    stats = integrator.sol.stats
    solution = integrator.opts.dense ? integrator.sol : nothing
    return Outcome(
        retcode, something(t, integrator.t), copy(good), stats.naccept, stats.nreject, field.calls[], tracker.accepted, tracker.squares,
        tracker.proposed, solution,
    )
end
