function hoist!(s::Ptr{Ptr{T}}, k::Ptr{T}) where {T}
    s0 = unsafe_load(s, 1)
    s2 = unsafe_load(s, 3)
    s4 = unsafe_load(s, 5)
    k0 = at(k, 0)
    k1 = at(k, 16)
    k2 = at(k, 80)
    for i0 in 0:1
        @simd ivdep for i1 in 0:7
            x0 = load(s0, i0 + 2i1)
            store!(k0, x0, 8i0 + i1)
        end
    end
    for i0 in 0:7
        @simd ivdep for i1 in 0:7
            x0 = load(s2, i0 + 8i1)
            store!(k1, x0, 8i0 + i1)
        end
    end
    for i0 in 0:7
        @simd ivdep for i1 in 0:1
            x0 = load(s4, i0 + 8i1)
            store!(k2, x0, 2i0 + i1)
        end
    end
    return nothing
end

function primal!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, du::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s1 = unsafe_load(s, 2)
    s3 = unsafe_load(s, 4)
    s5 = unsafe_load(s, 6)
    k0 = at(k, 0)
    k1 = at(k, 16)
    k2 = at(k, 80)
    w1 = at(w, 0)
    w3 = at(w, 32)
    w0 = at(q, 0)
    w2 = at(q, 0)
    w4 = at(q, 0)
    gemm_small!(w0, u, k0, 2, 1, 8, Val(4), Val(8), Val(2))
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(w0, 8i0 + i1)
            x1 = load(s1, i1)
            v0 = (x0 + x1)
            v1 = tanh_fast(v0)
            store!(w1, v1, 8i0 + i1)
        end
    end
    gemm_small!(w2, w1, k1, 8, 1, 8, Val(4), Val(8), Val(8))
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(w2, 8i0 + i1)
            x1 = load(s3, i1)
            v0 = (x0 + x1)
            v1 = tanh_fast(v0)
            store!(w3, v1, 8i0 + i1)
        end
    end
    gemm_small!(w4, w3, k2, 8, 1, 2, Val(4), Val(2), Val(8))
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(w4, 2i0 + i1)
            x1 = load(s5, i1)
            v0 = (x0 + x1)
            store!(du, v0, 2i0 + i1)
        end
    end
    return nothing
end

function vjp_state!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    s2 = unsafe_load(s, 3)
    s4 = unsafe_load(s, 5)
    w1 = at(w, 0)
    w3 = at(w, 32)
    v2_4 = at(da, 0)
    v2_0 = at(q, 0)
    v2_1 = at(q, 0)
    v2_2 = at(q, 32)
    v2_3 = at(q, 32)
    gemm_small!(v2_0, a, s4, 2, 1, 8, Val(4), Val(8), Val(2))
    @simd ivdep for i0 in 0:31
        x0 = load(v2_0, i0)
        x1 = load(w3, i0)
        v0 = T(1)
        v1 = (x1 * x1)
        v2 = (v0 - v1)
        v3 = (x0 * v2)
        store!(v2_1, v3, i0)
    end
    gemm_small!(v2_2, v2_1, s2, 8, 1, 8, Val(4), Val(8), Val(8))
    @simd ivdep for i0 in 0:31
        x0 = load(v2_2, i0)
        x1 = load(w1, i0)
        v0 = T(1)
        v1 = (x1 * x1)
        v2 = (v0 - v1)
        v3 = (x0 * v2)
        store!(v2_3, v3, i0)
    end
    gemm_small!(v2_4, v2_3, s0, 8, 1, 2, Val(4), Val(2), Val(8))
    return nothing
end

