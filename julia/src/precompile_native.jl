# The same for vector fields written in Julia: what is compiled for a model of the user's is its own function only.

module ToyNative

    f!(du, u, p, t) = (du .= .-p .* u; nothing)
    vjp!(dλ, dp, λ, u, p, t) = (dλ .= .-p .* λ; dp .= .-u .* λ; nothing)
    poll()::Cint = 1

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

    function pull_both!(s, k, w, q, da, dp, dt, a, u, t)
        for i in 0:1
            store!(da, -load(k, 0) * load(a, i), i)
            store!(dp, -load(u, i) * load(a, i), i)
        end
        return nothing
    end

    const pull_state! = pull_both!
    const pull_params! = pull_both!
    const pull_time! = pull_both!

end

function toy_native_field(::Type{T}) where {T}
    field = native_field(ToyNative.f!, string(T), (2,), nothing, ((2,),))
    given_product!(field, ToyNative.vjp!)
    native_arguments(field), native_fits(field), native_fits(field, ToyNative.vjp!)
    return field
end

function toy_lowered_field(::Type{T}, rates) where {T}
    field = lowered_field(T, ToyLowered, 2, 2, 1, 16, 16, 16)
    unsafe_store!(Ptr{UInt}(lowered_sources(field)), address(rates))
    lowered_load!(field)
    return field
end

function toy_native_solves(field::NativeField{T}) where {T}
    poll = UInt(@cfunction(ToyNative.poll, Cint, ()))
    n, times, stops, rows = 2, [0.0, 1.0], [0.0], Int64[]
    native_value!(field, 0.0)
    native_product!(field, 0.0, true, true, true)
    native_memory(field), native_failure(field)
    ys, cotangents, total, moves = ones(T, n, 2), ones(T, n, 2), zeros(T, n), Int64[0, 0, n]
    nodes, active = (zeros(4), zeros(T, n, 4), zeros(T, n, 4)), [true, true]
    offsets = Int64[0, n]
    sized(x) = (address(x), length(x))
    array, none = ("cpu", string(T), 0), UInt(0)
    settings = ("tsit5", 1.0e-3, 1.0e-6, 0.0, 1000, nothing, (), (0.0, 1.0))
    scatter, steps = (address(moves), 1, n), recorded_steps(array)
    GC.@preserve ys cotangents total moves nodes offsets times stops rows active begin
        outcomes = map((none, steps)) do report
            functions = (native_forward(field, poll), none, none, none, report)
            norm = (address(offsets), 1, n)
            last(solve_forward(array, functions, norm, sized(times), address(ys), n, settings, report === none))
        end
        toy_sweep(field, poll, steps, [0.0; last(outcomes).accepted], times, active, cotangents, scatter, total)
        for (anchored, quadrature) in ((true, false), (false, false), (false, true))
            z = ones(T, n * (1 + anchored + !quadrature))
            side = native_backward(field, poll, anchored, false, quadrature ? nothing : scatter)
            evaluator = quadrature ? native_nodes(side, address.(nodes)..., scatter, address(total)) : nothing
            gauss = quadrature ? ((0.5,), (1.0,), 4, address.(nodes)..., evaluator) : nothing
            GC.@preserve z solve_adjoint(
                array, (side, none, none, none, none), (address(offsets), 1, length(z)), sized(z), n, 1.0, sized(stops),
                sized(rows), address(ys), address(cotangents), anchored, settings, anchored ? nothing : first(outcomes),
                address(field.work.u), gauss,
            )
            quadrature && evaluated(evaluator)
            jacobians(side)
        end
    end
    return nothing
end

"Heun's method; what a sweep compiles does not depend on the method."
function toy_sweep(field::NativeField{T}, poll, steps, ends, times, active, cotangents, scatter, total) where {T}
    sized(x) = (address(x), length(x))
    c, a, b, dense, λ, rates = [0.0, 1.0], [0.0, 0.0, 1.0, 0.0], [0.5, 0.5], [1.0, -0.5, 0.0, 0.5], zeros(T, 2), zeros(T, 4)
    GC.@preserve ends times active cotangents total c a b dense λ rates begin
        heun = tableau(2, 2, address(c), address(a), address(b), address(dense), 2, false)
        for out in (nothing, address(rates))
            native_sweep!(
                field, poll, heun, steps, sized(ends), sized(times), address(active), address(cotangents), (), (0.0, 1.0),
                scatter, address(total), address(λ), out,
            )
        end
    end
    return nothing
end

@setup_workload begin
    @compile_workload begin
        for T in (Float64, Float32)
            rates = T[1]
            GC.@preserve rates foreach(toy_native_solves, (toy_native_field(T), toy_lowered_field(T, rates)))
        end
    end
end
