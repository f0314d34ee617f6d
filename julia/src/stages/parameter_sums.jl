# What an integral beside the state adds up: in vectors of Julia, or in Python. pyseminorm/passes/embedded_errors.py has the same
# for Python, and says what is measured.

"""
    Sample(places, factors)

Which elements of μ its error is measured at (none: at all of them), and what each stands for in a 2-norm.
"""
struct Sample
    places::Vector{Int}
    factors::Vector{Float64}
end

is_whole(sample::Sample) = isempty(sample.places)

"The 2-norm of all that a sample stands for."
function size_of(x, (; factors)::Sample)
    isempty(factors) && return sqrt(sum(v -> abs2(Float64(v)), x; init = 0.0))
    return sqrt(sum(((v, factor),) -> abs2(factor * v), zip(x, factors); init = 0.0))
end

"The error of a step of which the norms of what it adds, and of the embedded error of that, are known; twin of `local_error` in Python."
function local_error(increment, error, (factor, knee, power))
    iszero(error) && return 0.0
    return factor * error * min(1.0, (error / (knee * increment))^power)
end

"""
    VectorSums{T}(total, tableau, sample, take)

Sums of an [`Integral`](@ref) in vectors: `total` is μ. `take(length)` gives vectors to write to. Of few parameters all stages are kept,
else their sum, and a sample of each.
"""
mutable struct VectorSums{T}
    const total::Vector{T}
    const tableau::Tableau
    const sample::Sample
    const stages::Vector{Vector{T}}     # where derivatives are written to; one for all where they are not kept
    const step::Vector{T}               # the sum of those of the attempt, which are not kept
    const samples::Vector{Vector{T}}    # of the stages
    const increment::Vector{T}          # of the sample, in a step, and its error
    const error::Vector{T}
    squares::Float64                    # of the errors of steps
    increments::Float64                 # sum of the sizes of what they add
    fresh::Bool                         # nothing has been added for the attempt
end

function VectorSums{T}(total, tableau::Tableau, sample::Sample, take) where {T}
    m, n = length(total), tableau.last
    if is_whole(sample)
        stages = [take(m) for _ in 1:n]
        return VectorSums{T}(total, tableau, sample, stages, T[], stages, take(m), take(m), 0.0, 0.0, true)
    end
    stages, samples = fill(take(m), n), [zeros(T, length(sample.places)) for _ in 1:n]
    parts = similar(samples[1]), similar(samples[1])
    return VectorSums{T}(total, tableau, sample, stages, take(m), samples, parts..., 0.0, 0.0, true)
end

keeps_stages(sums::VectorSums) = is_whole(sums.sample)

"The vectors that were taken."
memory(sums::VectorSums) =
    keeps_stages(sums) ? [sums.stages; [sums.increment, sums.error]] : [sums.stages[1], sums.step]

"Zeros to add the derivative of stage `i` to."
zeros_for(sums::VectorSums{T}, i) where {T} = fill!(sums.stages[i], zero(T))

drop!(::VectorSums) = nothing

function renew!((; stages, sample)::VectorSums)
    is_whole(sample) && ((stages[1], stages[end]) = (stages[end], stages[1]))
    return nothing
end

function gain!(sums::VectorSums{T}, i) where {T}
    keeps_stages(sums) && return nothing
    (; stages, step, samples, sample) = sums
    weight, derivative = T(sums.tableau.b[i]), stages[i]
    copyto!(samples[i], view(derivative, sample.places))
    sums.fresh ? (step .= weight .* derivative) : iszero(weight) || (step .= muladd.(weight, derivative, step))
    sums.fresh = false
    return nothing
end

function accept!(sums::VectorSums{T}, h) where {T}
    (; total, step) = sums
    measured = measure!(sums, h)
    total .= muladd.(T(keeps_stages(sums) ? 1 : h), keeps_stages(sums) ? sums.increment : step, total)
    if measured
        increment, error = sizes(sums)
        sums.squares += local_error(increment, error, sums.tableau.formula)^2
        sums.increments += increment
    end
    sums.fresh = true
    return all_finite(total)
end

reject!(sums::VectorSums) = (sums.fresh = true; keeps_stages(sums))

"Make a step's increment, and its error where the method has an estimate."
function measure!(sums::VectorSums, h)
    (; tableau, samples, increment, error) = sums
    keeps_stages(sums) || estimates(tableau) || return false
    weigh!(increment, h, tableau.b, samples)
    estimates(tableau) && weigh!(error, h, tableau.b_error, samples)
    return estimates(tableau)
end

"to = h Σ weight x"
function weigh!(to::Vector{T}, h, weights, xs) where {T}
    fresh = true
    for (weight, x) in zip(weights, xs)
        iszero(weight) && continue
        scaled = T(h * weight)
        fresh ? (to .= scaled .* x) : (to .= muladd.(scaled, x, to))
        fresh = false
    end
    return fresh ? fill!(to, zero(T)) : to
end

sizes((; increment, error, sample)::VectorSums) = size_of(increment, sample), size_of(error, sample)

function ratio(sums::VectorSums, h)
    measure!(sums, h)
    (; increment, sample, tableau) = sums
    before = sampled(sums)
    size, after = size_of(before, sample), size_of(Iterators.map(+, before, increment), sample)
    error = local_error(sizes(sums)..., tableau.formula)
    return iszero(error) ? 0.0 : error / max(size, after)
end

"μ at the elements of the sample."
sampled((; total, sample)::VectorSums) = is_whole(sample) ? total : view(total, sample.places)

"The estimate of the relative error of μ; NaN: there is none."
function estimate(sums::VectorSums)
    estimates(sums.tableau) || return NaN
    size = size_of(sampled(sums), sums.sample)
    return iszero(size) ? NaN : sqrt(sums.squares) / size
end

"How much of μ cancels: the sizes of what the steps add, over that of μ; NaN: it is not known."
function cancellation(sums::VectorSums)
    size = size_of(sampled(sums), sums.sample)
    return estimates(sums.tableau) && !iszero(size) ? sums.increments / size : NaN
end

"""
    ForeignSums(call)

Sums that Python keeps, on any device: `call(what, number)` gives what the method of this name gives, 1 for yes or nothing and 0
for no; negative where it raised.
"""
struct ForeignSums
    call::Ptr{Cvoid}
end

const GAIN, ACCEPT, REJECT, DROP, RATIO = 0, 1, 2, 3, 4

function call_sums(sums::ForeignSums, what, number = 0.0)
    found = call_sums(sums.call, what, number)
    found < 0 && throw(CallbackFailure())
    return found
end

gain!(sums::ForeignSums, i) = (call_sums(sums, GAIN, i); nothing)
accept!(sums::ForeignSums, h) = call_sums(sums, ACCEPT, h) == 1
reject!(sums::ForeignSums) = call_sums(sums, REJECT) == 1
renew!(::ForeignSums) = nothing
drop!(sums::ForeignSums) = (call_sums(sums, DROP); nothing)
ratio(sums::ForeignSums, h) = call_sums(sums, RATIO, h)
estimate(::ForeignSums) = NaN       # Python has it
cancellation(::ForeignSums) = NaN

"The estimate of an integral, if there is one."
estimate(integral::Integral) = estimate(integral.sums)
estimate(::Nothing) = NaN
cancellation(integral::Integral) = cancellation(integral.sums)
cancellation(::Nothing) = NaN
