# What Python and Julia must agree on, as far as memory goes. pyseminorm/engines/julia/session/layouts.py declares the same for
# Python, which compares the two when it starts Julia.
#
# Both passes of a small model take a tenth of a millisecond, and a call by way of PythonCall takes as long for its arguments
# alone. So every C function that Python calls gets addresses of two structs: arguments, and a result to write. A field is a
# number, a flag (0 or 1), an address of Python's memory, or that of a mutable Julia object, which Python keeps alive; 0: none.

"The C functions that Python calls, by name; each takes the struct of its arguments and the one of its result."
const C_FUNCTIONS = (:forward, :adjoint, :sweep, :load)

"[`forward`](@ref): `field` is a native field; without one there are the functions of Python."
struct ForwardCall
    vector::Int64               # an object: the type of vectors
    times::Int64
    times_count::Int64
    y0::Int64
    ys::Int64
    size::Int64
    offsets::Int64              # of the segments that the norm measures
    segments::Int64
    settings::Int64             # an object
    dt::Float64                 # of the (first) step; 0: the solver's own
    dense::Int64                # flag
    evaluate::Int64             # functions of Python
    register::Int64
    norm::Int64
    jacobian::Int64
    report::Int64
    field::Int64                # an object
    poll::Int64
    keep::Int64                 # 1: the steps, 2: their stages too
    tableau::Int64              # an object
    load::Int64                 # flag: read the tensors first
    look::Int64                 # who looks for events, and the memory for that: see Looks
    look_times::Int64
    look_states::Int64
end

"[`adjoint`](@ref): `times` are the start and all stops; `params` is μ where it is not a part of the state `z`."
struct AdjointCall
    vector::Int64
    times::Int64
    times_count::Int64
    rows::Int64                 # of the jumps
    rows_count::Int64
    z::Int64
    length::Int64
    ys::Int64
    cotangents::Int64
    size::Int64
    offsets::Int64
    segments::Int64
    settings::Int64
    dt::Float64
    anchored::Int64             # flag: y is a part of z
    has_time::Int64             # flag: so is a_t
    outcome::Int64              # an object: of the forward pass
    y::Int64                    # where it is written, if it is not a part of z
    evaluate::Int64
    register::Int64
    norm::Int64
    jacobian::Int64
    report::Int64
    field::Int64
    poll::Int64
    moves::Int64                # see Scatter
    moves_count::Int64
    params_size::Int64
    tableau::Int64              # with one, μ is not a part of z
    params::Int64
    sums::Int64                 # a function of Python that adds to μ
    places::Int64               # see Sample
    factors::Int64
    places_count::Int64
    param_rtol::Float64         # 0: the steps do not follow μ
    points::Int64               # a quadrature: its rule, memory for nodes, who evaluates them
    weights::Int64
    points_count::Int64
    check_points::Int64         # the rule by which its error is found
    check_weights::Int64
    check_count::Int64
    capacity::Int64
    node_times::Int64
    node_y::Int64
    node_adjoint::Int64
    evaluate_nodes::Int64
    total::Int64
end

"[`native_sweep!`](@ref): μ is written to `params`, or in pieces to `parts`."
struct SweepCall
    field::Int64
    poll::Int64
    tableau::Int64
    steps::Int64                # a number of what is held
    times::Int64
    times_count::Int64
    reached::Int64
    cotangents::Int64
    settings::Int64
    moves::Int64
    moves_count::Int64
    params_size::Int64
    places::Int64               # see Sample
    factors::Int64
    places_count::Int64
    params::Int64
    parts::Int64
    lengths::Int64
    parts_count::Int64
    adjoint::Int64
    derivatives::Int64
    inside::Int64
    whole::Int64
end

"[`lowered_load!`](@ref), which writes no result."
struct LoadCall
    field::Int64
end

"What came of a forward or backward pass. The times of its accepted steps follow, unless there are more than `MOST_TIMES`."
struct PassResult
    retcode::Int64              # its place in RETCODES, or 0
    t::Float64
    naccept::Int64
    nreject::Int64
    calls::Int64
    reached::Int64              # rows that were written; jumps that were made
    steps::Int64                # the number by which they are held; quadrature nodes that were evaluated
    jacobians::Int64
    finite::Int64               # flag: all that was written is known to be
    times_count::Int64
    outcome::Int64              # the number by which it is held
    param_error::Float64        # NaN: not estimated here
    squares::Float64            # sum of those of the errors of accepted steps, as the norm measures them
    rms::Float64                # of the state at the end, or of λ
    proposed::Float64           # the size of the step after the first one
    cancellation::Float64       # what the steps add to μ, in sizes, over the size of μ
end

struct SweepResult
    retcode::Int64
    last_step::Int64
    naccept::Int64
    nvjp::Int64
    finite::Int64
    param_error::Float64        # NaN: not known, else from the steps in this part of the time
    seen::Float64
end

const RETCODES = (:Success, :MaxIters, :DtNaN, :DtLessThanMin, :Unstable, :CallbackFailure, :Interrupted)

"The place of a return code in `RETCODES`; 0: another one."
retcode_number(retcode::Symbol) = Int64(something(findfirst(==(retcode), RETCODES), 0))

const TIMES_AT = 128            # bytes after the start of a result
const MOST_TIMES = 4096
const MOST_RELEASED = 32        # numbers of held things that Python lets go of by one call

"All of this as text, a line for each, for Python to compare."
function declarations()
    structs = (ForwardCall, AdjointCall, SweepCall, LoadCall, PassResult, SweepResult)
    describe(S) = "$(nameof(S)): $(join(("$name $type" for (name, type) in zip(fieldnames(S), fieldtypes(S))), ", "))"
    names = ["C_FUNCTIONS: $(join(C_FUNCTIONS, ", "))", "RETCODES: $(join(RETCODES, ", "))"]
    return join([map(describe, structs)...; names; "TIMES: $TIMES_AT, $MOST_TIMES, $MOST_RELEASED"], '\n')
end
