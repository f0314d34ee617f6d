using PySeminorm
using PySeminorm: Seminorm, VectorField, algorithm
using OrdinaryDiffEqTsit5: Tsit5
using SciMLBase: ODEProblem, solve
using Test

# A file for each noun of src/.
for noun in (
        "seminorm", "last_stages", "vector_field", "algorithms", "attempts", "parameter_integral", "function",
        "right_hand_sides",
        "jacobian", "kernels", "lowered", "sweep", "c_functions", "profile", "hygiene",
    )
    @testset "$noun" begin
        include("$noun.jl")
    end
end
