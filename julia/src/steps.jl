"""
    Steps{V}

The accepted steps of a forward solve: their signed sizes, and the states that they began at.
"""
struct Steps{V}
    sizes::Vector{Float64}
    states::Vector{V}
end

Steps{V}() where {V} = Steps{V}(Float64[], V[])
recorded_steps(array) = Steps{vector_type(array)}()

record!(steps::Steps, u, dt) = (push!(steps.sizes, dt); push!(steps.states, copy(u)); nothing)
