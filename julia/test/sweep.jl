using PySeminorm: Sample, Steps, SweepSums, end_step!, estimate, gain!, native_sweep!, target

# Heun's method on u' = -p u² t, by hand: what a sweep gives is the derivative of this.
slope(u, p, t) = -p .* u .^ 2 .* t

const SIZES = [0.2, 0.3, 0.25]
const HEUN = PySeminorm.heun_tableau()
const WHOLE = Sample(Int[], Float64[])

"The states at the ends of the steps, and at θ inside of each (if it is positive)."
function heun(u, p, θ)
    states, inner, t = [u], Vector{Float64}[], 0.0
    for h in SIZES
        k = slope(u, p, t)
        l = slope(u .+ h .* k, p, t + h)
        push!(inner, u .+ h .* ((θ - 0.5θ^2) .* k .+ 0.5θ^2 .* l))
        u, t = u .+ h / 2 .* (k .+ l), t + h
        push!(states, u)
    end
    return states, inner
end

function recorded(states)
    steps = Steps{Vector{Float64}}()
    append!(steps.ends, [0; cumsum(SIZES)])
    append!(steps.sizes, SIZES)
    append!(steps.states, states[1:(end - 1)])
    return steps
end

function field_of(p)
    f!(du, u, p, t) = (du .= slope(u, p, t); nothing)
    vjp!(dλ, dp, λ, u, p, t) = (dλ .= -2 .* p .* u .* t .* λ; dp .= .-u .^ 2 .* t .* λ; nothing)
    field = PySeminorm.native_field(f!, "Float64", (2,), nothing, ((2,),))
    PySeminorm.given_vjp!(field, vjp!)
    copyto!(field.θ, p)
    return field
end

"(retcode, λ, dp, and which outputs lie inside steps with the slope there) for cotangents of outputs at `times`."
function swept(u, p, times, cotangents; reached = length(times), breaks = Float64[], bounds = [0.0, 1.0])
    field, steps = field_of(p), recorded(first(heun(u, p, 0.5)))
    moves, total, λ = Int64[0, 0, 2], zeros(2), fill(NaN, 2)
    derivative, inside = zeros(2, length(times)), zeros(Bool, length(times))
    at(x) = UInt(pointer(x))
    found = GC.@preserve moves total λ derivative inside cotangents native_sweep!(
        field, 0, HEUN, steps, times, reached, at(cotangents), breaks, bounds, (at(moves), 1, 2), WHOLE, total, at(λ), at(derivative),
        at(inside),
    )
    return found, λ, total, derivative, inside
end

"The derivative of a number by a vector, by differences."
gradient(f, x) = [(f(x .+ 1.0e-6 .* (1:length(x) .== i)) - f(x .- 1.0e-6 .* (1:length(x) .== i))) / 2.0e-6 for i in eachindex(x)]

@testset "outputs at the ends of steps and inside" begin
    u, p, θ = [0.7, -0.4], [1.3, 0.8], 0.3
    times = [0.0, SIZES[1], SIZES[1] + θ * SIZES[2], sum(SIZES)]
    g = [0.3 1.0 -0.7 0.4; 0.9 -0.2 0.5 1.1]
    function loss(u, p)
        states, inner = heun(u, p, θ)
        return sum(g[:, 2] .* states[2]) + sum(g[:, 3] .* inner[2]) + sum(g[:, 4] .* states[4])
    end
    found, λ, dp, derivative, inside = swept(u, p, times, g)
    @test found[1] === :Success && found[2:4] == (3, 3, 6) && found[5]
    @test λ ≈ gradient(u -> loss(u, p), u) rtol = 1.0e-7      # without the cotangent of y0 itself
    @test dp ≈ gradient(p -> loss(u, p), p) rtol = 1.0e-7
    @test inside == [false, false, true, false]
    near(θ) = last(heun(u, p, θ))[2]
    @test derivative[:, 3] ≈ (near(θ + 1.0e-6) .- near(θ - 1.0e-6)) ./ (2.0e-6 * SIZES[2]) rtol = 1.0e-7
