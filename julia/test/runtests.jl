using PySeminorm
using PySeminorm: Seminorm, VectorField, algorithm
using OrdinaryDiffEqTsit5: Tsit5
using SciMLBase: ODEProblem, solve
using Test

# A file for each noun of src/; names of files among the arguments choose.
nouns = (
    "seminorm", "last_stages", "vector_field", "algorithms", "attempts", "parameter_integral", "function", "right_hand_sides",
    "jacobian", "kernels", "lowered", "sweep", "c_functions", "profile", "hygiene",
)
@testset "PySeminorm" begin
    @testset "$noun" for noun in filter(noun -> isempty(ARGS) || noun in ARGS, nouns)
        include("$noun.jl")
    end
end
