# While a solve calls no Python, Python's handlers of signals and its other threads wait.

const LOOK_EVERY = UInt64(50_000_000)   # ns

"""
    Poll(calls)

At most every 50 ms: lets Python run the handlers of signals that wait, and then its other threads; stops the solve where a
handler raised. `calls` is where the addresses of PyErr_CheckSignals, PyEval_SaveThread and PyEval_RestoreThread lie (0: no
Python).
"""
mutable struct Poll
    calls::Ptr{Ptr{Cvoid}}
    due::UInt64
end

Poll(calls::Integer) = Poll(Ptr{Ptr{Cvoid}}(UInt(calls)), time_ns() + LOOK_EVERY)

function (poll::Poll)()
    (time_ns() < poll.due || poll.calls == C_NULL) && return nothing
    check, save, restore = ntuple(i -> unsafe_load(poll.calls, i), Val(3))
    ccall(check, Cint, ()) == 0 || throw(CallbackFailure())     # what was raised waits in Python
    ccall(restore, Cvoid, (Ptr{Cvoid},), ccall(save, Ptr{Cvoid}, ()))
    poll.due = time_ns() + LOOK_EVERY
    return nothing
end
