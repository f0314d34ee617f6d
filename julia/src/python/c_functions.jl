# The C functions that Python calls for every pass. Both passes of a small model take a tenth of a millisecond, and a call by
# way of PythonCall takes as long for its arguments alone; so they are 64-bit words here: numbers, addresses of Python's memory
# and addresses of mutable Julia objects that Python keeps alive (0: none). Python mirrors the order in
# pyseminorm/engines/julia. Beside them goes what Python lets go of: how many things, and their numbers.

"Reads words, one after the other."
mutable struct Words
    at::Ptr{Int64}
end

function word!(words::Words)
    value = unsafe_load(words.at)
    words.at += sizeof(Int64)
    return value
end

flag!(words::Words) = word!(words) != 0
words!(words::Words, ::Val{N}) where {N} = ntuple(_ -> word!(words), Val(N))
object(address) = address == 0 ? nothing : unsafe_pointer_to_objref(Ptr{Cvoid}(address))
object!(words::Words) = object(word!(words))

const RETCODES = (:Success, :MaxIters, :DtNaN, :DtLessThanMin, :Unstable, :CallbackFailure, :Interrupted)

# What stays in Julia between two passes, by number, until Python lets go of it.
const HELD = Dict{Int, Any}()
const HOLDS = Ref(0)

function hold!(x)
    HOLDS[] += 1
    HELD[HOLDS[]] = x
    return HOLDS[]
end

"What is held by a number, from now on held by nobody here."
take_handle!(number) = pop!(HELD, number)

"Let go of what Python lets go of, and tell it that this is done."
function release!(released::Ptr{Int64})
    for i in 1:unsafe_load(released)
        delete!(HELD, unsafe_load(released, 1 + i))
    end
    unsafe_store!(released, 0)
    return nothing
end

# What an entry raised, for `raise_again`.
const RAISED = Ref{Any}(nothing)

function guarded(entry, words, results, released)
    try
        release!(released)
        entry(Words(words), results)
    catch error
        RAISED[] = error
        return Cint(0)
    end
    return Cint(1)
end

"Raise what the last entry raised, where Python gets it as an exception."
raise_again() = throw(RAISED[])

const TIMES_OF_STEPS = 4096     # that fit behind the other results

"""
    give!(results, outcome, numbers...; hold)

Write what came of a pass: retcode (its place in `RETCODES`, or 0), t, accepted and rejected steps, calls, `numbers` (4 of them),
the number of accepted steps, the number by which the outcome is held (0: it is not), and the times of the accepted steps.
"""
function give!(results, outcome::Outcome, numbers...; hold)
    retcode = something(findfirst(==(outcome.retcode), RETCODES), 0)
    many = length(outcome.accepted) > TIMES_OF_STEPS
    held = hold || many || outcome.retcode !== :Success ? hold!(outcome) : 0
    values = map(
        Float64,
        (retcode, outcome.t, outcome.naccept, outcome.nreject, outcome.calls, numbers..., length(outcome.accepted), held),
    )
    foreach(i -> unsafe_store!(results, values[i], i), eachindex(values))
    many || GC.@preserve outcome unsafe_copyto!(results + 16 * sizeof(Float64), pointer(outcome.accepted), length(outcome.accepted))
    return nothing
end

retcode(outcome::Outcome) = String(outcome.retcode)
steps_taken(outcome::Outcome) = length(outcome.accepted)

"Where an object is that Python keeps alive."
address_of(object) = UInt(pointer_from_objref(object))

# ---- the passes

forward_entry(words::Words, results) = forward_entry(object!(words)::Type, words, results)

function forward_entry(::Type{V}, words, results) where {V}
    functions, steps = forward_functions!(words)
    norm = Seminorm(words!(words, Val(3)), functions.norm)
    times = copy(wrap(Vector{Float64}, word!(words), word!(words)))
    y0, ys, n = UInt(word!(words)), UInt(word!(words)), word!(words)
    settings, dense = object!(words)::Settings, flag!(words)
    outcome, reached = forward(V, functions, norm, times, y0, ys, n, settings, dense)
    kept, finite = steps === nothing ? 0 : hold!(steps), known_finite(V, ys, reached * n)
    give!(results, outcome, reached, kept, made_jacobians(functions.call), finite; hold = dense)
    return nothing
end

"Whether the numbers at an address are all finite, where they can be read at no cost."
known_finite(::Type{Vector{T}}, address, count) where {T} = all(isfinite, wrap(Vector{T}, address, count))
known_finite(::Type, address, count) = false

"(Functions, Steps or nothing) of a forward pass."
function forward_functions!(words::Words)
    flag!(words) || return foreign_functions!(words), nothing
    field, poll, norm, report, keep, tableau, load = words!(words, Val(7))
    load == 0 || lowered_load!(object(field)::NativeField)
    return forward_functions(object(field), poll, norm, report, keep, object(tableau))
end

function forward_functions(field::NativeField, poll, norm, report, keep, tableau)
    steps = keep == 0 ? nothing : native_steps(field, tableau)
    side = native_forward(field, poll, steps)
    return Functions((side, 0, norm, 0, steps === nothing ? report : steps)), steps
end

foreign_functions!(words::Words) = Functions(words!(words, Val(5)))

made_jacobians(side::NativeSide) = jacobians(side)
made_jacobians(call) = 0

adjoint_entry(words::Words, results) = adjoint_entry(object!(words)::Type, words, results)

