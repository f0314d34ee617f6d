"""
    Tracker{T}

What happens after every accepted step: the time is recorded; outputs that the step passed are written from dense output
into memory that Python owns; at a stop with a jump, λ gains the cotangent of that output and y is set back to its forward
value. One concrete type serves forward and backward solves.
"""
mutable struct Tracker{T}
    accepted::Vector{Float64}
    outputs::Vector{Float64}    # forward: times wanted, in order
    ys::Ptr{T}                  # forward values, one row of `n` per time of the problem, row major
    n::Int
    reached::Int                # outputs written
    stops::Vector{Float64}      # backward: times of jumps, in order
    rows::Vector{Int64}         # their rows (from 0) in ys and cotangents
    cotangents::Ptr{T}
    anchored::Bool              # whether y is part of the state
    jumped::Int                 # jumps made
    dir::Float64
    working::Bool               # between the acceptance of a step and the end of what happens after it
end

function forward_tracker(outputs::Vector{Float64}, ys::Ptr{T}, n, dir) where {T}
    return Tracker{T}(Float64[], outputs, ys, n, 0, Float64[], Int64[], Ptr{T}(C_NULL), false, 0, dir, false)
end

function backward_tracker(stops, rows, ys::Ptr{T}, cotangents::Ptr{T}, n, anchored, dir) where {T}
    return Tracker{T}(Float64[], Float64[], ys, n, 0, stops, rows, cotangents, anchored, 0, dir, false)
end

row(pointer::Ptr{T}, index, n) where {T} = unsafe_wrap(Array, pointer + index * n * sizeof(T), n)

# A DiscreteCallback's condition and effect are this one object: the effect decides whether the state was changed.
(tracker::Tracker)(u, t, integrator) = true

function (tracker::Tracker)(integrator)
    t = integrator.t
    tracker.working = true
    push!(tracker.accepted, t)
    write_outputs!(tracker, integrator, t)
    derivative_discontinuity!(integrator, jump!(tracker, integrator, t))
    tracker.working = false
    return nothing
end

function write_outputs!(tracker::Tracker, integrator, t)
    tracker.reached < length(tracker.outputs) || return nothing
    extended = false
    while tracker.reached < length(tracker.outputs)
        wanted = tracker.outputs[tracker.reached + 1]
        tracker.dir * wanted <= tracker.dir * t || break
        out = row(tracker.ys, tracker.reached + 1, tracker.n)    # row 0 is y0
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
    return nothing
end

function jump!(tracker::Tracker, integrator, t)
    next = tracker.jumped + 1
    next <= length(tracker.stops) && tracker.stops[next] == t || return false
    tracker.jumped = next
    λ, g = view(integrator.u, 1:tracker.n), row(tracker.cotangents, tracker.rows[next], tracker.n)
    λ .+= g
    if tracker.anchored
        copyto!(integrator.u, tracker.n + 1, row(tracker.ys, tracker.rows[next], tracker.n), 1, tracker.n)
    end
    return true
end

callback(tracker::Tracker) = DiscreteCallback(tracker, tracker; save_positions = (false, false))
