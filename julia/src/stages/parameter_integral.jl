# μ' = -λᵀ∂f/∂θ is read by no right-hand side, and by no norm that is a seminorm: then μ is a plain integral beside the state
# of a backward solve. Each stage's derivative is added at once, by its weight, to sums that are as long as μ.

"""
    Integral{V}(tableau, sums, rtol)

μ outside of the state of type `V`: every accepted step adds h Σ bᵢ kᵢ of its stages, and says something of the error of that.

The solver makes the stages of its steps in order, so that the place of an evaluation is known when it is made; its time is
compared when the step is accepted. `sums` has these methods, and holds the derivative of the last evaluation that was wanted:

- `gain!(sums, i)` takes that as the one of stage `i`;
- `accept!(sums, h)` ends the step, and tells whether μ is finite;
- `reject!(sums)` ends it too, and tells whether the first stage is still there for the next attempt;
- `renew!(sums)` lets the last stage be the first one of the next step, and `drop!(sums)` lets go of what is held;
- `ratio(sums, h)` is the norm of the error of the attempt over that of μ.

With an `rtol` a step is accepted only where the error of μ is at most that of μ itself: the norm reads `excess`, which
`read_by_control` in pyseminorm/passes/gradient_error.py makes, too.
"""
mutable struct Integral{V, S}
    const tableau::Tableau
    const sums::S
    const rtol::Float64
    const excess::Base.RefValue{Float64}
    excess_before::Float64                  # of the last accepted step
    const times::Vector{Float64}            # of the stages of the attempt; NaN: not evaluated
    first_state::V                          # at which the first stage, and the last one, were evaluated
    last_state::V
    stage::Int                              # of the evaluation before
    held::Int                               # stage whose derivative `sums` holds; 0: none
    first_added::Bool
    begun::Bool                             # the first attempt at a step
    stops::Vector{Float64}
    integrator::Any
    make!::Any                              # (stage, state, t) makes a derivative alone
    restore!::Any                           # (t) brings back what the right-hand side reads besides the state
end

Integral{V}(tableau::Tableau, sums::S, rtol = 0.0) where {V, S} = Integral{V, S}(
    tableau, sums, rtol, Ref(0.0), 0.0, fill(NaN, tableau.last), V(undef, 0), V(undef, 0), 0, 0, false, false, Float64[], nothing,
    nothing, nothing,
)

"A stage of an accepted step is not among the evaluations: the solver has made other ones than the method's tableau says."
struct MissingStage <: Exception
    stage::Int
    attempt::Attempt
end

Base.showerror(io::IO, error::MissingStage) = print(
    io, "stage ", error.stage, " of the step from t = ", error.attempt.t, " by ", error.attempt.h, " was not evaluated where ",
    "the method's tableau says: please report this, with the versions of the OrdinaryDiffEq packages",
)

"Tell of the evaluation that is about to be made at `state` and `t`; whether its derivative is wanted."
function next!(integral::Integral, state, t)
    (; tableau, begun, times) = integral
    i = integral.stage += 1
    i > (begun ? tableau.last : 1) && return false      # the solver's search for a first step, or no stage at all
    i == 1 && forget!(integral)
    i == 2 && begin_step!(integral, t)
    times[i] = t
    i == 1 && (integral.first_state = keep(integral.first_state, state))
    i == tableau.last && (integral.last_state = keep(integral.last_state, state))
    return weighs(tableau, i) || follows(integral, i, t)
end

"An evaluation is answered from memory, which has no derivative of μ."
function recalled!(integral::Integral, state, t)
    integral.begun || return nothing
    integral.stage == 0 && integral.held == 1 && integral.times[1] == t && (integral.stage = 1; return nothing)
    wanted = next!(integral, state, t)
    if wanted
        integral.restore!(t)
        integral.make!(integral.stage, state, t)
    end
    return made!(integral, wanted)
end

recalled!(::Nothing, state, t) = nothing

"An evaluation is not made, though there is a place for it."
skip!(integral::Integral) = (integral.stage += 1; nothing)

keep(kept, state) = copyto!(length(kept) == length(state) ? kept : similar(state), state)

