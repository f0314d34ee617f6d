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

"Call an entry as Python does, which lets go of nothing."
function enter(entry, words...)
    given, results = Int64[w isa UInt ? reinterpret(Int64, w) : w for w in words], zeros(16 + TIMES_OF_STEPS)
    released = Int64[0]
    ok = GC.@preserve given results released ccall(
        Ptr{Cvoid}(entry), Cint, (Ptr{Int64}, Ptr{Float64}, Ptr{Int64}), given, results, released,
    )
    ok == 1 || raise_again()
    return results
end

sized(x) = (address(x), length(x))

function toy_solves(::Type{T}, method) where {T}
    call = T === Float64 ? @cfunction(Toy.call64, Cint, (Cint, Cint, Cdouble)) :
        @cfunction(Toy.call32, Cint, (Cint, Cint, Cdouble))
    register = @cfunction(Toy.register, Cint, (Cint, Ptr{Cvoid}, Int64))
    functions, V = (0, UInt(call), UInt(register), 0, 0, 0), vector_type(("cpu", string(T), 0))
    settings = Settings((method, 1.0e-3, 1.0e-6, 0.0, 1000, nothing, (), (0.0, 1.0)))
    n, times, back = 2, [0.0, 0.5, 1.0], [1.0, 0.5, 0.0]
    ys, cotangents, z, y = ones(T, n, 3), ones(T, n, 3), ones(T, 2n + 1), ones(T, n)
    offsets, rows = Int64[0, n, n, 2n], Int64[1]
    common = (address_of(V), functions..., address(offsets))
    GC.@preserve ys cotangents z y times back offsets rows settings for dense in (false, true)
        empty!(Toy.BUFFERS)
        found = enter(
            c_functions().forward, common..., 1, n, sized(times)..., address(ys), address(ys), n, address_of(settings), dense,
        )
        outcome = dense ? take_handle!(Int(found[11])) : nothing
        segments, m = dense ? (1, n + 1) : (2, 2n + 1)
        empty!(Toy.BUFFERS)
        GC.@preserve outcome enter(
            c_functions().adjoint, common..., segments, m, address(z), m, n, sized(back)..., sized(rows)..., address(ys),
            address(cotangents), !dense, address_of(settings), dense ? address_of(outcome) : 0, address(y), 0,
        )
        dense && evaluate!(outcome, 0.3, address(y))
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
