# Solves of a toy problem through the very path that Python takes (C function pointers), so that the solvers are compiled
# into the package image for every model: the right-hand side has one type.

module Toy

    const BUFFERS = Dict{Cint, Tuple{Ptr{Cvoid}, Int64}}()

    register(slot::Cint, pointer::Ptr{Cvoid}, length::Int64)::Cint = (BUFFERS[slot] = (pointer, length); 1)

    function call(::Type{T}, du, u, t) where {T}
        (to, n), (from, _) = BUFFERS[du], BUFFERS[u]
        for i in 1:n
            unsafe_store!(Ptr{T}(to), -unsafe_load(Ptr{T}(from), i), i)
        end
        return Cint(1)
    end

    call64(du::Cint, u::Cint, t::Cdouble)::Cint = call(Float64, du, u, t)
    call32(du::Cint, u::Cint, t::Cdouble)::Cint = call(Float32, du, u, t)

end

function toy_solves(::Type{T}, method) where {T}
    call = UInt(T === Float64 ? @cfunction(Toy.call64, Cint, (Cint, Cint, Cdouble)) :
        @cfunction(Toy.call32, Cint, (Cint, Cint, Cdouble)))
    register = UInt(@cfunction(Toy.register, Cint, (Cint, Ptr{Cvoid}, Int64)))
    n, times = 2, [0.0, 0.5, 1.0]
    ys, cotangents, z, y = ones(T, n, 3), ones(T, n, 3), ones(T, 2n + 1), ones(T, n)
    offsets, stops, rows = Int64[0, n, n, 2n], [0.5, 0.0], Int64[1]
    address(x) = UInt(pointer(x))
    sized(x) = (address(x), length(x))
    GC.@preserve ys cotangents z y times offsets stops rows begin
        seminorm = (address(offsets), 2, 2n + 1, 0)
        lambda = (address(offsets), 1, n + 1, 0)
        for dense in (false, true)
            empty!(Toy.BUFFERS)
            dt = method in FIXED_STEP ? 0.25 : 0.0
            settings = (method, 1.0e-3, 1.0e-6, dt, 1000, (), (0.0, 1.0))
            GC.@preserve offsets begin
                forward_norm = (address(offsets), 1, n, 0)
                solved = solve_forward(
                    string(T), call, register, forward_norm, sized(times), address(ys), n, settings..., dense,
                )
                outcome = dense ? last(solved) : nothing
                state, norm = dense ? ((address(z), n + 1), lambda) : (sized(z), seminorm)
                empty!(Toy.BUFFERS)
                last(
                    solve_adjoint(
                        string(T), call, register, norm, state, n, 1.0, sized(stops), sized(rows), address(ys),
                        address(cotangents), !dense, settings..., outcome, address(y), nothing,
                    )
                )
                dense && evaluate!(outcome, 0.3, address(y))
            end
        end
    end
    return nothing
end

@setup_workload begin
    @compile_workload begin
        for T in (Float64, Float32), method in ("tsit5", "dopri5", "bosh3", "vern7")
            toy_solves(T, method)
        end
    end
end
