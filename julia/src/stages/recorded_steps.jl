"""
    StageRecord{T}(tableau, make)

The stages of the accepted `steps` of a forward solve, which evaluates f nowhere else. `make()` gives a stage to write to.
"""
struct StageRecord{T}
    attempts::Attempts{Stage{T}}
    steps::Vector{Vector{Union{Stage{T}, Nothing}}}
    StageRecord{T}(tableau, make) where {T} = new{T}(Attempts{Stage{T}}(tableau, make), Vector{Union{Stage{T}, Nothing}}[])
end

function accept!((; attempts, steps)::StageRecord, attempt::Attempt)
    push!(steps, accept!(attempts, attempt, isempty(steps) ? nothing : last(steps)[end]))
    return nothing
end

reject!(record::StageRecord, attempt::Attempt) = reject!(record.attempts, attempt)

"""
    Steps{V}

The accepted steps of a forward solve: their signed sizes, their `ends` after the start of the solve, the states that they
began at, and (where they are kept) their stages.
"""
struct Steps{V}
    ends::Vector{Float64}
    sizes::Vector{Float64}
    states::Vector{V}
    stages::Union{StageRecord, Nothing}
end

Steps{V}(stages = nothing) where {V} = Steps{V}(Float64[], Float64[], V[], stages)

"Record an accepted step that began at `u` and ended at time `stop`."
function accept!(steps::Steps, attempt::Attempt, u, stop)
    isempty(steps.ends) && push!(steps.ends, attempt.t)
    push!(steps.ends, stop)
    push!(steps.sizes, attempt.h)
    push!(steps.states, copy(u))
    steps.stages === nothing || accept!(steps.stages, attempt)
    return nothing
end

reject!(steps::Steps, attempt::Attempt) = steps.stages === nothing ? nothing : reject!(steps.stages, attempt)

"The stages of a step that were kept; none where they have been given back."
kept_stages(steps::Steps, n) =
    steps.stages === nothing || n > length(steps.stages.steps) ? () : steps.stages.steps[n]

"Give the stages back once they have been read: another sweep evaluates them again."
function release!(steps::Steps, field)
    record = steps.stages
    record === nothing && return nothing
    kept = unique(objectid, Iterators.filter(!isnothing, Iterators.flatten(record.steps)))
    (; spare, pending) = record.attempts
    give_back!(field, Iterators.flatten((kept, spare, pending)))
    foreach(empty!, (record.steps, spare, pending))
    return nothing
end
