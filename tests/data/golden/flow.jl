function hoist!(s::Ptr{Ptr{T}}, k::Ptr{T}) where {T}
    s0 = unsafe_load(s, 1)
    s2 = unsafe_load(s, 3)
    k0 = at(k, 0)
    k1 = at(k, 32)
    for i0 in 0:2
        @simd ivdep for i1 in 0:7
            x0 = load(s0, i0 + 3i1)
            store!(k0, x0, 8i0 + i1)
        end
    end
    for i0 in 0:7
        @simd ivdep for i1 in 0:1
            x0 = load(s2, i0 + 8i1)
            store!(k1, x0, 2i0 + i1)
        end
    end
    return nothing
end

function primal!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, du::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    s1 = unsafe_load(s, 2)
    s2 = unsafe_load(s, 3)
    s3 = unsafe_load(s, 4)
    k0 = at(k, 0)
    k1 = at(k, 32)
    w4 = at(du, 0)
    w0 = at(w, 0)
    w2 = at(w, 16)
    w6 = at(w, 48)
    w7 = at(w, 64)
    w8 = at(w, 96)
    w9 = at(w, 128)
    w12 = at(w, 160)
    w13 = at(w, 176)
    w14 = at(w, 208)
    w1 = at(q, 0)
    w3 = at(q, 0)
    w5 = at(q, 0)
    w10 = at(q, 0)
    w11 = at(q, 16)
    w15 = at(q, 16)
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(u, 2i0 + i1)
            store!(w0, x0, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = t
        store!(w0, v0, 3i0 + 2)
    end
    gemm_small!(w1, w0, k0, 3, 1, 8, Val(4), Val(8), Val(3))
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(w1, 8i0 + i1)
            x1 = load(s1, i1)
            v0 = (x0 + x1)
            v1 = tanh_fast(v0)
            store!(w2, v1, 8i0 + i1)
        end
    end
    gemm_small!(w3, w2, k1, 8, 1, 2, Val(4), Val(2), Val(8))
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(w3, 2i0 + i1)
            x1 = load(s3, i1)
            v0 = (x0 + x1)
            store!(w4, v0, 2i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(w5, v0, 0)
    end
    s = zero(T)
    @simd for i0 in 0:3
        x0 = load(w4, 2i0)
        s = s + x0
    end
    add!(w5, s, 0)
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(w6, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        v0 = T(1.0)
        v1 = v0
        store!(w6, v1, 2i0)
    end
    gemm_small!(w7, w6, s2, 2, 1, 8, Val(4), Val(8), Val(2))
    @simd ivdep for i0 in 0:31
        x0 = load(w2, i0)
        v0 = T(1)
        v1 = (x0 * x0)
        v2 = (v0 - v1)
        store!(w8, v2, i0)
    end
    @simd ivdep for i0 in 0:31
        x0 = load(w7, i0)
        x1 = load(w8, i0)
        v0 = (x0 * x1)
        store!(w9, v0, i0)
    end
    gemm_small!(w10, w9, s0, 8, 1, 3, Val(4), Val(3), Val(8))
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(w11, v0, 0)
    end
    s = zero(T)
    @simd for i0 in 0:3
        x0 = load(w4, 2i0 + 1)
        s = s + x0
    end
    add!(w11, s, 0)
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(w12, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        v0 = T(1.0)
        v1 = v0
        store!(w12, v1, 2i0 + 1)
    end
    gemm_small!(w13, w12, s2, 2, 1, 8, Val(4), Val(8), Val(2))
    @simd ivdep for i0 in 0:31
        x0 = load(w13, i0)
        x1 = load(w8, i0)
        v0 = (x0 * x1)
        store!(w14, v0, i0)
    end
    gemm_small!(w15, w14, s0, 8, 1, 3, Val(4), Val(3), Val(8))
    @simd ivdep for i0 in 0:3
        x0 = load(w10, 3i0)
        x1 = load(w15, 3i0 + 1)
        v0 = T(0)
        v1 = (x0 + v0)
        v2 = (v1 + x1)
        v3 = (-v2)
        store!(du, v3, i0 + 8)
    end
    return nothing
end

function vjp_state!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    s2 = unsafe_load(s, 3)
    k0 = at(k, 0)
    w2 = at(w, 16)
    w7 = at(w, 64)
    w8 = at(w, 96)
    w13 = at(w, 176)
    v2_0 = at(q, 0)
    v2_1 = at(q, 16)
    v2_2 = at(q, 32)
    v2_3 = at(q, 48)
    v2_4 = at(q, 16)
    v2_5 = at(q, 80)
    v2_6 = at(q, 0)
    v2_7 = at(q, 80)
    v2_8 = at(q, 112)
    v2_9 = at(q, 48)
    v2_10 = at(q, 0)
    @simd ivdep for i0 in 0:3
        x0 = load(a, i0 + 8)
        v0 = (-x0)
        store!(v2_0, v0, i0)
    end
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v2_1, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v2_0, i0)
        store!(v2_1, x0, 2i0 + 1)
    end
    @simd ivdep for i0 in 0:11
        v0 = zero(T)
        store!(v2_2, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(v2_1, 2i0 + i1)
            store!(v2_2, x0, 3i0 + i1)
        end
    end
    gemm_small!(v2_3, v2_2, k0, 3, 1, 8, Val(4), Val(8), Val(3))
    @simd ivdep for i0 in 0:31
        x0 = load(w2, i0)
        v0 = T(-2)
        v1 = (x0 * v0)
        store!(v2_4, v1, i0)
    end
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v2_5, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v2_0, i0)
        store!(v2_5, x0, 2i0)
    end
    @simd ivdep for i0 in 0:11
        v0 = zero(T)
        store!(v2_6, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(v2_5, 2i0 + i1)
            store!(v2_6, x0, 3i0 + i1)
        end
    end
    gemm_small!(v2_7, v2_6, k0, 3, 1, 8, Val(4), Val(8), Val(3))
    gemm_small!(v2_8, a, s2, 2, 1, 8, Val(4), Val(8), Val(2))
    @simd ivdep for i0 in 0:31
        x0 = load(v2_3, i0)
        x1 = load(v2_4, i0)
        x2 = load(w13, i0)
        x3 = load(v2_7, i0)
        x4 = load(w7, i0)
        x5 = load(v2_8, i0)
        x6 = load(w8, i0)
        v0 = (x1 * x2)
        v1 = (x0 * v0)
        v2 = (x1 * x4)
        v3 = (x3 * v2)
        v4 = (v1 + v3)
        v5 = (v4 + x5)
        v6 = (v5 * x6)
        store!(v2_9, v6, i0)
    end
    gemm_small!(v2_10, v2_9, s0, 8, 1, 3, Val(4), Val(3), Val(8))
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(v2_10, 3i0 + i1)
            store!(da, x0, 2i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(da, v0, i0 + 8)
    end
    return nothing
end

function vjp_params!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s2 = unsafe_load(s, 3)
    k0 = at(k, 0)
    w0 = at(w, 0)
    w2 = at(w, 16)
    w6 = at(w, 48)
    w7 = at(w, 64)
    w8 = at(w, 96)
    w9 = at(w, 128)
    w12 = at(w, 160)
    w13 = at(w, 176)
    w14 = at(w, 208)
    v3_0 = at(q, 0)
    v3_1 = at(q, 16)
    v3_2 = at(q, 32)
    v3_3 = at(q, 48)
    v3_4 = at(q, 80)
    v3_5 = at(q, 16)
    v3_6 = at(q, 112)
    v3_7 = at(q, 144)
    v3_8 = at(q, 112)
    v3_9 = at(q, 0)
    v3_10 = at(q, 112)
    v3_11 = at(q, 160)
    v3_12 = at(q, 192)
    v3_13 = at(q, 0)
    v3_14 = at(q, 192)
    v3_15 = at(q, 224)
    v3_16 = at(q, 240)
    v3_17 = at(q, 256)
    v3_18 = at(q, 160)
    v3_19 = at(q, 0)
    v3_20 = at(q, 32)
    v3_21 = at(q, 80)
    @simd ivdep for i0 in 0:3
        x0 = load(a, i0 + 8)
        v0 = (-x0)
        store!(v3_0, v0, i0)
    end
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v3_1, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v3_0, i0)
        store!(v3_1, x0, 2i0 + 1)
    end
    @simd ivdep for i0 in 0:11
        v0 = zero(T)
        store!(v3_2, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(v3_1, 2i0 + i1)
            store!(v3_2, x0, 3i0 + i1)
        end
    end
    gemm_small!(v3_3, w14, v3_2, 1, 8, 3, Val(8), Val(3), Val(4))
    gemm_small!(v3_4, v3_2, k0, 3, 1, 8, Val(4), Val(8), Val(3))
    @simd ivdep for i0 in 0:31
        x0 = load(w2, i0)
        v0 = T(-2)
        v1 = (x0 * v0)
        store!(v3_5, v1, i0)
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v3_4, i0)
        x1 = load(w8, i0)
        v0 = (x0 * x1)
        store!(v3_6, v0, i0)
    end
    gemm_small!(v3_7, w12, v3_6, 1, 2, 8, Val(2), Val(8), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v3_8, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v3_0, i0)
        store!(v3_8, x0, 2i0)
    end
    @simd ivdep for i0 in 0:11
        v0 = zero(T)
        store!(v3_9, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(v3_8, 2i0 + i1)
            store!(v3_9, x0, 3i0 + i1)
        end
    end
    gemm_small!(v3_10, w9, v3_9, 1, 8, 3, Val(8), Val(3), Val(4))
    gemm_small!(v3_11, v3_9, k0, 3, 1, 8, Val(4), Val(8), Val(3))
    @simd ivdep for i0 in 0:31
        x0 = load(v3_11, i0)
        x1 = load(w8, i0)
        v0 = (x0 * x1)
        store!(v3_12, v0, i0)
    end
    gemm_small!(v3_13, w6, v3_12, 1, 2, 8, Val(2), Val(8), Val(4))
    gemm_small!(v3_14, a, s2, 2, 1, 8, Val(4), Val(8), Val(2))
    gemm_small!(v3_15, a, w2, 1, 2, 8, Val(2), Val(8), Val(4))
    @simd ivdep for i0 in 0:1
        v0 = zero(T)
        store!(v3_16, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(a, 2i0 + i1)
            add!(v3_16, x0, i1)
        end
    end
    for i0 in 0:7
        @simd ivdep for i1 in 0:1
            x0 = load(v3_7, i0 + 8i1)
            x1 = load(v3_13, i0 + 8i1)
            x2 = load(v3_15, i0 + 8i1)
            v0 = (x0 + x1)
            v1 = (v0 + x2)
            store!(v3_17, v1, 2i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v3_4, i0)
        x1 = load(v3_5, i0)
        x2 = load(w13, i0)
        x3 = load(v3_11, i0)
        x4 = load(w7, i0)
        x5 = load(v3_14, i0)
        x6 = load(w8, i0)
        v0 = (x1 * x2)
        v1 = (x0 * v0)
        v2 = (x1 * x4)
        v3 = (x3 * v2)
        v4 = (v1 + v3)
        v5 = (v4 + x5)
        v6 = (v5 * x6)
        store!(v3_18, v6, i0)
    end
    gemm_small!(v3_19, v3_18, w0, 1, 8, 3, Val(8), Val(3), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v3_20, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v3_18, 8i0 + i1)
            add!(v3_20, x0, i1)
        end
    end
    for i0 in 0:2
        @simd ivdep for i1 in 0:7
            x0 = load(v3_3, i0 + 3i1)
            x1 = load(v3_10, i0 + 3i1)
            x2 = load(v3_19, i0 + 3i1)
            v0 = (x0 + x1)
            v1 = (v0 + x2)
            store!(v3_21, v1, 8i0 + i1)
        end
    end
    for i0 in 0:7
        @simd ivdep for i1 in 0:2
            x0 = load(v3_21, i0 + 8i1)
            add!(dp, x0, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v3_20, i0)
        add!(dp, x0, i0 + 24)
    end
    for i0 in 0:1
        @simd ivdep for i1 in 0:7
            x0 = load(v3_17, i0 + 2i1)
            add!(dp, x0, 8i0 + i1 + 32)
        end
    end
    @simd ivdep for i0 in 0:1
        x0 = load(v3_16, i0)
        add!(dp, x0, i0 + 48)
    end
    return nothing
end

function vjp!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    s2 = unsafe_load(s, 3)
    k0 = at(k, 0)
    w0 = at(w, 0)
    w2 = at(w, 16)
    w6 = at(w, 48)
    w7 = at(w, 64)
    w8 = at(w, 96)
    w9 = at(w, 128)
    w12 = at(w, 160)
    w13 = at(w, 176)
    w14 = at(w, 208)
    v4_0 = at(q, 0)
    v4_1 = at(q, 16)
    v4_2 = at(q, 32)
    v4_3 = at(q, 48)
    v4_4 = at(q, 80)
    v4_5 = at(q, 16)
    v4_6 = at(q, 112)
    v4_7 = at(q, 144)
    v4_8 = at(q, 112)
    v4_9 = at(q, 0)
    v4_10 = at(q, 112)
    v4_11 = at(q, 160)
    v4_12 = at(q, 192)
    v4_13 = at(q, 0)
    v4_14 = at(q, 192)
    v4_15 = at(q, 224)
    v4_16 = at(q, 240)
    v4_17 = at(q, 256)
    v4_18 = at(q, 160)
    v4_19 = at(q, 0)
    v4_20 = at(q, 16)
    v4_21 = at(q, 80)
    v4_22 = at(q, 144)
    @simd ivdep for i0 in 0:3
        x0 = load(a, i0 + 8)
        v0 = (-x0)
        store!(v4_0, v0, i0)
    end
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v4_1, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v4_0, i0)
        store!(v4_1, x0, 2i0 + 1)
    end
    @simd ivdep for i0 in 0:11
        v0 = zero(T)
        store!(v4_2, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(v4_1, 2i0 + i1)
            store!(v4_2, x0, 3i0 + i1)
        end
    end
    gemm_small!(v4_3, w14, v4_2, 1, 8, 3, Val(8), Val(3), Val(4))
    gemm_small!(v4_4, v4_2, k0, 3, 1, 8, Val(4), Val(8), Val(3))
    @simd ivdep for i0 in 0:31
        x0 = load(w2, i0)
        v0 = T(-2)
        v1 = (x0 * v0)
        store!(v4_5, v1, i0)
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v4_4, i0)
        x1 = load(w8, i0)
        v0 = (x0 * x1)
        store!(v4_6, v0, i0)
    end
    gemm_small!(v4_7, w12, v4_6, 1, 2, 8, Val(2), Val(8), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v4_8, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v4_0, i0)
        store!(v4_8, x0, 2i0)
    end
    @simd ivdep for i0 in 0:11
        v0 = zero(T)
        store!(v4_9, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(v4_8, 2i0 + i1)
            store!(v4_9, x0, 3i0 + i1)
        end
    end
    gemm_small!(v4_10, w9, v4_9, 1, 8, 3, Val(8), Val(3), Val(4))
    gemm_small!(v4_11, v4_9, k0, 3, 1, 8, Val(4), Val(8), Val(3))
    @simd ivdep for i0 in 0:31
        x0 = load(v4_11, i0)
        x1 = load(w8, i0)
        v0 = (x0 * x1)
        store!(v4_12, v0, i0)
    end
    gemm_small!(v4_13, w6, v4_12, 1, 2, 8, Val(2), Val(8), Val(4))
    gemm_small!(v4_14, a, s2, 2, 1, 8, Val(4), Val(8), Val(2))
    gemm_small!(v4_15, a, w2, 1, 2, 8, Val(2), Val(8), Val(4))
    @simd ivdep for i0 in 0:1
        v0 = zero(T)
        store!(v4_16, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(a, 2i0 + i1)
            add!(v4_16, x0, i1)
        end
    end
    for i0 in 0:7
        @simd ivdep for i1 in 0:1
            x0 = load(v4_7, i0 + 8i1)
            x1 = load(v4_13, i0 + 8i1)
            x2 = load(v4_15, i0 + 8i1)
            v0 = (x0 + x1)
            v1 = (v0 + x2)
            store!(v4_17, v1, 2i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v4_4, i0)
        x1 = load(v4_5, i0)
        x2 = load(w13, i0)
        x3 = load(v4_11, i0)
        x4 = load(w7, i0)
        x5 = load(v4_14, i0)
        x6 = load(w8, i0)
        v0 = (x1 * x2)
        v1 = (x0 * v0)
        v2 = (x1 * x4)
        v3 = (x3 * v2)
        v4 = (v1 + v3)
        v5 = (v4 + x5)
        v6 = (v5 * x6)
        store!(v4_18, v6, i0)
    end
    gemm_small!(v4_19, v4_18, s0, 8, 1, 3, Val(4), Val(3), Val(8))
    gemm_small!(v4_20, v4_18, w0, 1, 8, 3, Val(8), Val(3), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v4_21, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v4_18, 8i0 + i1)
            add!(v4_21, x0, i1)
        end
    end
    for i0 in 0:2
        @simd ivdep for i1 in 0:7
            x0 = load(v4_3, i0 + 3i1)
            x1 = load(v4_10, i0 + 3i1)
            x2 = load(v4_20, i0 + 3i1)
            v0 = (x0 + x1)
            v1 = (v0 + x2)
            store!(v4_22, v1, 8i0 + i1)
        end
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(v4_19, 3i0 + i1)
            store!(da, x0, 2i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(da, v0, i0 + 8)
    end
    for i0 in 0:7
        @simd ivdep for i1 in 0:2
            x0 = load(v4_22, i0 + 8i1)
            add!(dp, x0, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v4_21, i0)
        add!(dp, x0, i0 + 24)
    end
    for i0 in 0:1
        @simd ivdep for i1 in 0:7
            x0 = load(v4_17, i0 + 2i1)
            add!(dp, x0, 8i0 + i1 + 32)
        end
    end
    @simd ivdep for i0 in 0:1
        x0 = load(v4_16, i0)
        add!(dp, x0, i0 + 48)
    end
    return nothing
end

function vjp_time!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    s2 = unsafe_load(s, 3)
    k0 = at(k, 0)
    w2 = at(w, 16)
    w7 = at(w, 64)
    w8 = at(w, 96)
    w13 = at(w, 176)
    v5_11 = at(dt, 0)
    v5_0 = at(q, 0)
    v5_1 = at(q, 16)
    v5_2 = at(q, 32)
    v5_3 = at(q, 48)
    v5_4 = at(q, 16)
    v5_5 = at(q, 80)
    v5_6 = at(q, 0)
    v5_7 = at(q, 80)
    v5_8 = at(q, 112)
    v5_9 = at(q, 48)
    v5_10 = at(q, 0)
    @simd ivdep for i0 in 0:3
        x0 = load(a, i0 + 8)
        v0 = (-x0)
        store!(v5_0, v0, i0)
    end
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v5_1, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v5_0, i0)
        store!(v5_1, x0, 2i0 + 1)
    end
    @simd ivdep for i0 in 0:11
        v0 = zero(T)
        store!(v5_2, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(v5_1, 2i0 + i1)
            store!(v5_2, x0, 3i0 + i1)
        end
    end
    gemm_small!(v5_3, v5_2, k0, 3, 1, 8, Val(4), Val(8), Val(3))
    @simd ivdep for i0 in 0:31
        x0 = load(w2, i0)
        v0 = T(-2)
        v1 = (x0 * v0)
        store!(v5_4, v1, i0)
    end
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v5_5, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v5_0, i0)
        store!(v5_5, x0, 2i0)
    end
    @simd ivdep for i0 in 0:11
        v0 = zero(T)
        store!(v5_6, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:1
            x0 = load(v5_5, 2i0 + i1)
            store!(v5_6, x0, 3i0 + i1)
        end
    end
    gemm_small!(v5_7, v5_6, k0, 3, 1, 8, Val(4), Val(8), Val(3))
    gemm_small!(v5_8, a, s2, 2, 1, 8, Val(4), Val(8), Val(2))
    @simd ivdep for i0 in 0:31
        x0 = load(v5_3, i0)
        x1 = load(v5_4, i0)
        x2 = load(w13, i0)
        x3 = load(v5_7, i0)
        x4 = load(w7, i0)
        x5 = load(v5_8, i0)
        x6 = load(w8, i0)
        v0 = (x1 * x2)
        v1 = (x0 * v0)
        v2 = (x1 * x4)
        v3 = (x3 * v2)
        v4 = (v1 + v3)
        v5 = (v4 + x5)
        v6 = (v5 * x6)
        store!(v5_9, v6, i0)
    end
    gemm_small!(v5_10, v5_9, s0, 8, 1, 3, Val(4), Val(3), Val(8))
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(v5_11, v0, 0)
    end
    s = zero(T)
    @simd for i0 in 0:3
        x0 = load(v5_10, 3i0 + 2)
        s = s + x0
    end
    add!(v5_11, s, 0)
    return nothing
end
