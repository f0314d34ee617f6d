@testset "VectorField" begin
    times = Float64[]
    field = VectorField{Vector{Float64}}((du, u, t) -> (push!(times, t); du .= u; nothing), 1.0, 0.0)
    field(zeros(1), ones(1), nothing, 1.0 + eps())
    field(zeros(1), ones(1), nothing, -eps())
    @test times == [1.0, 0.0] && field.calls[] == 2
    other = VectorField{Vector{Float64}}((du, u, t) -> nothing, 0.0, 1.0)
    @test typeof(other) === typeof(field)                  # one type for every model
end
