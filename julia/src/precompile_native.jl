# The same for vector fields written in Julia: what is compiled for a model of the user's is its own function only.

module ToyNative

    f!(du, u, p, t) = (du .= .-p .* u; nothing)
    vjp!(dλ, dp, λ, u, p, t) = (dλ .= .-p .* λ; dp .= .-u .* λ; nothing)
    poll()::Cint = 1

end

function toy_native_solves(::Type{T}) where {T}
    poll = UInt(@cfunction(ToyNative.poll, Cint, ()))
    n, times, stops, rows = 2, [0.0, 1.0], [0.0], Int64[]
    field = native_field(ToyNative.f!, string(T), (n,), nothing, ((n,),))
    given_product!(field, ToyNative.vjp!)
    native_value!(field, 0.0)
    native_product!(field, 0.0, true, true, true)
    native_memory(field), native_arguments(field), native_fits(field), native_fits(field, ToyNative.vjp!), native_failure(field)
    ys, cotangents, total, moves = ones(T, n, 2), ones(T, n, 2), zeros(T, n), Int64[0, 0, n]
    nodes = (zeros(4), zeros(T, n, 4), zeros(T, n, 4))
    offsets = Int64[0, n]
    sized(x) = (address(x), length(x))
    array, none = ("cpu", string(T), 0), UInt(0)
    settings = ("tsit5", 1.0e-3, 1.0e-6, 0.0, 1000, nothing, (), (0.0, 1.0))
    GC.@preserve ys cotangents total moves nodes offsets times stops rows begin
        outcome = last(
            solve_forward(
                array, (native_forward(field, poll), none, none, none, none), (address(offsets), 1, n), sized(times),
                address(ys), n, settings, true,
            )
        )
        scatter = (address(moves), 1, n)
        for (anchored, quadrature) in ((true, false), (false, false), (false, true))
            z = ones(T, n * (1 + anchored + !quadrature))
            side = native_backward(field, poll, anchored, false, quadrature ? nothing : scatter)
            evaluator = quadrature ? native_nodes(side, address.(nodes)..., scatter, address(total)) : nothing
            gauss = quadrature ? ((0.5,), (1.0,), 4, address.(nodes)..., evaluator) : nothing
            GC.@preserve z solve_adjoint(
                array, (side, none, none, none, none), (address(offsets), 1, length(z)), sized(z), n, 1.0, sized(stops),
                sized(rows), address(ys), address(cotangents), anchored, settings, anchored ? nothing : outcome,
                address(field.work.u), gauss,
            )
            quadrature && evaluated(evaluator)
            disarm!(side)
        end
    end
    return nothing
end

@setup_workload begin
    @compile_workload begin
        foreach(toy_native_solves, (Float64, Float32))
    end
end
