"""
    Report{V}

Who is told of steps: a C function (accepted, t, dt, address, length) -> 1 that Python gives, nobody (`C_NULL`), or a record of
the accepted ones.
"""
const Report{V} = Union{Ptr{Cvoid}, Steps{V}}

"""
    Tracker{V}

What happens after every accepted step: the time is recorded and the step reported; outputs that the step passed are
written from dense output into memory that Python owns; at a stop with a jump, λ gains the cotangent of that output and y
is set back to its forward value; and somebody may look for events in the step. One concrete type serves forward and backward solves.
"""
mutable struct Tracker{V}
    accepted::Vector{Float64}
    outputs::Vector{Float64}    # forward: times wanted, in order
    ys::UInt                    # address of the forward values, one row of `n` per time of the problem, row major
    n::Int
    reached::Int                # outputs written
    stops::Vector{Float64}      # backward: times of jumps, in order
    rows::Vector{Int64}         # their rows (from 0) in ys and cotangents
    cotangents::UInt
    anchored::Bool              # whether y is part of the state
    jumped::Int                 # jumps made
    dir::Float64
    nodes::Nodes{V}
    discontinuities::Discontinuities{V}
    report::Report{V}           # told of every step
    integral::Union{Integral, Nothing}      # gains by every step
    looks::Looks                # forward: for events
    working::Bool               # between the acceptance of a step and the end of what happens after it
    squares::Float64            # of the errors of accepted steps
    proposed::Float64           # the size of the step after the first one
end

function forward_tracker(outputs::Vector{Float64}, ys, n, dir, discontinuities::Discontinuities{V}, report, looks) where {V}
    tracker = Tracker{V}(
        Float64[], outputs, ys, n, 0, Float64[], Int64[], 0, false, 0, dir, no_nodes(V), discontinuities, report, nothing, looks,
        false, 0.0, NaN,
    )
    announce_output!(tracker)
    return tracker
end

"Tell the field which output is the next one."
function announce_output!((; outputs, reached, dir, discontinuities)::Tracker)
    discontinuities.field.last_stages.output = reached < length(outputs) ? dir * outputs[reached + 1] : Inf
    return nothing
end

function backward_tracker(
        stops, rows, ys, cotangents, n, anchored, dir, nodes::Nodes{V}, discontinuities, report, integral = nothing
    ) where {V}
    return Tracker{V}(
        Float64[], Float64[], ys, n, 0, stops, rows, cotangents, anchored, 0, dir, nodes, discontinuities, report, integral, NO_LOOKS,
        false, 0.0, NaN,
    )
end

# A DiscreteCallback's condition and effect are this one object: the effect decides whether the state was changed.
(tracker::Tracker)(u, t, integrator) = true

function (tracker::Tracker)(integrator)
    t = integrator.t
    tracker.working = true
    restore_length!(integrator)
    check_finite(tracker, integrator)
    push!(tracker.accepted, t)
    length(tracker.accepted) == 1 && (tracker.proposed = abs(integrator.dtpropose))
    tracker.squares += abs2(OrdinaryDiffEqCore.get_EEst(integrator))
    tell(tracker, true, integrator.tprev, t - integrator.tprev, integrator.uprev)
    ends = look!(tracker.looks, integrator, typeof(integrator.u), tracker.n)
    write_outputs!(tracker, integrator, t)
    collect_nodes!(tracker, tracker.nodes, integrator, t)
    jumped, crossed = jump!(tracker, integrator, t), cross!(tracker.discontinuities, t)
    derivative_discontinuity!(integrator, jumped | crossed)
    jumped | crossed && change!(tracker.integral)
    ends && terminate!(integrator)
    tracker.working = false
    return nothing
end

"""
    restore_length!(integrator)

Give a step its length back. OrdinaryDiffEq proposes the next step by the length that a first step had before a stop cut it short,
and leaves that one in `dt`, by which dense output inside the step would be of other times.
"""
function restore_length!(integrator)
    (; t, tprev, dt) = integrator
    if integrator.opts.adaptive && abs(dt) - abs(t - tprev) > 100 * eps(max(abs(t), abs(tprev)))
        integrator.dt = t - tprev
    end
    return nothing
end

"A backward step whose end is not finite ends the solve: no norm is known to see all of the state."
check_finite(tracker::Tracker, integrator) =
    tracker.cotangents == 0 || all_finite(integrator.u) || throw(NotFinite(integrator.tprev))

"Tell of an attempted step from `t` by `dt`, which began at `u`; first the integral, which stays the one up to the last good step."
function tell(tracker::Tracker, accepted, t, dt, u)
    attempt = Attempt(t, dt, at -> inside(tracker.discontinuities.field, at))
    tracker.integral === nothing || (accepted ? accept! : reject!)(tracker.integral, attempt)
    report(tracker.report, tracker, accepted, attempt, u)
    return nothing