function adjoint_entry(::Type{V}, words, results) where {V}
    functions = backward_functions!(words)
    norm = Seminorm(words!(words, Val(3)), functions.norm)
    z, n = words!(words, Val(2)), word!(words)
    times = copy(wrap(Vector{Float64}, word!(words), word!(words)))     # the start, then every stop
    rows = copy(wrap(Vector{Int64}, word!(words), word!(words)))
    ys, cotangents, anchored = UInt(word!(words)), UInt(word!(words)), flag!(words)
    settings, outcome, y = object!(words)::Settings, object!(words), UInt(word!(words))
    nodes = nodes!(words, functions.call)
    found, jumped = adjoint(
        V, functions, norm, z, n, first(times), times[2:end], rows, ys, cotangents, anchored, settings, outcome, y, nodes,
    )
    give!(results, found, jumped, made_nodes(nodes), made_jacobians(functions.call), false; hold = false)
    return nothing
end

function backward_functions!(words::Words)
    flag!(words) || return foreign_functions!(words)
    field, poll, norm, report, anchored, timed, moves, count, size, tableau, μ = words!(words, Val(11))
    return backward_functions(
        object(field), poll, norm, report, anchored != 0, timed != 0, (moves, count, size), object(tableau), μ,
    )
end

"`size` of the scatter < 0: μ is not made; no tableau: it is part of the state, else the integral `μ`."
function backward_functions(field::NativeField, poll, norm, report, anchored, timed, scatter, tableau, μ)
    spread = last(scatter) < 0 ? nothing : Scatter(scatter...)
    integral = tableau === nothing ? nothing : native_integral(field, tableau, μ, spread)
    side = native_backward(field, poll, anchored, timed, spread, integral)
    return Functions((side, 0, norm, 0, report))
end

"What [`quadrature`](@ref) takes, or nothing."
function nodes!(words::Words, call)
    flag!(words) || return nothing
    points, weights, count, capacity, times, y, λ = words!(words, Val(7))
    evaluate = call isa NativeSide ? nodes_of(call, times, y, λ, words!(words, Val(3)), word!(words)) : word!(words)
    rule = (wrap(Vector{Float64}, points, count), wrap(Vector{Float64}, weights, count))
    return (rule..., capacity, times, y, λ, evaluate)
end

nodes_of(side::NativeSide, times, y, λ, scatter, total) = native_nodes(side, times, y, λ, scatter, total)

made_nodes(nodes) = nodes !== nothing && last(nodes) isa NativeNodes ? evaluated(last(nodes)) : 0

sweep_entry(words::Words, results) = sweep_entry(object!(words)::NativeField, words, results)

function sweep_entry(field::NativeField{T}, words, results) where {T}
    poll, tableau, steps = word!(words), object!(words)::Tableau, HELD[word!(words)]
    times, reached = copy(wrap(Vector{Float64}, word!(words), word!(words))), word!(words)
    cotangents, settings = word!(words), object!(words)::Settings
    scatter, given, parts, λ = words!(words, Val(3)), word!(words), words!(words, Val(3)), word!(words)
    derivatives, inside = word!(words), word!(words)
    total = given == 0 ? Vector{T}(undef, last(scatter)) : given
    found = native_sweep!(
        field, poll, tableau, steps, times, reached, cotangents, settings.discontinuities, settings.intervals, scatter,
        total, λ, derivatives, inside,
    )
    given == 0 && first(found) === :Success && write_parts!(total, parts...)
    values = (something(findfirst(==(first(found)), RETCODES), 0), Base.tail(found)...)
    foreach((i, x) -> unsafe_store!(results, Float64(x), i), eachindex(values), values)
    return nothing
end

"Write a vector in pieces: `addresses` and `lengths` are where their addresses and lengths are."
function write_parts!(total::Vector{T}, addresses, lengths, count) where {T}
    first = 1
    for i in 1:count
        address, length = unsafe_load(Ptr{Int64}(addresses), i), unsafe_load(Ptr{Int64}(lengths), i)
        GC.@preserve total unsafe_copyto!(Ptr{T}(address), pointer(total, first), length)
        first += length
    end
    return nothing
end

"The tensors are read, and the value at y is compared with f0: 1 or 0."
function agrees_entry(words::Words, results)
    field, t, y, f0, tolerance = object!(words)::NativeField, words!(words, Val(4))...
    reinterpreted(x) = reinterpret(Float64, x)
    lowered_load!(field)
    unsafe_store!(results, lowered_agrees(field, reinterpreted(t), y, f0, reinterpreted(tolerance)))
    return nothing
end

function load_entry(words::Words, results)
    lowered_load!(object!(words)::NativeField)
    return nothing
end

for name in (:forward, :adjoint, :sweep, :agrees, :load)
    @eval $(Symbol(name, :_call))(words::Ptr{Int64}, results::Ptr{Float64}, released::Ptr{Int64})::Cint =
        guarded($(Symbol(name, :_entry)), words, results, released)
end

"Addresses of the C functions, by name."
c_functions() = (;
    forward = UInt(@cfunction(forward_call, Cint, (Ptr{Int64}, Ptr{Float64}, Ptr{Int64}))),
    adjoint = UInt(@cfunction(adjoint_call, Cint, (Ptr{Int64}, Ptr{Float64}, Ptr{Int64}))),
    sweep = UInt(@cfunction(sweep_call, Cint, (Ptr{Int64}, Ptr{Float64}, Ptr{Int64}))),
    agrees = UInt(@cfunction(agrees_call, Cint, (Ptr{Int64}, Ptr{Float64}, Ptr{Int64}))),
    load = UInt(@cfunction(load_call, Cint, (Ptr{Int64}, Ptr{Float64}, Ptr{Int64}))),
)
