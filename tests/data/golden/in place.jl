function hoist!(s::Ptr{Ptr{T}}, k::Ptr{T}) where {T}
    s0 = unsafe_load(s, 1)
    k0 = at(k, 0)
    @simd ivdep for i0 in 0:0
        x0 = load(s0, 1)
        v0 = (-x0)
        store!(k0, v0, 0)
    end
    return nothing
end

function primal!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, du::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    k0 = at(k, 0)
    w2 = at(du, 0)
    w1 = at(w, 0)
    w0 = at(q, 0)
    @simd ivdep for i0 in 0:11
        v0 = T(0.0)
        store!(w0, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(s0, 0)
        x1 = load(u, 3i0 + 1)
        v0 = (x0 * x1)
        v1 = v0
        v2 = v1
        store!(w0, v2, 3i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(u, 3i0 + i1)
            v0 = (x0 * x0)
            store!(w1, v0, 2i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w0, i0)
        store!(w2, x0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(k0, 0)
            x1 = load(w1, 2i0 + i1)
            v0 = (x0 * x1)
            v1 = v0
            v2 = v1
            store!(w2, v2, 3i0 + i1 + 1)
        end
    end
    return nothing
end

function vjp_state!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    k0 = at(k, 0)
    v2_0 = at(q, 0)
    v2_1 = at(q, 16)
    v2_2 = at(q, 32)
    @simd ivdep for i0 in 0:11
        x0 = load(a, i0)
        store!(v2_0, x0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            v0 = T(0.0)
            v1 = v0
            v2 = v1
            store!(v2_0, v2, 3i0 + i1 + 1)
        end
    end
    @simd ivdep for i0 in 0:11
        v0 = zero(T)
        store!(v2_1, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(a, 3i0 + i1 + 1)
            x1 = load(k0, 0)
            x2 = load(u, 3i0 + i1)
            v0 = (x0 * x1)
            v1 = x2
            v2 = T(2.0)
            v3 = (v1 * v2)
            v4 = (v0 * v3)
            v5 = v4
            store!(v2_1, v5, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:11
        v0 = zero(T)
        store!(v2_2, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v2_0, 3i0)
        x1 = load(s0, 0)
        v0 = (x0 * x1)
        v1 = v0
        store!(v2_2, v1, 3i0 + 1)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(v2_1, i0)
        x1 = load(v2_2, i0)
        v0 = (x0 + x1)
        store!(da, v0, i0)
    end
    return nothing
end

function vjp_params!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    w1 = at(w, 0)
    v3_0 = at(q, 0)
    v3_1 = at(q, 16)
    v3_2 = at(q, 32)
    v3_3 = at(q, 16)
    v3_4 = at(q, 0)
    @simd ivdep for i0 in 0:11
        x0 = load(a, i0)
        store!(v3_0, x0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            v0 = T(0.0)
            v1 = v0
            v2 = v1
            store!(v3_0, v2, 3i0 + i1 + 1)
        end
    end
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(v3_1, v0, 0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:1
            x0 = load(a, 3i0 + i1 + 1)
            x1 = load(w1, 2i0 + i1)
            v0 = (x0 * x1)
            s = s + v0
        end
        add!(v3_1, s, 0)
    end
    @simd ivdep for i0 in 0:1
        v0 = zero(T)
        store!(v3_2, v0, i0)
    end
    @simd ivdep for i0 in 0:0
        x0 = load(v3_1, 0)
        v0 = (-x0)
        v1 = v0
        store!(v3_2, v1, 1)
    end
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(v3_3, v0, 0)
    end
    s = zero(T)
    @simd for i0 in 0:3
        x0 = load(v3_0, 3i0)
        x1 = load(u, 3i0 + 1)
        v0 = (x0 * x1)
        s = s + v0
    end
    add!(v3_3, s, 0)
    @simd ivdep for i0 in 0:1
        v0 = zero(T)
        store!(v3_4, v0, i0)
    end
    @simd ivdep for i0 in 0:0
        x0 = load(v3_3, 0)
        store!(v3_4, x0, 0)
    end
    @simd ivdep for i0 in 0:1
        x0 = load(v3_2, i0)
        x1 = load(v3_4, i0)
        v0 = (x0 + x1)
        add!(dp, v0, i0)
    end
    return nothing
end

function vjp!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    k0 = at(k, 0)
    w1 = at(w, 0)
    v4_0 = at(q, 0)
    v4_1 = at(q, 16)
    v4_2 = at(q, 32)
    v4_3 = at(q, 48)
    v4_4 = at(q, 16)
    v4_5 = at(q, 64)
    v4_6 = at(q, 0)
    @simd ivdep for i0 in 0:11
        x0 = load(a, i0)
        store!(v4_0, x0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            v0 = T(0.0)
            v1 = v0
            v2 = v1
            store!(v4_0, v2, 3i0 + i1 + 1)
        end
    end
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(v4_1, v0, 0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:1
            x0 = load(a, 3i0 + i1 + 1)
            x1 = load(w1, 2i0 + i1)
            v0 = (x0 * x1)
            s = s + v0
        end
        add!(v4_1, s, 0)
    end
    @simd ivdep for i0 in 0:11
        v0 = zero(T)
        store!(v4_2, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(a, 3i0 + i1 + 1)
            x1 = load(k0, 0)
            x2 = load(u, 3i0 + i1)
            v0 = (x0 * x1)
            v1 = x2
            v2 = T(2.0)
            v3 = (v1 * v2)
            v4 = (v0 * v3)
            v5 = v4
            store!(v4_2, v5, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:1
        v0 = zero(T)
        store!(v4_3, v0, i0)
    end
    @simd ivdep for i0 in 0:0
        x0 = load(v4_1, 0)
        v0 = (-x0)
        v1 = v0
        store!(v4_3, v1, 1)
    end
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(v4_4, v0, 0)
    end
    s = zero(T)
    @simd for i0 in 0:3
        x0 = load(v4_0, 3i0)
        x1 = load(u, 3i0 + 1)
        v0 = (x0 * x1)
        s = s + v0
    end
    add!(v4_4, s, 0)
    @simd ivdep for i0 in 0:11
        v0 = zero(T)
        store!(v4_5, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v4_0, 3i0)
        x1 = load(s0, 0)
        v0 = (x0 * x1)
        v1 = v0
        store!(v4_5, v1, 3i0 + 1)
    end
    @simd ivdep for i0 in 0:1
        v0 = zero(T)
        store!(v4_6, v0, i0)
    end
    @simd ivdep for i0 in 0:0
        x0 = load(v4_4, 0)
        store!(v4_6, x0, 0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(v4_2, i0)
        x1 = load(v4_5, i0)
        v0 = (x0 + x1)
        store!(da, v0, i0)
    end
    @simd ivdep for i0 in 0:1
        x0 = load(v4_3, i0)
        x1 = load(v4_6, i0)
        v0 = (x0 + x1)
        add!(dp, v0, i0)
    end
    return nothing
end

function vjp_time!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(dt, v0, 0)
    end
    return nothing
end
