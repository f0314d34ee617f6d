module PySeminormCUDAExt

using CUDA: CUDA, CuPtr, CuVector
using PySeminorm: PySeminorm, Seminorm, VECTORS, measure_at_once

# torch's device memory is wrapped, never owned or copied. Device and stream belong to a Julia task, so every entry from
# Python chooses the device; work is ordered by waiting, here before Python is called and in Python before Julia goes on.
PySeminorm.wrap(::Type{V}, address::Integer, n::Integer) where {T, V <: CuVector{T}} =
    unsafe_wrap(V, CuPtr{T}(UInt(address)), (Int(n),); own = false)

PySeminorm.synchronize(::Type{<:CuVector}) = CUDA.synchronize(; blocking = true)

PySeminorm.measure(norm::Seminorm, u::CuVector) = measure_at_once(norm, u)

function __init__()
    VECTORS["cuda"] = function (T, device)
        CUDA.device!(device)
        return typeof(CuVector{T}(undef, 0))    # with CUDA.jl's own type of device memory
    end
    return nothing
end

end
