# The C functions of Python that Julia calls, by address. pyseminorm/engines/julia/session/layouts.py declares the same
# signatures. One that gives a Cint gives 1, or anything else where it raised; for `call_look` see solver/looks.jl.

call_evaluate(f, slot_du, slot_u, t, params) = ccall(f, Cint, (Cint, Cint, Cdouble, Cint), slot_du, slot_u, t, params)
call_sums(f, what, number) = ccall(f, Cdouble, (Cint, Cdouble), what, number)
call_register(f, slot, address, length) = ccall(f, Cint, (Cint, UInt, Int64), slot, address, length)
call_norm(f, address, length) = ccall(f, Cdouble, (UInt, Int64), address, length)
call_jacobian(f, what, out, address, length, t) = ccall(f, Cint, (Cint, UInt, UInt, Int64, Cdouble), what, out, address, length, t)
call_report(f, accepted, t, dt, address, length) = ccall(f, Cint, (Cint, Cdouble, Cdouble, UInt, Int64), accepted, t, dt, address, length)
call_look(f, t0, t1) = ccall(f, Cint, (Cdouble, Cdouble), t0, t1)
call_evaluate_nodes(f, count) = ccall(f, Cdouble, (Cint,), count)
