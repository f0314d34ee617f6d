"""
    LastStages

The calls that a solve by fixed steps can spare. Such a method evaluates its function at the end of a step, for the next step
and for dense output only: nothing reads that where the next step begins anew, or where there is none.

`stops` are those times, in order; `at_end` says how many evaluations a step makes at its end (0: none is spared), of which
`seen` have been made; `output` is the next time that dense output is wanted at. `side` is told of what it is not asked for.
"""
mutable struct LastStages
    const stops::Vector{Float64}
    const at_end::Int
    const direction::Float64
    const tolerance::Float64
    const side::Any
    next::Int
    seen::Int
    output::Float64
end

# Evaluations at the end of a step, of the methods that take fixed steps by their own names.
const AT_END = Dict("euler" => 1, "midpoint" => 1, "heun2" => 2, "rk4" => 2)

"Nothing is spared."
LastStages() = LastStages(Float64[], 0, 1.0, 0.0, nothing, 1, 0, Inf)

"""
    LastStages(method, t0, stops, side; dense)

For a solve from `t0` that begins anew at all `stops` (the last is the end), unless its steps are wanted `dense`.
"""
function LastStages(method, t0, stops, side; dense)
    at_end = dense || !(method isa AbstractString) ? 0 : get(AT_END, method, 0)
    at_end == 0 && return LastStages()
    direction = sign(last(stops) - t0)
    tolerance = 128 * eps(maximum(abs, [t0; stops]))
    times = sort!(unique(direction .* stops))
    apart(i) = !(i > 1 && times[i] - times[i - 1] <= 4tolerance || i < length(times) && times[i + 1] - times[i] <= 4tolerance)
    return LastStages(times[filter(apart, eachindex(times))], at_end, direction, tolerance, side, 1, 0, Inf)
end

"Whether the call at time `t` is one that nothing reads."
function spares!(stages::LastStages, t)
    (; stops, at_end, direction, tolerance) = stages
    stages.next <= length(stops) || return false
    stop, at = stops[stages.next], direction * t
    at > stop + tolerance && (stages.next += 1; stages.seen = 0; return spares!(stages, t))
    at >= stop - tolerance || return false
    stages.seen += 1
    stages.seen == at_end || return false
    stages.next, stages.seen = stages.next + 1, 0
    stages.output < stop && return false      # dense output inside the step reads it
    skip!(stages.side)
    return true
end

"A side of a solve, or the integral beside it, is told that the last stage of a step is not evaluated."
skip!(side) = nothing