end

@testset "only the steps that the loss depends on" begin
    found, λ, dp, _ = swept([0.7, -0.4], [1.3, 0.8], [0.0, SIZES[1], sum(SIZES)], [0.0 1.0 0.0; 0.0 1.0 0.0])
    @test found[2:3] == (1, 1)
    found, λ, dp, _ = swept([0.7, -0.4], [1.3, 0.8], [0.0, sum(SIZES)], zeros(2, 2))
    @test found[2:3] == (0, 0) && λ == [0, 0] && dp == [0, 0]
end

@testset "cotangents that are refused" begin
    times = [0.0, SIZES[1], sum(SIZES)]
    @test first(swept([0.7, -0.4], [1.3, 0.8], times, [0.0 NaN 1.0; 0.0 1.0 1.0])[1]) === :Refused
    @test first(swept([0.7, -0.4], [1.3, 0.8], times, [0.0 0.0 1.0; 0.0 0.0 1.0]; reached = 2)[1]) === :Refused
    @test first(swept([0.7, -0.4], [1.3, 0.8], times, [0.0 1.0 0.0; 0.0 1.0 0.0]; reached = 2)[1]) === :Success
    @test first(swept([0.7, -0.4], [1.3, 0.8], times, [0.0 1.0e308 0.0; 0.0 1.0e308 0.0])[1]) === :Success   # their sum overflows
end

@testset "a function that raises" begin
    f!(du, u, p, t) = (du .= u; nothing)
    vjp!(dλ, dp, λ, u, p, t) = error("mine")
    field = PySeminorm.native_field(f!, "Float64", (2,), nothing, ())
    PySeminorm.given_vjp!(field, vjp!)
    steps, g, λ, moves = recorded([zeros(2), ones(2), ones(2), ones(2)]), ones(2, 2), zeros(2), Int64[]
    found = GC.@preserve g λ moves native_sweep!(
        field, 0, HEUN, steps, [0.0, sum(SIZES)], 2, UInt(pointer(g)), Float64[], [0.0, 1.0], (UInt(pointer(moves)), 0, 0),
        WHOLE, Float64[], UInt(pointer(λ)), 0, 0,
    )
    @test first(found) === :CallbackFailure && PySeminorm.native_failure(field) == "mine"
end

@testset "the error of the gradient, of all elements or of a sample" for places in (Int[], [1, 3])
    sample = Sample(places, fill(2.0, length(places)))
    tableau = PySeminorm.Tableau([0.0, 1.0], zeros(2, 2), [0.5, 0.5], [0.25, -0.5], zeros(2, 1), (1.0, 1.0, 0.0), 2, false, (Int[], Int[]))
    total = zeros(3)
    sums, seen = SweepSums{Float64}(total, tableau, sample), isempty(places) ? (1:3) : places
    products = [[1.0, 2.0, 3.0], [4.0, 5.0, -6.0]]
    for (h, smooth) in ((0.5, true), (1.5, false))
        for i in (2, 1)
            target(sums, i) .+= products[i]
            gain!(sums, i)
        end
        end_step!(sums, [1, 2], h, smooth)
    end
    @test total == 2 .* (products[1] .+ products[2])
    error, of_time = estimate(sums)
    wanted = (0.5 .* products[1] .- products[2])[seen]
    @test error ≈ sqrt(sum(abs2, wanted) / sum(abs2, total[seen])) && of_time == 0.25
    unknown = PySeminorm.Tableau([0.0, 1.0], zeros(2, 2), [0.0, 1.0], [0.25, -0.5], zeros(2, 1), (1.0, 1.0, 0.0), 2, false, (Int[], Int[]))
    silent = SweepSums{Float64}(total, unknown, sample)     # a stage without a weight in the step has one in the error
    end_step!(silent, [1, 2], 1.0, true)
    @test target(silent, 1) === total && isnan(first(estimate(silent)))
end
