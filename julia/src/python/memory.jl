# Arrays over memory that Python owns. A kind of memory has a vector type here, a method of `wrap` and, where its work is
# not in order with Python's by itself, one of `synchronize`; the extensions in ext/ add kinds.

"The vector type of a kind of memory, as a function of the element type and the index of the device."
const VECTORS = Dict{String, Any}("cpu" => (T, device) -> Vector{T})

const ELTYPES = Dict("Float64" => Float64, "Float32" => Float32)

vector_type(V::Type) = V
vector_type((kind, eltype, device)::Tuple) = Base.invokelatest(VECTORS[kind], ELTYPES[eltype], device)

"    wrap(V, address, n): a vector of type `V` over `n` elements of foreign memory, not owned by it."
wrap(::Type{Vector{T}}, address::Integer, n::Integer) where {T} = unsafe_wrap(Array, Ptr{T}(UInt(address)), n)

"Row `index` (from 0) of a row-major matrix with `n` columns."
row(::Type{V}, address::Integer, index, n) where {V} = wrap(V, address + index * n * sizeof(eltype(V)), n)

address(x) = UInt(pointer(x))

"    synchronize(V): wait for work on arrays of type `V`, before Python touches their memory."
synchronize(::Type) = nothing