function vjp_params!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s2 = unsafe_load(s, 3)
    s4 = unsafe_load(s, 5)
    w1 = at(w, 0)
    w3 = at(w, 32)
    v3_0 = at(q, 0)
    v3_1 = at(q, 32)
    v3_2 = at(q, 48)
    v3_3 = at(q, 0)
    v3_4 = at(q, 64)
    v3_5 = at(q, 96)
    v3_6 = at(q, 160)
    v3_7 = at(q, 64)
    v3_8 = at(q, 0)
    v3_9 = at(q, 16)
    gemm_small!(v3_0, a, s4, 2, 1, 8, Val(4), Val(8), Val(2))
    gemm_small!(v3_1, a, w3, 1, 2, 8, Val(2), Val(8), Val(4))
    @simd ivdep for i0 in 0:1
        v0 = zero(T)
        store!(v3_2, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(a, 2i0 + i1)
            add!(v3_2, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v3_0, i0)
        x1 = load(w3, i0)
        v0 = T(1)
        v1 = (x1 * x1)
        v2 = (v0 - v1)
        v3 = (x0 * v2)
        store!(v3_3, v3, i0)
    end
    gemm_small!(v3_4, v3_3, s2, 8, 1, 8, Val(4), Val(8), Val(8))
    gemm_small!(v3_5, v3_3, w1, 1, 8, 8, Val(8), Val(8), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v3_6, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v3_3, 8i0 + i1)
            add!(v3_6, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v3_4, i0)
        x1 = load(w1, i0)
        v0 = T(1)
        v1 = (x1 * x1)
        v2 = (v0 - v1)
        v3 = (x0 * v2)
        store!(v3_7, v3, i0)
    end
    gemm_small!(v3_8, v3_7, u, 1, 8, 2, Val(8), Val(2), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v3_9, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v3_7, 8i0 + i1)
            add!(v3_9, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:15
        x0 = load(v3_8, i0)
        add!(dp, x0, i0)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v3_9, i0)
        add!(dp, x0, i0 + 16)
    end
    @simd ivdep for i0 in 0:63
        x0 = load(v3_5, i0)
        add!(dp, x0, i0 + 24)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v3_6, i0)
        add!(dp, x0, i0 + 88)
    end
    @simd ivdep for i0 in 0:15
        x0 = load(v3_1, i0)
        add!(dp, x0, i0 + 96)
    end
    @simd ivdep for i0 in 0:1
        x0 = load(v3_2, i0)
        add!(dp, x0, i0 + 112)
    end
    return nothing
end

function vjp!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    s2 = unsafe_load(s, 3)
    s4 = unsafe_load(s, 5)
    w1 = at(w, 0)
    w3 = at(w, 32)
    v4_8 = at(da, 0)
    v4_0 = at(q, 0)
    v4_1 = at(q, 32)
    v4_2 = at(q, 48)
    v4_3 = at(q, 0)
    v4_4 = at(q, 64)
    v4_5 = at(q, 96)
    v4_6 = at(q, 160)
    v4_7 = at(q, 64)
    v4_9 = at(q, 0)
    v4_10 = at(q, 16)
    gemm_small!(v4_0, a, s4, 2, 1, 8, Val(4), Val(8), Val(2))
    gemm_small!(v4_1, a, w3, 1, 2, 8, Val(2), Val(8), Val(4))
    @simd ivdep for i0 in 0:1
        v0 = zero(T)
        store!(v4_2, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(a, 2i0 + i1)
            add!(v4_2, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v4_0, i0)
        x1 = load(w3, i0)
        v0 = T(1)
        v1 = (x1 * x1)
        v2 = (v0 - v1)
        v3 = (x0 * v2)
        store!(v4_3, v3, i0)
    end
    gemm_small!(v4_4, v4_3, s2, 8, 1, 8, Val(4), Val(8), Val(8))
    gemm_small!(v4_5, v4_3, w1, 1, 8, 8, Val(8), Val(8), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v4_6, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v4_3, 8i0 + i1)
            add!(v4_6, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v4_4, i0)
        x1 = load(w1, i0)
        v0 = T(1)
        v1 = (x1 * x1)
        v2 = (v0 - v1)
        v3 = (x0 * v2)
        store!(v4_7, v3, i0)
    end
    gemm_small!(v4_8, v4_7, s0, 8, 1, 2, Val(4), Val(2), Val(8))
    gemm_small!(v4_9, v4_7, u, 1, 8, 2, Val(8), Val(2), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v4_10, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v4_7, 8i0 + i1)
            add!(v4_10, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:15
        x0 = load(v4_9, i0)
        add!(dp, x0, i0)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v4_10, i0)
        add!(dp, x0, i0 + 16)
    end
    @simd ivdep for i0 in 0:63
        x0 = load(v4_5, i0)
        add!(dp, x0, i0 + 24)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v4_6, i0)
        add!(dp, x0, i0 + 88)
    end
    @simd ivdep for i0 in 0:15
        x0 = load(v4_1, i0)
        add!(dp, x0, i0 + 96)
    end
    @simd ivdep for i0 in 0:1
        x0 = load(v4_2, i0)
        add!(dp, x0, i0 + 112)
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
