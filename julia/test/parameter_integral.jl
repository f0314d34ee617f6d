using PySeminorm: Attempt, Integral, MissingStage, NotFinite, Sample, VectorSums, accept!, begin!, change!, cancellation, estimate, made!, next!, recalled!, reject!, skip!

unclamped(t, h) = Attempt(t, h, identity)

"Three stages, the last at the new state; the error of a step is as embedded."
function tableau(fsal, b_error = [0.25, -0.5, 0.25])
    b = fsal ? [0.25, 0.75, 0.0] : [0.25, 0.5, 0.25]
    return PySeminorm.Tableau([0.0, 0.5, 1.0], zeros(3, 3), b, b_error, zeros(3, 1), (1.0, 1.0, 0.0), 3, fsal, (Int[], Int[]))
end

const WHOLE, SAMPLED = Sample(Int[], Float64[]), Sample([2], [sqrt(2.0)])

"μ' = the state, a number that a test gives with every evaluation; the times at which it was `made`, and made `again`."
mutable struct Solve
    integral::Integral{Vector{Float64}, VectorSums{Float64}}
    total::Vector{Float64}
    dt::Float64
    made::Vector{Float64}
    again::Vector{Float64}
end

function Solve(; fsal = true, sample = WHOLE, rtol = 0.0, given = tableau(fsal), stops = [1.0])
    total = zeros(2)
    sums = VectorSums{Float64}(total, given, sample, m -> fill(NaN, m))
    integral = Integral{Vector{Float64}}(given, sums, rtol)
    solve = Solve(integral, total, NaN, Float64[], Float64[])
    integral.restore! = t -> nothing
    integral.make! = (i, state, t) -> (push!(solve.again, t); PySeminorm.zeros_for(sums, i) .+= state[1])
    evaluate!(solve, 0.0, 1.0)
    evaluate!(solve, 0.01, 99.0)            # a probe for the first step
    begin!(integral, stops, solve)
    given.fsal || recalled!(integral, [1.0], 0.0)
    return solve
end

function evaluate!(solve::Solve, t, value)
    (; integral, made) = solve
    wanted = next!(integral, [value], t)
    if wanted
        push!(made, t)
        PySeminorm.zeros_for(integral.sums, integral.stage) .+= value
    end
    return made!(integral, wanted)
end

function attempt!(solve, t, h, values...)
    solve.dt = h
    times = (length(values) == 3 ? (t,) : ())..., t + h / 2, t + h
    foreach((t, value) -> evaluate!(solve, t, value), times, values)
    return unclamped(t, h)
end

@testset "accepted and rejected steps" for fsal in (true, false), sample in (WHOLE, SAMPLED)
    solve = Solve(; fsal, sample)
    (; integral, total) = solve
    b, squares = integral.tableau.b, 0.0
    @test solve.made == [0.0]
    reject!(integral, attempt!(solve, 0.0, 0.6, 98.0, 97.0))
    @test total == [0, 0]
    fsal || recalled!(integral, [1.0], 0.0)
    accept!(integral, attempt!(solve, 0.0, 0.4, 2.0, 3.0))
    @test total ≈ fill(0.4 * (b[1] * 1 + b[2] * 2 + b[3] * 3), 2)
    @test solve.again == (fsal && sample === WHOLE ? [] : [0.0])
    before, first = copy(total), fsal ? () : (5.0,)     # evaluated anew
    accept!(integral, attempt!(solve, 0.4, 0.2 + 1.0e-15, first..., 3.0, 4.0))      # a step can miss a stop by rounding
    @test total ≈ before .+ 0.2 * (b[1] * (fsal ? 3 : 5) + b[2] * 3 + b[3] * 4)
    change!(integral)
    before = copy(total)
    accept!(integral, attempt!(solve, 0.6, 0.2, 7.0, 3.0, 3.0))                     # anew, after a jump
    @test total ≈ before .+ 0.2 * (b[1] * 7 + b[2] * 3 + b[3] * 3)
    errors = 0.4 * (0.25 * 1 - 0.5 * 2 + 0.25 * 3), 0.2 * (0.25 * (fsal ? 3 : 5) - 0.5 * 3 + 0.25 * 4), 0.2 * (0.25 * 7 - 0.5 * 3 + 0.25 * 3)
    @test estimate(integral) ≈ sqrt(sum(abs2, errors)) / total[1]
    @test cancellation(integral) ≈ 1                    # all is of one sign
    attempt!(solve, 0.8, 0.2, (fsal ? () : (1.0,))..., 3.0, 3.0)
    @test_throws MissingStage accept!(integral, unclamped(0.8, 0.1))
