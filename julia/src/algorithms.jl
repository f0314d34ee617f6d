# The names that both engines know. Vern7 evaluates its interpolant's extra stages lazily, or always with dense output.
const ALGORITHMS = Dict{String, Any}(
    "tsit5" => dense -> Tsit5(),
    "dopri5" => dense -> DP5(),
    "bosh3" => dense -> BS3(),
    "vern7" => dense -> Vern7(lazy = !dense),
    "euler" => dense -> Euler(),
    "midpoint" => dense -> Midpoint(),
    "rk4" => dense -> RK4(),
)

const FIXED_STEP = ("euler", "midpoint", "rk4")

struct UnknownAlgorithm <: Exception
    name::String
end

function Base.showerror(io::IO, error::UnknownAlgorithm)
    return print(
        io, "no loaded OrdinaryDiffEq package has an algorithm \"", error.name, "\" that can be made without arguments. ",
        "Loaded: ", join(sort!([string(nameof(m)) for m in solver_packages()]), ", "), ". Add the sub-package that has ",
        "it to the Julia project and load it, e.g. juliacall.Main.seval(\"using OrdinaryDiffEqVerner\").",
    )
end

solver_packages() = filter!(m -> startswith(string(nameof(m)), "OrdinaryDiffEq"), collect(values(Base.loaded_modules)))

"""
    algorithm(name; dense = false) -> (algorithm, adaptive)

The OrdinaryDiffEq algorithm of one of our names, or any explicit one of a loaded package by its own name.
"""
function algorithm(name::String; dense::Bool = false)
    haskey(ALGORITHMS, name) && return Base.invokelatest(ALGORITHMS[name], dense), !(name in FIXED_STEP)
    for package in solver_packages()
        isdefined(package, Symbol(name)) || continue
        type = getfield(package, Symbol(name))
        type isa Type && type <: OrdinaryDiffEqCore.OrdinaryDiffEqAlgorithm || continue
        if type <: OrdinaryDiffEqCore.OrdinaryDiffEqImplicitAlgorithm ||
                type <: OrdinaryDiffEqCore.OrdinaryDiffEqAdaptiveImplicitAlgorithm
            throw(ArgumentError("$name is an implicit method: methods that need the Jacobian of func are not supported yet"))
        end
        alg = Base.invokelatest(type)
        return alg, SciMLBase.isadaptive(alg)
    end
    throw(UnknownAlgorithm(name))
end

"Versions of the loaded solver packages, as (name, version) pairs."
function solver_versions()
    packages = [solver_packages(); PySeminorm; SciMLBase]
    return sort!([(string(nameof(m)), string(pkgversion(m))) for m in packages if pkgversion(m) !== nothing])
end

"Order of a method by name."
order(name) = Int(OrdinaryDiffEqCore.alg_order(first(algorithm(String(name)))))
