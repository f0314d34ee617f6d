# The gradient by the parameters that a sweep adds up, with the embedded errors of its steps: the same as
# pyseminorm/passes/sweep_sums.py, which says what is known of them.

"""
    SweepSums{T}(total, tableau, sample)

Sums of the products of a sweep's stages: `total` is the gradient. The `products` of the stages of a step are kept at the elements of a
sample; of few parameters these are all, and are added when the step is over.
"""
mutable struct SweepSums{T}
    const total::Vector{T}
    const sample::Sample
    const weights::Vector{Float64}          # of products in the error; none: it is not known
    const formula::NTuple{3, Float64}
    const products::Vector{Vector{T}}
    const before::Vector{T}                 # what the total was at the sample before the last product
    const increment::Vector{T}
    const error::Vector{T}
    squares::Float64                        # of the errors of steps
    time::Float64                           # of all steps, and of those whose error is known
    seen::Float64
end

function SweepSums{T}(total, (; b, b_error, formula)::Tableau, sample::Sample) where {T}
    known = !isempty(total) && any(!iszero, b_error) && all(iszero(e) || !iszero(b) for (e, b) in zip(b_error, b))
    weights = known ? [iszero(b) ? 0.0 : e / b for (e, b) in zip(b_error, b)] : Float64[]
    m = is_whole(sample) ? length(total) : length(sample.places)
    some() = known ? zeros(T, m) : T[]
    return SweepSums{T}(total, sample, weights, formula, [some() for _ in weights], some(), some(), some(), 0.0, 0.0, 0.0)
end

# Weights of products in the gradient.
const ONES = fill(1.0, 64)

has_weights(sums::SweepSums) = !isempty(sums.weights)

"Where the product of stage `i` is added."
target(sums::SweepSums{T}, i) where {T} =
    has_weights(sums) && is_whole(sums.sample) ? fill!(sums.products[i], zero(T)) : sums.total

"Take the product of stage `i`, which is there."
function gain!((; total, products, before, sample, weights)::SweepSums, i)
    (isempty(weights) || is_whole(sample)) && return nothing
    product = products[i]
    for (j, place) in enumerate(sample.places)
        product[j] = total[place] - before[j]
        before[j] = total[place]
    end
    return nothing
end

"End a step of size `h` of the stages `used`, `smooth` where no output lies inside it."
function end_step!(sums::SweepSums, used, h, smooth)
    has_weights(sums) || return nothing
    (; total, products, increment, error, weights, sample, formula) = sums
    weigh!(increment, 1.0, ONES, view(products, used))
    is_whole(sample) && (total .+= increment)
    sums.time += abs(h)
    smooth || return nothing
    weigh!(error, 1.0, view(weights, used), view(products, used))
    sums.seen += abs(h)
    sums.squares += local_error(size_of(increment, sample), size_of(error, sample), formula)^2
    return nothing
end

"(relative error of the gradient by the steps whose errors are known, their part of the time); NaN: none is."
function estimate((; total, sample, squares, time, seen)::SweepSums)
    seen > 0 || return NaN, 0.0
    size = size_of(is_whole(sample) ? total : view(total, sample.places), sample)
    return iszero(size) ? NaN : sqrt(squares) / size, seen / time
end