end

@testset "what weighs nothing is not made" for sample in (WHOLE, SAMPLED)
    plain = tableau(true, zeros(3))
    solve = Solve(; given = plain, stops = [0.6, 1.0], sample)
    (; integral, total) = solve
    accept!(integral, attempt!(solve, 0.0, 0.6, 2.0, 3.0))
    @test solve.made == [0.0, 0.3] && isnan(estimate(integral)) && isnan(cancellation(integral)) && total ≈ fill(0.6 * (0.25 + 0.75 * 2), 2)
    accept!(integral, attempt!(solve, 0.6, 0.2, 2.0, 3.0))
    @test solve.again == [0.6]              # nothing had changed the state there
    @test total ≈ fill(0.6 * (0.25 + 0.75 * 2) + 0.2 * (0.25 * 3 + 0.75 * 2), 2)
    skipped = Solve(; given = plain, sample)
    skipped.dt = 1.0
    evaluate!(skipped, 0.5, 2.0)
    skip!(skipped.integral)
    accept!(skipped.integral, unclamped(0.0, 1.0))
    @test skipped.total ≈ fill(0.25 + 0.75 * 2, 2)
end

@testset "derivatives that are not finite" for sample in (WHOLE, SAMPLED), bad in (Inf, NaN)
    solve = Solve(; sample)
    reject!(solve.integral, attempt!(solve, 0.0, 0.6, bad, bad))
    accept!(solve.integral, attempt!(solve, 0.0, 0.4, 2.0, 3.0))
    @test solve.total ≈ fill(0.4 * (0.25 + 0.75 * 2), 2)
    @test_throws NotFinite(0.4) accept!(solve.integral, attempt!(solve, 0.4, 0.4, bad, 3.0))
end

@testset "the norm reads the error of μ" for sample in (WHOLE, SAMPLED)
    solve = Solve(; rtol = 0.1, sample)
    reject!(solve.integral, attempt!(solve, 0.0, 0.6, 2.0, 9.0))
    attempt!(solve, 0.0, 0.4, 2.0, 5.0)
    wanted = ((0.25 * 1 - 0.5 * 2 + 0.25 * 5) / (0.25 * 1 + 0.75 * 2) / 0.1)^2
    @test solve.integral.excess[] ≈ wanted
    norm = PySeminorm.Seminorm(PySeminorm.Seminorm([1:1], 2).offsets, 1, 2, C_NULL, PySeminorm.excess(solve.integral))
    @test GC.@preserve(solve, norm([0.5, 100.0], 0.0)) ≈ wanted && norm([9.0, 0.0], 0.0) ≈ 9 && norm(-3.0, 0.0) == 3
    accept!(solve.integral, unclamped(0.0, 0.4))
    @test solve.total ≈ fill(0.4 * (0.25 + 0.75 * 2), 2)
    attempt!(solve, 0.4, 0.2, 5.0, 5.0)
    @test solve.integral.excess[] ≈ 0.6     # nothing, after a step at the limit
end

@testset "what a step's error is" begin
    formula = (2.0, 0.018, 0.75)
    @test PySeminorm.local_error(1.0, 0.0, formula) == 0 && PySeminorm.local_error(0.0, 1.0e-3, formula) == 2.0e-3
    @test PySeminorm.local_error(1.0, 0.1, formula) ≈ 0.2
    @test PySeminorm.local_error(1.0, 0.018e-2, formula) ≈ 2 * 0.018e-2 * 0.01^0.75
end
