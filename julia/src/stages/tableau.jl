"""
    Tableau

An explicit Runge-Kutta method, those of its interpolant's stages included. `dense[i, j]` is the coefficient of θ^j in the
weight of stage `i`; stage `last` is evaluated at the new state, and is the next step's first where the method is `fsal`.
"""
mutable struct Tableau
    const c::Vector{Float64}
    const a::Matrix{Float64}
    const b::Vector{Float64}
    const dense::Matrix{Float64}
    const last::Int
    const fsal::Bool
    const needed::NTuple{2, Vector{Int}}      # stages that the new state needs, and dense output inside the step
end

"From Python's memory: `a` (s, s) and `dense` (s, degree) are row major."
function tableau(stages, degree, c, a, b, dense, last, fsal)
    matrix(address, columns) = permutedims(reshape(copy(wrap(Vector{Float64}, address, stages * columns)), columns, stages))
    rows, weights = matrix(a, stages), matrix(dense, degree)
    b = copy(wrap(Vector{Float64}, b, stages))
    plain = findall(!iszero, b)
    inner = union(plain, findall(i -> any(!iszero, view(weights, i, :)), 1:stages))
    return Tableau(
        copy(wrap(Vector{Float64}, c, stages)), rows, b, weights, last, fsal, (closure(plain, rows), closure(inner, rows)),
    )
end

"The stages and all that they depend on, in order."
function closure(stages, a)
    found = Set(stages)
    for i in reverse(axes(a, 1))
        i in found && union!(found, findall(!iszero, view(a, i, :)))
    end
    return sort!(collect(found))
end
