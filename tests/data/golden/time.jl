function hoist!(s::Ptr{Ptr{T}}, k::Ptr{T}) where {T}
    s1 = unsafe_load(s, 2)
    s3 = unsafe_load(s, 4)
    k0 = at(k, 0)
    k1 = at(k, 64)
    for i0 in 0:6
        @simd ivdep for i1 in 0:7
            x0 = load(s1, i0 + 7i1)
            store!(k0, x0, 8i0 + i1)
        end
    end
    for i0 in 0:7
        @simd ivdep for i1 in 0:2
            x0 = load(s3, i0 + 8i1)
            store!(k1, x0, 3i0 + i1)
        end
    end
    return nothing
end

function primal!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, du::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    s2 = unsafe_load(s, 3)
    s4 = unsafe_load(s, 5)
    k0 = at(k, 0)
    k1 = at(k, 64)
    w1 = at(w, 0)
    w2 = at(w, 16)
    w4 = at(w, 32)
    w6 = at(w, 64)
    w7 = at(w, 96)
    w8 = at(w, 128)
    w0 = at(q, 0)
    w3 = at(q, 0)
    w5 = at(q, 0)
    w9 = at(q, 0)
    @simd ivdep for i0 in 0:1
        x0 = load(s0, i0)
        v0 = t
        v1 = (x0 * v0)
        store!(w0, v1, i0)
    end
    @simd ivdep for i0 in 0:1
        x0 = load(w0, i0)
        v0 = sin_nan(x0)
        store!(w1, v0, i0)
    end
    @simd ivdep for i0 in 0:1
        x0 = load(w0, i0)
        v0 = cos_nan(x0)
        store!(w2, v0, i0)
    end
    @simd ivdep for i0 in 0:1
        x0 = load(w1, i0)
        store!(w3, x0, i0)
    end
    @simd ivdep for i0 in 0:1
        x0 = load(w2, i0)
        store!(w3, x0, i0 + 2)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(u, 3i0 + i1)
            store!(w4, x0, 7i0 + i1)
        end
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:3
            x0 = load(w3, i1)
            store!(w4, x0, 7i0 + i1 + 3)
        end
    end
    gemm_small!(w5, w4, k0, 7, 1, 8, Val(4), Val(8), Val(7))
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(w5, 8i0 + i1)
            x1 = load(s2, i1)
            v0 = (x0 + x1)
            store!(w6, v0, 8i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(w6, i0)
        v0 = logistic(x0)
        store!(w7, v0, i0)
    end
    @simd ivdep for i0 in 0:31
        x0 = load(w6, i0)
        x1 = load(w7, i0)
        v0 = (x0 * x1)
        store!(w8, v0, i0)
    end
    gemm_small!(w9, w8, k1, 8, 1, 3, Val(4), Val(3), Val(8))
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(w9, 3i0 + i1)
            x1 = load(s4, i1)
            v0 = (x0 + x1)
            store!(du, v0, 3i0 + i1)
        end
    end
    return nothing
end

function vjp_state!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s1 = unsafe_load(s, 2)
    s3 = unsafe_load(s, 4)
    w6 = at(w, 64)
    w7 = at(w, 96)
    v2_0 = at(q, 0)
    v2_1 = at(q, 0)
    v2_2 = at(q, 32)
    gemm_small!(v2_0, a, s3, 3, 1, 8, Val(4), Val(8), Val(3))
    @simd ivdep for i0 in 0:31
        x0 = load(v2_0, i0)
        x1 = load(w7, i0)
        x2 = load(w6, i0)
        v0 = (x0 * x1)
        v1 = T(1)
        v2 = (v1 - x1)
        v3 = (x2 * v2)
        v4 = T(1)
        v5 = (v3 + v4)
        v6 = (v0 * v5)
        store!(v2_1, v6, i0)
    end
    gemm_small!(v2_2, v2_1, s1, 8, 1, 7, Val(4), Val(7), Val(8))
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(v2_2, 7i0 + i1)
            store!(da, x0, 3i0 + i1)
        end
    end
    return nothing
end

function vjp_params!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s3 = unsafe_load(s, 4)
    w4 = at(w, 32)
    w6 = at(w, 64)
    w7 = at(w, 96)
    w8 = at(w, 128)
    v3_0 = at(q, 0)
    v3_1 = at(q, 32)
    v3_2 = at(q, 64)
    v3_3 = at(q, 0)
    v3_4 = at(q, 80)
    v3_5 = at(q, 144)
    gemm_small!(v3_0, a, s3, 3, 1, 8, Val(4), Val(8), Val(3))
    gemm_small!(v3_1, a, w8, 1, 3, 8, Val(3), Val(8), Val(4))
    @simd ivdep for i0 in 0:2
        v0 = zero(T)
        store!(v3_2, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(a, 3i0 + i1)
            add!(v3_2, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v3_0, i0)
        x1 = load(w7, i0)
        x2 = load(w6, i0)
        v0 = (x0 * x1)
        v1 = T(1)
        v2 = (v1 - x1)
        v3 = (x2 * v2)
        v4 = T(1)
        v5 = (v3 + v4)
        v6 = (v0 * v5)
        store!(v3_3, v6, i0)
    end
    gemm_small!(v3_4, v3_3, w4, 1, 8, 7, Val(8), Val(7), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v3_5, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v3_3, 8i0 + i1)
            add!(v3_5, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:55
        x0 = load(v3_4, i0)
        add!(dp, x0, i0)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v3_5, i0)
        add!(dp, x0, i0 + 56)
    end
    @simd ivdep for i0 in 0:23
        x0 = load(v3_1, i0)
        add!(dp, x0, i0 + 64)
    end
    @simd ivdep for i0 in 0:2
        x0 = load(v3_2, i0)
        add!(dp, x0, i0 + 88)
    end
    return nothing
end

function vjp!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s1 = unsafe_load(s, 2)
    s3 = unsafe_load(s, 4)
    w4 = at(w, 32)
    w6 = at(w, 64)
    w7 = at(w, 96)
    w8 = at(w, 128)
    v4_0 = at(q, 0)
    v4_1 = at(q, 32)
    v4_2 = at(q, 64)
    v4_3 = at(q, 0)
    v4_4 = at(q, 80)
    v4_5 = at(q, 112)
    v4_6 = at(q, 176)
    gemm_small!(v4_0, a, s3, 3, 1, 8, Val(4), Val(8), Val(3))
    gemm_small!(v4_1, a, w8, 1, 3, 8, Val(3), Val(8), Val(4))
    @simd ivdep for i0 in 0:2
        v0 = zero(T)
        store!(v4_2, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(a, 3i0 + i1)
            add!(v4_2, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v4_0, i0)
        x1 = load(w7, i0)
        x2 = load(w6, i0)
        v0 = (x0 * x1)
        v1 = T(1)
        v2 = (v1 - x1)
        v3 = (x2 * v2)
        v4 = T(1)
        v5 = (v3 + v4)
        v6 = (v0 * v5)
        store!(v4_3, v6, i0)
    end
    gemm_small!(v4_4, v4_3, s1, 8, 1, 7, Val(4), Val(7), Val(8))
    gemm_small!(v4_5, v4_3, w4, 1, 8, 7, Val(8), Val(7), Val(4))
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
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(v4_4, 7i0 + i1)
            store!(da, x0, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:55
        x0 = load(v4_5, i0)
        add!(dp, x0, i0)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v4_6, i0)
        add!(dp, x0, i0 + 56)
    end
    @simd ivdep for i0 in 0:23
        x0 = load(v4_1, i0)
        add!(dp, x0, i0 + 64)
    end
    @simd ivdep for i0 in 0:2
        x0 = load(v4_2, i0)
        add!(dp, x0, i0 + 88)
    end
    return nothing
end

function vjp_time!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    s1 = unsafe_load(s, 2)
    s3 = unsafe_load(s, 4)
    w1 = at(w, 0)
    w2 = at(w, 16)
    w6 = at(w, 64)
    w7 = at(w, 96)
    v5_4 = at(dt, 0)
    v5_0 = at(q, 0)
    v5_1 = at(q, 0)
    v5_2 = at(q, 32)
    v5_3 = at(q, 0)
    gemm_small!(v5_0, a, s3, 3, 1, 8, Val(4), Val(8), Val(3))
    @simd ivdep for i0 in 0:31
        x0 = load(v5_0, i0)
        x1 = load(w7, i0)
        x2 = load(w6, i0)
        v0 = (x0 * x1)
        v1 = T(1)
        v2 = (v1 - x1)
        v3 = (x2 * v2)
        v4 = T(1)
        v5 = (v3 + v4)
        v6 = (v0 * v5)
        store!(v5_1, v6, i0)
    end
    gemm_small!(v5_2, v5_1, s1, 8, 1, 7, Val(4), Val(7), Val(8))
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v5_3, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:3
            x0 = load(v5_2, 7i0 + i1 + 3)
            add!(v5_3, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(v5_4, v0, 0)
    end
    s = zero(T)
    @simd for i0 in 0:1
        x0 = load(v5_3, i0 + 2)
        x1 = load(w1, i0)
        x2 = load(v5_3, i0)
        x3 = load(w2, i0)
        x4 = load(s0, i0)
        v0 = (-x1)
        v1 = (x0 * v0)
        v2 = (x2 * x3)
        v3 = (v1 + v2)
        v4 = (v3 * x4)
        s = s + v4
    end
    add!(v5_4, s, 0)
    return nothing
end
