"""
    Tableau

An explicit Runge-Kutta method, those of its interpolant's stages included. `dense[i, j]` is the coefficient of θ^j in the
weight of stage `i`; stage `last` is evaluated at the new state, and is the next step's first where the method is `fsal`.
"""
mutable struct Tableau
    const c::Vector{Float64}
    const a::Matrix{Float64}
    const b::Vector{Float64}
    const b_error::Vector{Float64}            # of the embedded error of an integral beside the state; zeros: there is none
    const dense::Matrix{Float64}
    const formula::NTuple{3, Float64}         # (factor, knee, power), see `local_error`
    const last::Int
    const fsal::Bool
    const needed::NTuple{2, Vector{Int}}      # stages that the new state needs, and dense output inside the step
end

"From Python's memory: `a` (s, s) and `dense` (s, degree) are row major, `formula` is three numbers."
function tableau(stages, degree, c, a, b, b_error, dense, formula, last, fsal)
    matrix(address, columns) = permutedims(reshape(copy(wrap(Vector{Float64}, address, stages * columns)), columns, stages))
    rows, weights = matrix(a, stages), matrix(dense, degree)
    b, b_error = (copy(wrap(Vector{Float64}, address, stages)) for address in (b, b_error))
    plain = findall(!iszero, b)
    inner = union(plain, findall(i -> any(!iszero, view(weights, i, :)), 1:stages))
    return Tableau(
        copy(wrap(Vector{Float64}, c, stages)), rows, b, b_error, weights, NTuple{3, Float64}(wrap(Vector{Float64}, formula, 3)),
        last, fsal, (closure(plain, rows), closure(inner, rows)),
    )
end

"Whether the method has an embedded error estimate."
estimates(tableau::Tableau) = any(!iszero, tableau.b_error)

"The stages and all that they depend on, in order."
function closure(stages, a)
    found = Set(stages)
    for i in reverse(axes(a, 1))
        i in found && union!(found, findall(!iszero, view(a, i, :)))
    end
    return sort!(collect(found))
end
