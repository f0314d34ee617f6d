# The C functions that Python calls for every pass, on the structs of layouts.jl. Beside them goes what Python lets go of: how
# many things, and their numbers.

"The mutable Julia object at an address; nothing at 0."
object(address) = address == 0 ? nothing : unsafe_pointer_to_objref(Ptr{Cvoid}(address))

"Where an object is that Python keeps alive."
address_of(object) = UInt(pointer_from_objref(object))

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

# What a C function raised, for `raise_again`.
const RAISED = Ref{Any}(nothing)

"Run a C function's body, and answer 1; 0 where it raised."
function guard(run, call::Ptr, result::Ptr, released)
    try
        release!(released)
        run(unsafe_load(call), result)
    catch error
        RAISED[] = error
        return Cint(0)
    end
    return Cint(1)
end

"Raise what the last C function raised, where Python gets it as an exception."
raise_again() = throw(RAISED[])

"Write what came of a pass, and hold its outcome where Python needs more of it than fits (or wants to `keep` it)."
function write_result!(
        result::Ptr{PassResult}, outcome::Outcome, n; reached, steps, jacobians, finite = false, keep = false, param_error = NaN,
        cancellation = NaN,
    )
    (; retcode, t, naccept, nreject, calls, accepted, squares, proposed) = outcome
    fits = length(accepted) <= MOST_TIMES
    held = keep || !fits || retcode !== :Success ? hold!(outcome) : 0
    found = PassResult(
        retcode_number(retcode), t, naccept, nreject, calls, reached, steps, jacobians, finite, length(accepted), held,
        param_error, squares, rms(view(outcome.u, 1:n)), proposed, cancellation,
    )
    unsafe_store!(result, found)
    fits && GC.@preserve accepted unsafe_copyto!(Ptr{Float64}(result + TIMES_AT), pointer(accepted), length(accepted))
    return nothing
end

retcode(outcome::Outcome) = String(outcome.retcode)
steps_taken(outcome::Outcome) = length(outcome.accepted)

# ---- the passes

copied(::Type{T}, address, count) where {T} = copy(wrap(Vector{T}, address, count))
times_of(call) = copied(Float64, call.times, call.times_count)
scatter_of(call) = (call.moves, call.moves_count, call.params_size)
functions_of_python(call) = (call.evaluate, call.register, call.norm, call.jacobian, call.report)

run_forward(call::ForwardCall, result) = run_forward(object(call.vector)::Type, call, result)

function run_forward(::Type{V}, call::ForwardCall, result) where {V}
    functions, steps = forward_functions(call, object(call.field))
    norm = Seminorm((call.offsets, call.segments, call.size), functions)
    y0, ys, n = UInt(call.y0), UInt(call.ys), call.size
    outcome, reached = forward(
        V, functions, norm, times_of(call), y0, ys, n, object(call.settings)::Settings, call.dt,
        call.dense != 0, Looks((call.look, call.look_times, call.look_states)),
    )
    write_result!(
        result, outcome, n; reached, steps = steps === nothing ? 0 : hold!(steps), jacobians = made_jacobians(functions.call),
        finite = known_finite(V, ys, reached * n), keep = call.dense != 0,
    )
    return nothing
end

"Whether the numbers at an address are all finite, where they can be read at no cost."
known_finite(::Type{Vector{T}}, address, count) where {T} = all(isfinite, wrap(Vector{T}, address, count))
known_finite(::Type, address, count) = false

"(Functions, Steps or nothing) of a forward pass."
forward_functions(call::ForwardCall, ::Nothing) = (Functions(functions_of_python(call)), nothing)

function forward_functions(call::ForwardCall, field::NativeField)
    call.load == 0 || lowered_load!(field)
    steps = call.keep == 0 ? nothing : native_steps(field, object(call.tableau))
    side = native_forward(field, call.poll, steps)
    return Functions((side, 0, call.norm, 0, steps === nothing ? call.report : steps)), steps
end

made_jacobians(side::NativeSide) = jacobians(side)
made_jacobians(call) = 0

run_adjoint(call::AdjointCall, result) = run_adjoint(object(call.vector)::Type, call, result)

function run_adjoint(::Type{V}, call::AdjointCall, result) where {V}
    functions = backward_functions(V, call, object(call.field))
    norm = Seminorm((call.offsets, call.segments, call.length), functions)
    times = times_of(call)
    nodes = call.points_count == 0 ? nothing : nodes_of(call, functions.call)
    outcome, jumped, gauss = adjoint(
        V, functions, norm, (call.z, call.length), call.size, first(times), times[2:end],
        copied(Int64, call.rows, call.rows_count), UInt(call.ys), UInt(call.cotangents), call.anchored != 0, object(call.settings)::Settings,
        call.dt, object(call.outcome), UInt(call.y), nodes,
    )
    write_result!(
        result, outcome, call.size; reached = jumped, steps = made_nodes(nodes), jacobians = made_jacobians(functions.call),
        param_error = nodes === nothing ? estimate(functions.integral) : gauss.left,
        cancellation = nodes === nothing ? cancellation(functions.integral) : gauss.cancellation,
    )
    return nothing
