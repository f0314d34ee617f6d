"""
    Discontinuities{V}

The `times` at which the vector field jumps: steps end there, and the field sees only times of the smooth interval that the
solve is in. `intervals` are low, high, low, high ..., one pair each.
"""
mutable struct Discontinuities{V}
    field::VectorField{V}
    times::Vector{Float64}
    intervals::Vector{Float64}
    interval::Int
end

function Discontinuities(field::VectorField{V}, times, intervals) where {V}
    discontinuities = Discontinuities{V}(field, times, intervals, 0)
    enter_next!(discontinuities)
    return discontinuities
end

function enter_next!(discontinuities::Discontinuities)
    discontinuities.interval += 1
    (; field, intervals, interval) = discontinuities
    field.low[], field.high[] = intervals[2interval - 1], intervals[2interval]
    return nothing
end

function cross!(discontinuities::Discontinuities, t)
    (; times, interval) = discontinuities
    interval <= length(times) && times[interval] == t || return false
    enter_next!(discontinuities)
    return true
end
