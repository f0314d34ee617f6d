function hoist!(s::Ptr{Ptr{T}}, k::Ptr{T}) where {T}
    s0 = unsafe_load(s, 1)
    s1 = unsafe_load(s, 2)
    k0 = at(k, 0)
    k1 = at(k, 16)
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(s1, i0 + 4i1)
            store!(k0, x0, 3i0 + i1)
        end
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(s0, i0 + 4i1)
            store!(k1, x0, 3i0 + i1)
        end
    end
    return nothing
end

function primal!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, du::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    s1 = unsafe_load(s, 2)
    w0 = at(w, 0)
    w1 = at(w, 48)
    w7 = at(w, 96)
    w2 = at(q, 0)
    w3 = at(q, 48)
    w4 = at(q, 0)
    w5 = at(q, 48)
    w6 = at(q, 0)
    w8 = at(q, 0)
    gemm_small!(w0, u, s0, 3, 1, 4, Val(10), Val(4), Val(3))
    gemm_small!(w1, u, s1, 3, 1, 4, Val(10), Val(4), Val(3))
    for i0 in 0:1
        for i1 in 0:3
            @simd ivdep for i2 in 0:4
                x0 = load(w1, 20i0 + i1 + 4i2)
                store!(w2, x0, 20i0 + 5i1 + i2)
            end
        end
    end
    for j in 0:1
        gemm_small!(at(w3, 0 + 25j), at(w0, 0 + 20j), at(w2, 0 + 20j), 4, 1, 5, Val(5), Val(5), Val(4))
    end
    @simd ivdep for i0 in 0:9
        v0 = T(-Inf)
        store!(w4, v0, i0)
    end
    for i0 in 0:9
        s = T(-Inf)
        @simd for i1 in 0:4
            x0 = load(w3, 5i0 + i1)
            s = larger(s, x0)
        end
        max!(w4, s, i0)
    end
    for i0 in 0:9
        @simd ivdep for i1 in 0:4
            x0 = load(w3, 5i0 + i1)
            x1 = load(w4, i0)
            v0 = (x0 - x1)
            v1 = exp_fast(v0)
            store!(w5, v1, 5i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:9
        v0 = zero(T)
        store!(w6, v0, i0)
    end
    for i0 in 0:9
        s = zero(T)
        @simd for i1 in 0:4
            x0 = load(w5, 5i0 + i1)
            s = s + x0
        end
        add!(w6, s, i0)
    end
    for i0 in 0:9
        @simd ivdep for i1 in 0:4
            x0 = load(w5, 5i0 + i1)
            x1 = load(w6, i0)
            v0 = (x0 / x1)
            store!(w7, v0, 5i0 + i1)
        end
    end
    for j in 0:1
        gemm_small!(at(w8, 0 + 15j), at(w7, 0 + 25j), at(u, 0 + 15j), 5, 1, 3, Val(5), Val(3), Val(5))
    end
    @simd ivdep for i0 in 0:29
        x0 = load(w8, i0)
        x1 = load(u, i0)
        v0 = (x0 - x1)
        store!(du, v0, i0)
    end
    return nothing
end

function vjp_state!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    k0 = at(k, 0)
    k1 = at(k, 16)
    w0 = at(w, 0)
    w1 = at(w, 48)
    w7 = at(w, 96)
    v2_0 = at(q, 0)
    v2_1 = at(q, 32)
    v2_2 = at(q, 64)
    v2_3 = at(q, 64)
    v2_4 = at(q, 32)
    v2_5 = at(q, 64)
    v2_6 = at(q, 128)
    v2_7 = at(q, 176)
    v2_8 = at(q, 32)
    v2_9 = at(q, 80)
    v2_10 = at(q, 32)
    for j in 0:1
        gemm_small!(at(v2_0, 0 + 15j), at(w7, 0 + 25j), at(a, 0 + 15j), 1, 5, 3, Val(5), Val(3), Val(5))
    end
    for i0 in 0:1
        for i1 in 0:2
            @simd ivdep for i2 in 0:4
                x0 = load(u, 15i0 + i1 + 3i2)
                store!(v2_1, x0, 15i0 + 5i1 + i2)
            end
        end
    end
    for j in 0:1
        gemm_small!(at(v2_2, 0 + 25j), at(a, 0 + 15j), at(v2_1, 0 + 15j), 3, 1, 5, Val(5), Val(5), Val(3))
    end
    @simd ivdep for i0 in 0:49
        x0 = load(v2_2, i0)
        x1 = load(w7, i0)
        v0 = (x0 * x1)
        store!(v2_3, v0, i0)
    end
    @simd ivdep for i0 in 0:9
        v0 = zero(T)
        store!(v2_4, v0, i0)
    end
    for i0 in 0:9
        s = zero(T)
        @simd for i1 in 0:4
            x0 = load(v2_3, 5i0 + i1)
            s = s + x0
        end
        add!(v2_4, s, i0)
    end
    for i0 in 0:9
        @simd ivdep for i1 in 0:4
            x0 = load(v2_3, 5i0 + i1)
            x1 = load(w7, 5i0 + i1)
            x2 = load(v2_4, i0)
            v0 = (x1 * x2)
            v1 = (x0 - v0)
            store!(v2_5, v1, 5i0 + i1)
        end
    end
    for j in 0:1
        gemm_small!(at(v2_6, 0 + 20j), at(w0, 0 + 20j), at(v2_5, 0 + 25j), 1, 4, 5, Val(4), Val(5), Val(5))
    end
    for j in 0:1
        gemm_small!(at(v2_7, 0 + 20j), at(v2_5, 0 + 25j), at(w1, 0 + 20j), 5, 1, 4, Val(5), Val(4), Val(5))
    end
    for i0 in 0:1
        for i1 in 0:4
            @simd ivdep for i2 in 0:3
                x0 = load(v2_6, 20i0 + i1 + 5i2)
                store!(v2_8, x0, 20i0 + 4i1 + i2)
            end
        end
    end
    gemm_small!(v2_9, v2_8, k0, 4, 1, 3, Val(10), Val(3), Val(4))
    gemm_small!(v2_10, v2_7, k1, 4, 1, 3, Val(10), Val(3), Val(4))
    @simd ivdep for i0 in 0:29
        x0 = load(a, i0)
        x1 = load(v2_0, i0)
        x2 = load(v2_9, i0)
        x3 = load(v2_10, i0)
        v0 = (-x0)
        v1 = (v0 + x1)
        v2 = (v1 + x2)
        v3 = (v2 + x3)
        store!(da, v3, i0)
    end
    return nothing
end

function vjp_params!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    w0 = at(w, 0)
    w1 = at(w, 48)
    w7 = at(w, 96)
    v3_0 = at(q, 0)
    v3_1 = at(q, 32)
    v3_2 = at(q, 32)
    v3_3 = at(q, 0)
    v3_4 = at(q, 32)
    v3_5 = at(q, 96)
    v3_6 = at(q, 144)
    v3_7 = at(q, 0)
    v3_8 = at(q, 48)
    v3_9 = at(q, 0)
    for i0 in 0:1
        for i1 in 0:2
            @simd ivdep for i2 in 0:4
                x0 = load(u, 15i0 + i1 + 3i2)
                store!(v3_0, x0, 15i0 + 5i1 + i2)
            end
        end
    end
    for j in 0:1
        gemm_small!(at(v3_1, 0 + 25j), at(a, 0 + 15j), at(v3_0, 0 + 15j), 3, 1, 5, Val(5), Val(5), Val(3))
    end
    @simd ivdep for i0 in 0:49
        x0 = load(v3_1, i0)
        x1 = load(w7, i0)
        v0 = (x0 * x1)
        store!(v3_2, v0, i0)
    end
    @simd ivdep for i0 in 0:9
        v0 = zero(T)
        store!(v3_3, v0, i0)
    end
    for i0 in 0:9
        s = zero(T)
        @simd for i1 in 0:4
            x0 = load(v3_2, 5i0 + i1)
            s = s + x0
        end
        add!(v3_3, s, i0)
    end
    for i0 in 0:9
        @simd ivdep for i1 in 0:4
            x0 = load(v3_2, 5i0 + i1)
            x1 = load(w7, 5i0 + i1)
            x2 = load(v3_3, i0)
            v0 = (x1 * x2)
            v1 = (x0 - v0)
            store!(v3_4, v1, 5i0 + i1)
        end
    end
    for j in 0:1
        gemm_small!(at(v3_5, 0 + 20j), at(w0, 0 + 20j), at(v3_4, 0 + 25j), 1, 4, 5, Val(4), Val(5), Val(5))
    end
    for j in 0:1
        gemm_small!(at(v3_6, 0 + 20j), at(v3_4, 0 + 25j), at(w1, 0 + 20j), 5, 1, 4, Val(5), Val(4), Val(5))
    end
    for i0 in 0:1
        for i1 in 0:4
            @simd ivdep for i2 in 0:3
                x0 = load(v3_5, 20i0 + i1 + 5i2)
                store!(v3_7, x0, 20i0 + 4i1 + i2)
            end
        end
    end
    gemm_small!(v3_8, u, v3_7, 1, 3, 4, Val(3), Val(4), Val(10))
    gemm_small!(v3_9, u, v3_6, 1, 3, 4, Val(3), Val(4), Val(10))
    @simd ivdep for i0 in 0:11
        x0 = load(v3_9, i0)
        add!(dp, x0, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(v3_8, i0)
        add!(dp, x0, i0 + 12)
    end
    return nothing
end

function vjp!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    k0 = at(k, 0)
    k1 = at(k, 16)
    w0 = at(w, 0)
    w1 = at(w, 48)
    w7 = at(w, 96)
    v4_0 = at(q, 0)
    v4_1 = at(q, 32)
    v4_2 = at(q, 64)
    v4_3 = at(q, 64)
    v4_4 = at(q, 32)
    v4_5 = at(q, 64)
    v4_6 = at(q, 128)
    v4_7 = at(q, 176)
    v4_8 = at(q, 32)
    v4_9 = at(q, 80)
    v4_10 = at(q, 96)
    v4_11 = at(q, 32)
    v4_12 = at(q, 48)
    for j in 0:1
        gemm_small!(at(v4_0, 0 + 15j), at(w7, 0 + 25j), at(a, 0 + 15j), 1, 5, 3, Val(5), Val(3), Val(5))
    end
    for i0 in 0:1
        for i1 in 0:2
            @simd ivdep for i2 in 0:4
                x0 = load(u, 15i0 + i1 + 3i2)
                store!(v4_1, x0, 15i0 + 5i1 + i2)
            end
        end
    end
    for j in 0:1
        gemm_small!(at(v4_2, 0 + 25j), at(a, 0 + 15j), at(v4_1, 0 + 15j), 3, 1, 5, Val(5), Val(5), Val(3))
    end
    @simd ivdep for i0 in 0:49
        x0 = load(v4_2, i0)
        x1 = load(w7, i0)
        v0 = (x0 * x1)
        store!(v4_3, v0, i0)
    end
    @simd ivdep for i0 in 0:9
        v0 = zero(T)
        store!(v4_4, v0, i0)
    end
    for i0 in 0:9
        s = zero(T)
        @simd for i1 in 0:4
            x0 = load(v4_3, 5i0 + i1)
            s = s + x0
        end
        add!(v4_4, s, i0)
    end
    for i0 in 0:9
        @simd ivdep for i1 in 0:4
            x0 = load(v4_3, 5i0 + i1)
            x1 = load(w7, 5i0 + i1)
            x2 = load(v4_4, i0)
            v0 = (x1 * x2)
            v1 = (x0 - v0)
            store!(v4_5, v1, 5i0 + i1)
        end
    end
    for j in 0:1
        gemm_small!(at(v4_6, 0 + 20j), at(w0, 0 + 20j), at(v4_5, 0 + 25j), 1, 4, 5, Val(4), Val(5), Val(5))
    end
    for j in 0:1
        gemm_small!(at(v4_7, 0 + 20j), at(v4_5, 0 + 25j), at(w1, 0 + 20j), 5, 1, 4, Val(5), Val(4), Val(5))
    end
    for i0 in 0:1
        for i1 in 0:4
            @simd ivdep for i2 in 0:3
                x0 = load(v4_6, 20i0 + i1 + 5i2)
                store!(v4_8, x0, 20i0 + 4i1 + i2)
            end
        end
    end
    gemm_small!(v4_9, u, v4_8, 1, 3, 4, Val(3), Val(4), Val(10))
    gemm_small!(v4_10, v4_8, k0, 4, 1, 3, Val(10), Val(3), Val(4))
    gemm_small!(v4_11, u, v4_7, 1, 3, 4, Val(3), Val(4), Val(10))
    gemm_small!(v4_12, v4_7, k1, 4, 1, 3, Val(10), Val(3), Val(4))
    @simd ivdep for i0 in 0:29
        x0 = load(a, i0)
        x1 = load(v4_0, i0)
        x2 = load(v4_10, i0)
        x3 = load(v4_12, i0)
        v0 = (-x0)
        v1 = (v0 + x1)
        v2 = (v1 + x2)
        v3 = (v2 + x3)
        store!(da, v3, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(v4_11, i0)
        add!(dp, x0, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(v4_9, i0)
        add!(dp, x0, i0 + 12)
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