end

backward_functions(::Type{V}, call::AdjointCall, ::Nothing) where {V} =
    Functions(functions_of_python(call), integral_of(V, call, tableau -> ForeignSums(Ptr{Cvoid}(call.sums))))

"Where there is a quadrature, μ is not made; with a tableau it is an integral, else a part of the state."
function backward_functions(::Type{V}, call::AdjointCall, field::NativeField) where {V}
    scatter = call.points_count == 0 ? Scatter(scatter_of(call)...) : nothing
    integral = integral_of(V, call, tableau -> native_sums(field, tableau, call.params, scatter, sample_of(call)))
    side = native_backward(field, call.poll, call.anchored != 0, call.has_time != 0, scatter, integral)
    return Functions((side, 0, call.norm, 0, call.report), integral)
end

"The integral that μ is, where it is not a part of the state."
function integral_of(::Type{V}, call::AdjointCall, make_sums) where {V}
    call.tableau == 0 && return nothing
    tableau = object(call.tableau)::Tableau
    return Integral{V}(tableau, make_sums(tableau), call.param_rtol)
end

sample_of((; places, factors, places_count)) =
    Sample(wrap(Vector{Int}, places, places_count), wrap(Vector{Float64}, factors, places_count))

"What [`quadrature`](@ref) takes."
function nodes_of(call::AdjointCall, side)
    rule(address, count = call.points_count) = wrap(Vector{Float64}, address, count)
    check = rule(call.check_points, call.check_count), rule(call.check_weights, call.check_count)
    return (
        rule(call.points), rule(call.weights), check..., call.param_rtol, call.capacity, call.node_times, call.node_y, call.node_adjoint,
        evaluator_of(call, side),
    )
end

evaluator_of(call::AdjointCall, side) = call.evaluate_nodes
evaluator_of(call::AdjointCall, side::NativeSide) =
    native_nodes(
    side, call.node_times, call.node_y, call.node_adjoint, scatter_of(call), call.total, call.capacity, call.points_count,
    call.check_count, (object(call.settings)::Settings).rtol,
)

made_nodes(nodes) = nodes !== nothing && last(nodes) isa NativeNodes ? count_evaluated(last(nodes)) : 0

run_sweep(call::SweepCall, result) = run_sweep(object(call.field)::NativeField, call, result)

function run_sweep(field::NativeField{T}, call::SweepCall, result) where {T}
    (; discontinuities, intervals) = object(call.settings)::Settings
    total = call.params == 0 ? Vector{T}(undef, call.params_size) : call.params
    retcode, last_step, naccept, nvjp, finite, estimated = native_sweep!(
        field, call.poll, object(call.tableau)::Tableau, HELD[call.steps], times_of(call), call.reached, call.cotangents,
        discontinuities, intervals, scatter_of(call), sample_of(call), total, call.adjoint, call.derivatives, call.inside,
    )
    call.whole != 0 && retcode === :Success && add_first!(field, call)
    call.params == 0 && retcode === :Success && write_parts!(total, call.parts, call.lengths, call.parts_count)
    unsafe_store!(result, SweepResult(retcode_number(retcode), last_step, naccept, nvjp, finite, estimated...))
    return nothing
end

"Add the cotangent of the first output to λ."
function add_first!(field::NativeField{T}, call::SweepCall) where {T}
    n = length(field.work.u)
    wrap(Vector{T}, call.adjoint, n) .+= wrap(Vector{T}, call.cotangents, n)
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

run_load(call::LoadCall, result) = lowered_load!(object(call.field)::NativeField)

for (name, call, result) in (
        (:forward, :ForwardCall, :PassResult), (:adjoint, :AdjointCall, :PassResult), (:sweep, :SweepCall, :SweepResult),
        (:load, :LoadCall, :PassResult),
    )
    run, entered, locate = Symbol(:run_, name), Symbol(name, :_in_c), Symbol(name, :_address)
    @eval $entered(call::Ptr{$call}, result::Ptr{$result}, released::Ptr{Int64})::Cint = guard($run, call, result, released)
    @eval $locate() = UInt(@cfunction($entered, Cint, (Ptr{$call}, Ptr{$result}, Ptr{Int64})))
end

"Addresses of the C functions, in the order of `C_FUNCTIONS`."
c_functions() = (forward_address(), adjoint_address(), sweep_address(), load_address())