"Whether the derivative of stage `i` weighs something in its step."
weighs((; b, b_error)::Tableau, i) = !(iszero(b[i]) && iszero(b_error[i]))

"Whether stage `i`, at `t`, is likely to be the first one of the next step, and weighs something there."
follows((; tableau, stops)::Integral, i, t) = tableau.fsal && i == tableau.last && weighs(tableau, 1) &&
    !any(stop -> abs(t - stop) <= 4eps(Float32) * abs(stop), stops)

"Tell that the evaluation is made, with its derivative if that was `wanted`."
function made!(integral::Integral, wanted)
    wanted && take!(integral)
    integral.rtol > 0 && integral.begun && integral.stage == integral.tableau.last && measure!(integral)
    return nothing
end

function take!(integral::Integral)
    (; tableau, stage, sums) = integral
    integral.held = stage
    stage == 1 && return nothing
    weighs(tableau, stage) && gain!(sums, stage)
    stage == tableau.last && tableau.fsal || let_go!(integral)
    return nothing
end

"Take the first stage, which may be known; it is made again where nobody has thought that it would be needed."
function begin_step!(integral::Integral, t)
    (integral.first_added || !weighs(integral.tableau, 1)) && return nothing
    if integral.held != 1
        integral.restore!(integral.times[1])
        integral.make!(1, integral.first_state, integral.times[1])
        integral.restore!(t)
    end
    gain!(integral.sums, 1)
    integral.first_added = true
    return let_go!(integral)
end

let_go!(integral::Integral) = (integral.held = 0; drop!(integral.sums); nothing)

"Forget the stages of the last attempt."
function forget!(integral::Integral)
    fill!(integral.times, NaN)
    integral.first_added = false
    return let_go!(integral)
end

"""
    begin!(integral, stops, integrator)

The solver goes on to its first step: `stops` are the times where the state will change, the end included.
"""
function begin!(integral::Integral, stops, integrator)
    integral.begun, integral.stops, integral.integrator = true, stops, integrator
    integral.stage = integral.tableau.fsal ? 1 : 0      # else the first stage comes again
    return nothing
end

begin!(::Nothing, stops, integrator) = nothing

"The next evaluation is made of a changed state, at the start of a step."
function change!(integral::Integral)
    integral.stage = 0
    return let_go!(integral)
end

change!(::Nothing) = nothing

"The error of an attempt whose stages are made, over what is allowed; the norm asks for it next."
function measure!(integral::Integral)
    share = ratio(integral.sums, Float64(integral.integrator.dt)) / integral.rtol
    integral.excess[] = max(share^2, KEPT * min(integral.excess_before, 1.0))
    return nothing
end

"Of what control read of the step before."
const KEPT = 0.6

function accept!(integral::Integral, attempt::Attempt)
    (; tableau, times, sums) = integral
    begin_step!(integral, attempt.t + attempt.h)    # of one stage, or whose others were spared
    missed = findfirst(i -> weighs(tableau, i) && !fits(times[i], i, attempt, tableau), 1:tableau.last)
    missed === nothing || throw(MissingStage(missed, attempt))
    accept!(sums, attempt.h) || throw(NotFinite(attempt.t))
    integral.first_added, integral.excess_before = false, integral.excess[]
    return tableau.fsal ? renew_first!(integral) : begin_anew!(integral)
end

"Let the last stage of the step be the first of the next one."
function renew_first!(integral::Integral)
    (; times, first_state, last_state, tableau) = integral
    integral.stage, integral.held = 1, integral.held == tableau.last ? 1 : 0
    integral.held == 1 && renew!(integral.sums)
    integral.first_state, integral.last_state = last_state, first_state
    times[1] = times[end]
    fill!(view(times, 2:length(times)), NaN)
    return nothing
end

begin_anew!(integral::Integral) = (integral.stage = 0; let_go!(integral))

"Forget the stages of a rejected step; where the method is `fsal`, the next attempt begins with its first one."
function reject!(integral::Integral, attempt::Attempt)
    let_go!(integral)
    integral.first_added &= reject!(integral.sums)
    integral.stage = integral.tableau.fsal ? 1 : 0
    return nothing
end
