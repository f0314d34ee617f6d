@testset "Integral" begin
    using PySeminorm: Attempt, Attempts, Integral, MissingStage, ParameterDerivative, accept!, begin!, change!, next!, reject!, weighs, zero!
    tableau(c, b, fsal) = PySeminorm.Tableau(c, zeros(3, 3), b, zeros(3, 1), 3, fsal, (Int[], Int[]))
    evaluate!(integral, t, value) = (zero!(next!(integral, t)) .+= value)
    unclamped(t, h) = Attempt(t, h, identity)
    for fsal in (true, false)
        total, made = zeros(2), Ref(0)
        b = fsal ? [0.25, 0.75, 0.0] : [0.25, 0.5, 0.25]
        make() = (made[] += 1; ParameterDerivative{Float64}(2))
        integral = Integral{Float64}(tableau([0.0, 0.5, 1.0], b, fsal), total, make, identity)
        for (t, value) in ((0.0, 1.0), (0.01, 99.0), (0.5, 98.0), (1.0, 97.0))   # a first stage, a probe, a bad attempt
            evaluate!(integral, t, value)
        end
        reject!(integral, unclamped(0.0, 1.0))
        foreach(t -> evaluate!(integral, t, 2.0), (0.2, 0.4))
        accept!(integral, unclamped(0.0, 0.4))
        @test total ≈ fill(0.4 * (b[1] * 1 + b[2] * 2 + b[3] * 2), 2)
        before = copy(total)
        fsal || evaluate!(integral, 0.4, 5.0)                                     # else the last stage is the next first
        foreach(t -> evaluate!(integral, t, 3.0), (0.5, 0.6))
        accept!(integral, unclamped(0.4, 0.2 + 1.0e-15))                          # a step can miss a stop by rounding
        @test total ≈ before .+ 0.2 * (b[1] * (fsal ? 2 : 5) + b[2] * 3 + b[3] * 3)
        before = copy(total)
        evaluate!(integral, 0.6, 7.0)                                             # anew, after a jump
        foreach(t -> evaluate!(integral, t, 3.0), (0.7, 0.8))
        accept!(integral, unclamped(0.6, 0.2))
        @test total ≈ before .+ 0.2 * (b[1] * 7 + b[2] * 3 + b[3] * 3)
        @test made[] == 4
        foreach(t -> evaluate!(integral, t, 3.0), (0.85, 1.0))
        before = copy(total)
        @test_throws MissingStage accept!(integral, unclamped(0.8, 0.2))
        @test total == before
    end
    late = Float64[]
    postponed!(derivative) = (push!(late, derivative.t); zero!(derivative) .+= derivative.u[1])
    for stops in ([0.6, 1.0], Float64[])        # with none, a last stage counts as the next step's first
        total = zeros(2)
        integral = Integral{Float64}(tableau([0.0, 0.5, 1.0], [0.25, 0.75, 0.0], true), total, () -> ParameterDerivative{Float64}(2), postponed!)
        function made!(t)
            derivative = next!(integral, t)
            weighs(integral, t) ? zero!(derivative) .+= t : PySeminorm.postpone!(derivative, [t], [t])
            return derivative.made
        end
        @test made!(0.0) && !made!(0.01)        # and the probe for a first step
        begin!(integral, stops)
        @test made!(0.3) && made!(0.6) == isempty(stops)
        accept!(integral, unclamped(0.0, 0.6))
        @test total ≈ fill(0.6 * 0.75 * 0.3, 2) && isempty(late)
        @test made!(0.7) && made!(0.8)
        accept!(integral, unclamped(0.6, 0.2))
        @test total ≈ fill(0.6 * 0.75 * 0.3 + 0.2 * (0.25 * 0.6 + 0.75 * 0.7), 2)
        @test late == (isempty(stops) ? [] : [0.6])     # nothing had changed the state there
        empty!(late)
        change!(integral)
        @test made!(0.8) && made!(0.9) && made!(1.0) == isempty(stops)
    end
    x = [rand(Float32, 1000) for _ in 1:7]
    for n in 1:7
        total, weights = ones(Float32, 1000), ntuple(Float32, n)
        @test PySeminorm.add_weighted!(total, weights, ntuple(i -> x[i], n))
        @test total ≈ 1 .+ sum(weights[i] .* x[i] for i in 1:n)
    end
    for bad in (Inf32, -Inf32, NaN32)
        @test !PySeminorm.add_weighted!(ones(Float32, 9), (1.0f0, 0.5f0), (ones(Float32, 9), [zeros(Float32, 8); bad]))
    end
    @test_throws DimensionMismatch PySeminorm.add_weighted!(zeros(2), (1.0,), (zeros(3),))
end
