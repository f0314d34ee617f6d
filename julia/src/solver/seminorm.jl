"""
    Seminorm(ranges, length)

`internalnorm` that measures only some segments of a flat state: the maximum over `ranges` of the root mean square of
the segment. What no range covers is not measured. A `Number` is measured by `abs`, a vector of another length than
`length` (implicit methods ask for some) by its plain root mean square; a NaN counts as infinite.

It is isbits, holding the offsets by pointer and length and never as a type parameter, so that solvers compile once. The
offsets live in `Seminorm`-owned memory when made from `ranges`; the Python side passes its own pointer.

Source: Kidger, Chen, Lyons, "Hey, that's not an ODE": Faster ODE Adjoints via Seminorms, ICML 2021.
"""
struct Seminorm
    offsets::Ptr{Int64}     # start, stop, start, stop ... (from 0, half open)
    segments::Int64
    length::Int64
    callback::Ptr{Cvoid}    # a user's norm: (pointer, length) -> Float64, negative where it raised; C_NULL: none
    beside::Ptr{Float64}    # where the norm of what is not in the vector stands, see `Integral`; C_NULL: nothing
end

Seminorm(offsets, segments, length, callback) = Seminorm(offsets, segments, length, callback, C_NULL)

# Offsets of norms made in Julia stay alive for the session: a few integers each.
const OFFSETS = Vector{Int64}[]

function Seminorm(ranges, length::Integer)
    offsets = Int64[]
    for r in ranges
        append!(offsets, (first(r) - 1, last(r)))
    end
    push!(OFFSETS, offsets)
    return Seminorm(pointer(offsets), Base.length(offsets) ÷ 2, length, C_NULL)
end

# The solver's broadcasts over the state take it as one argument; a tuple, unlike a Ref, is isbits on a device too.
Base.broadcastable(norm::Seminorm) = (norm,)

"""
    CallbackFailure

A function given by Python raised; Python keeps the exception and raises it again as itself.
"""
struct CallbackFailure <: Exception end

rms(u) = sqrt(sum(abs2, u) / length(u))

segment(norm::Seminorm, i) = (unsafe_load(norm.offsets, 2i - 1), unsafe_load(norm.offsets, 2i))

infinite_if_nan(x) = isnan(x) ? oftype(x, Inf) : x

(norm::Seminorm)(u::Number, t) = abs(u)

function (norm::Seminorm)(u::AbstractVector, t)
    T = real(eltype(u))
    length(u) == norm.length || return infinite_if_nan(T(rms(u)))
    norm.callback == C_NULL || return infinite_if_nan(T(call_norm(norm, u)))
    found = measure(norm, u)
    return norm.beside == C_NULL ? found : max(found, infinite_if_nan(T(unsafe_load(norm.beside))))
end

function call_norm(norm::Seminorm, u)
    synchronize(typeof(u))
    value = GC.@preserve u call_norm(norm.callback, address(u), length(u))
    value < 0 && throw(CallbackFailure())
    return value
end

"The largest root mean square of the norm's segments of `u`; infinite where one is NaN."
function measure(norm::Seminorm, u::AbstractVector)
    T = real(eltype(u))
    largest = zero(T)
    for i in 1:norm.segments
        start, stop = segment(norm, i)
        value = T(rms(@view u[(start + 1):stop]))
        isnan(value) && return T(Inf)
        largest = max(largest, value)
    end
    return largest
end

"""
    measure_at_once(norm, u)

As `measure`, in one reduction and one transfer where the segments have one length and no gaps: for arrays on a device.
"""
function measure_at_once(norm::Seminorm, u::AbstractVector)
    T = real(eltype(u))
    start, stop = segment(norm, 1)
    n = stop - start
    all(i -> segment(norm, i) == (start + (i - 1) * n, start + i * n), 1:norm.segments) ||
        return invoke(measure, Tuple{Seminorm, AbstractVector}, norm, u)
    squares = sum(abs2, reshape(view(u, (start + 1):(start + norm.segments * n)), n, norm.segments); dims = 1)
    return infinite_if_nan(T(sqrt(maximum(Array(squares)) / n)))
end