end

"Whether anybody wants to know of rejected steps."
hears_of_rejections(tracker::Tracker) = tracker.integral !== nothing || hears_of_rejections(tracker.report)
hears_of_rejections(steps::Steps) = steps.stages !== nothing
hears_of_rejections(call::Ptr{Cvoid}) = call != C_NULL

report(steps::Steps, tracker, accepted, attempt, u) =
    accepted ? accept!(steps, attempt, u, last(tracker.accepted)) : reject!(steps, attempt)

function report(call::Ptr{Cvoid}, tracker, accepted, (; t, h)::Attempt, u)
    call == C_NULL && return nothing
    synchronize(typeof(u))
    ok = call_report(call, accepted, t, h, address(u), length(u))
    ok == 1 || throw(CallbackFailure())
    return nothing
end

function write_outputs!(tracker::Tracker{V}, integrator, t) where {V}
    tracker.reached < length(tracker.outputs) || return nothing
    extended = false
    while tracker.reached < length(tracker.outputs)
        wanted = tracker.outputs[tracker.reached + 1]
        tracker.dir * wanted <= tracker.dir * t || break
        out = row(V, tracker.ys, tracker.reached + 1, tracker.n)    # row 0 is y0
        if wanted == t
            copyto!(out, integrator.u)
        else
            extended || SciMLBase.addsteps!(integrator)
            extended = true
            integrator(out, wanted)
        end
        tracker.reached += 1
    end
    extended && resize!(integrator.k, integrator.kshortsize)
    announce_output!(tracker)
    return nothing
end

# dL/dθ gains -h Σ wⱼ λⱼᵀ ∂f/∂θ of a step of size h (negative for increasing times).
function collect_nodes!(tracker::Tracker, nodes::Nodes{V}, integrator, t) where {V}
    isempty(nodes.points) && return nothing
    t0, length = integrator.tprev, abs(t - integrator.tprev)
    SciMLBase.addsteps!(integrator)
    checked = nodes.rtol == 0 && !isempty(nodes.check_points) && length > LONGER * nodes.largest
    if checked && holds_back(nodes)
        release!(nodes, tracker.n)
    else
        add_rule!(tracker, integrator, t0, t, nodes.points, nodes.weights)
    end
    if checked
        for (i, (point, weight)) in enumerate(zip(nodes.check_points, nodes.check_weights))
            place_node!(tracker, integrator, t0, t, point, weight, nodes.capacity + i - 1)
        end
    end
    nodes.rtol > 0 && keep_step!(nodes, integrator, t)
    nodes.squares += abs2(length^ERROR_GROWTH)
    nodes.largest = max(nodes.largest, length)
    resize!(integrator.k, integrator.kshortsize)
    return nothing
end

"Place the nodes of a rule from `t0` to `t`, where `step!` writes the backward state, and evaluate them when the memory is full."
function add_rule!(tracker::Tracker, step!, t0, t, points, weights)
    nodes = tracker.nodes
    for (point, weight) in zip(points, weights)
        place_node!(tracker, step!, t0, t, point, weight, nodes.count)
        count!(nodes)
    end
    return nothing
end

"Write a node of a rule from `t0` to `t` to a row of the memory for nodes."
function place_node!(tracker::Tracker{V}, step!, t0, t, point, weight, index) where {V}
    (; nodes, n) = tracker
    h = t - t0
    at = clamp(t0 + point * h, min(t0, t), max(t0, t))
    step!(nodes.z, at)
    y, λ = row(V, nodes.y, index, n), row(V, nodes.λ, index, n)
    tracker.anchored ? copyto!(y, 1, nodes.z, n + 1, n) : nodes.forward!(y, at)
    λ .= (-h * weight) .* view(nodes.z, 1:n)
    unsafe_store!(nodes.times, at, index + 1)
    return nothing
end

function jump!(tracker::Tracker{V}, integrator, t) where {V}
    next = tracker.jumped + 1
    next <= length(tracker.stops) && tracker.stops[next] == t || return false
    tracker.jumped = next
    λ, g = view(integrator.u, 1:tracker.n), row(V, tracker.cotangents, tracker.rows[next], tracker.n)
    λ .+= g
    if tracker.anchored
        copyto!(integrator.u, tracker.n + 1, row(V, tracker.ys, tracker.rows[next], tracker.n), 1, tracker.n)
    end
    return true
end

callback(tracker::Tracker) = DiscreteCallback(tracker, tracker; save_positions = (false, false))
