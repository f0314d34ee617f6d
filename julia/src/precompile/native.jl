# The same for vector fields written in Julia: what is compiled for a model of the user's is its own function only.

module ToyNative

    f!(du, u, p, t) = (du .= .-p .* u; nothing)
    vjp!(dλ, dp, λ, u, p, t) = (dλ .= .-p .* λ; dp .= .-u .* λ; nothing)

end

"The same as lowered code."
module ToyLowered

    using ..Kernels

    function hoist!(s, k)
        store!(k, load(unsafe_load(s, 1), 0), 0)
        return nothing
    end

    function primal!(s, k, w, q, du, u, t)
        for i in 0:1
            store!(du, -load(k, 0) * load(u, i), i)
        end
        return nothing
    end

    function vjp!(s, k, w, q, da, dp, dt, a, u, t)
        for i in 0:1
            store!(da, -load(k, 0) * load(a, i), i)
            add!(dp, -load(u, i) * load(a, i), i)
        end
        return nothing
    end

    const vjp_state! = vjp!
    const vjp_params! = vjp!
    const vjp_time! = vjp!

end

function toy_native_field(::Type{T}) where {T}
    field = native_field(ToyNative.f!, string(T), (2,), nothing, ((2,),))
    given_vjp!(field, ToyNative.vjp!)
    native_arguments(field), native_fits(field), native_fits(field, ToyNative.vjp!)
    return field
end

function toy_lowered_field(::Type{T}, θ) where {T}
    field = lowered_field(T, ToyLowered, 2, 2, 1, 16, 16, 16)
    unsafe_store!(Ptr{UInt}(lowered_sources(field)), address(θ))
    GC.@preserve field enter(:load, LoadCall(address_of(field)))
    return field
end

function toy_native_solves(field::NativeField{T}) where {T}
    n, times, back = 2, [0.0, 1.0], [1.0, 0.0]
    native_value!(field, 0.0)
    native_vjp!(field, 0.0, true, true, true)
    native_memory(field), native_failure(field)
    ys, cotangents, total, λ, derivatives, inside = ones(T, n, 2), ones(T, n, 2), zeros(T, n), zeros(T, n), zeros(T, n, 2), zeros(Bool, 2)
    nodes, point, weight = (zeros(4), zeros(T, n, 4), zeros(T, n, 4)), [0.5], [1.0]
    offsets, moves, parts, lengths = Int64[0, n], Int64[0, 0, n], Int64[address(total)], Int64[n]
    places, factors = [1], [1.0]
    V, heun, tsit5 = vector_type(("cpu", string(T), 0)), heun_tableau(), tsit5_weights()
    settings = Settings(("tsit5", 1.0e-3, 1.0e-6, 1000, nothing, (), (0.0, 1.0), ((), 0.0, Inf, false)))
    common = (; field = address_of(field), times_count = 2, settings = address_of(settings), cotangents = address(cotangents))
    pass = (; common..., vector = address_of(V), ys = address(ys), size = n, offsets = address(offsets), segments = 1)
    scatter = (; moves = address(moves), moves_count = 1, params_size = n, factors = address(factors))
    solved(keep) = first(
        enter(
            :forward,
            arguments(
                ForwardCall; pass..., times = address(times), y0 = address(ys), dense = keep == 0, keep,
                tableau = keep == 2 ? address_of(heun) : 0,
            ),
        ),
    )
    GC.@preserve field settings heun tsit5 ys cotangents total λ derivatives inside nodes point weight offsets moves parts lengths times back places factors begin
        outcome = take_handle!(solved(0).outcome)
        for (keep, out, whole, places_count) in ((1, 0, address(total), 0), (2, address(derivatives), 0, 1))
            steps = solved(keep).steps
            enter(
                :sweep,
                arguments(
                    SweepCall; common..., scatter..., times = address(times), tableau = address_of(heun), steps, reached = 2,
                    params = whole, parts = address(parts), lengths = address(lengths), parts_count = 1, adjoint = address(λ),
                    derivatives = out, inside = address(inside), places = address(places), places_count,
                ),
            )
            take_handle!(steps)
        end
        for (anchored, quadrature, apart, places_count) in
            ((true, false, false, 0), (true, false, true, 0), (true, false, true, 1), (false, false, false, 0), (false, true, false, 0))
            z = ones(T, n * (1 + anchored + !(quadrature || apart)))
            gauss = quadrature ? (; points = address(point), weights = address(weight), points_count = 1,
                check_points = address(point), check_weights = address(weight), check_count = 1, capacity = 3,
                node_times = address(nodes[1]), node_y = address(nodes[2]), node_adjoint = address(nodes[3]), total = address(total),
            ) : (;)
            back_call = arguments(
                AdjointCall; pass..., scatter..., gauss..., times = address(back), rows = address(offsets), z = address(z),
                length = length(z), anchored, outcome = anchored ? 0 : address_of(outcome), y = address(field.work.u),
                tableau = apart ? address_of(tsit5) : 0, params = address(total), places = address(places),
                places_count,
            )
            GC.@preserve z outcome enter(:adjoint, back_call)
        end
    end
    return nothing
end

"Heun's method; what a sweep compiles does not depend on the method."
function heun_tableau()
    c, a, b, b_error, dense = [0.0, 1.0], [0.0, 0.0, 1.0, 0.0], [0.5, 0.5], [-0.5, 0.5], [1.0, -0.5, 0.0, 0.5]
    given = (c, a, b, b_error, dense, [1.0, 1.0, 0.0])
    return GC.@preserve given tableau(2, 2, map(address, given)..., 2, false)
end

@setup_workload begin
    @compile_workload begin
        for T in (Float64, Float32)
            θ = T[1]
            GC.@preserve θ foreach(toy_native_solves, (toy_native_field(T), toy_lowered_field(T, θ)))
        end
    end
end
