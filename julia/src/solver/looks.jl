"""
    Looks(call, times, states)

Who looks for events in the accepted steps of a forward solve: a C function of Python (`C_NULL`: nobody), and memory that it owns for
the times of which it wants states, and for these, one a row.
"""
struct Looks
    call::Ptr{Cvoid}
    times::Ptr{Float64}
    states::UInt
end

Looks((call, times, states)::NTuple{3, Integer}) = Looks(Ptr{Cvoid}(UInt(call)), Ptr{Float64}(UInt(times)), UInt(states))

const NO_LOOKS = Looks((0, 0, 0))

looks_for_events(looks::Looks) = looks.call != C_NULL

# What `call` gives where it wants no more: the solve goes on, it ends with the step, or a function of Python raised. Else the
# number of states that it wants; of derivatives, a negative one.
const GO_ON, END_HERE, RAISED_THERE = 0, 1000, -1000

"Show an accepted step to Python; whether the solve ends with it."
function look!((; call, times, states)::Looks, integrator, ::Type{V}, n) where {V}
    call == C_NULL && return false
    SciMLBase.addsteps!(integrator)
    wanted = call_look(call, integrator.tprev, integrator.t)
    while !(wanted in (GO_ON, END_HERE))
        wanted == RAISED_THERE && throw(CallbackFailure())
        for i in 1:abs(wanted)
            show!(row(V, states, i - 1, n), integrator, unsafe_load(times, i), wanted < 0)
        end
        synchronize(V)
        wanted = call_look(call, integrator.tprev, integrator.t)
    end
    resize!(integrator.k, integrator.kshortsize)
    return wanted == END_HERE
end

"Write the dense output of the step just made, or its derivative, at a time."
function show!(out, integrator, t, derivative)
    derivative ? integrator(out, t, Val{1}) : t == integrator.t ? copyto!(out, integrator.u) : integrator(out, t)
    return nothing
end
