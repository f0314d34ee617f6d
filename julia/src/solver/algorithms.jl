# The names that both engines know. Vern7 evaluates its interpolant's extra stages lazily, or always with dense output.
const ALGORITHMS = Dict{String, Any}(
    "tsit5" => dense -> Tsit5(),
    "dopri5" => dense -> DP5(),
    "bosh3" => dense -> BS3(),
    "vern7" => dense -> Vern7(lazy = !dense),
    "euler" => dense -> Euler(),
    "midpoint" => dense -> Midpoint(),
    "rk4" => dense -> RK4(),
    "adaptive_heun" => dense -> Heun(),
    "heun2" => dense -> Heun(),
)

const FIXED_STEP = ("euler", "midpoint", "rk4", "heun2")

# Where an algorithm lives, to load its package or to name it; a loaded package's own names need no entry here.
const HOMES = Dict{String, String}()

for (package, names) in (
        "AdamsBashforthMoulton" => "AB3 AB4 AB5 ABM32 ABM43 ABM54 VCAB3 VCAB4 VCAB5 VCABM3 VCABM4 VCABM5 VCABM",
        "BDF" => "ABDF2 QNDF1 QBDF1 QNDF2 QBDF2 QNDF QBDF FBDF MEBDF2",
        "Extrapolation" => "AitkenNeville ExtrapolationMidpointDeuflhard ExtrapolationMidpointHairerWanner \
            ImplicitEulerExtrapolation ImplicitDeuflhardExtrapolation ImplicitHairerWannerExtrapolation \
            ImplicitEulerBarycentricExtrapolation",
        "FIRK" => "RadauIIA3 RadauIIA5 RadauIIA9 AdaptiveRadau GaussLegendre",
        "Feagin" => "Feagin10 Feagin12 Feagin14",
        "HighOrderRK" => "TanYam7 DP8 PFRK87 TsitPap8",
        "LowOrderRK" => "Euler Heun Ralston Ralston4 Midpoint RK4 BS3 OwrenZen3 OwrenZen4 OwrenZen5 BS5 DP5 Anas5 RKO65 \
            FRK65 RKM MSRK5 MSRK6 PSRK4p7q6 PSRK3p5q4 PSRK3p6q5 Stepanov5 SIR54 Alshina2 Alshina3 Alshina6",
        "LowStorageRK" => "ORK256 CarpenterKennedy2N54 SHLDDRK64 CFRLDDRK64 TSLDDRK74 CKLLSRK43_2 CKLLSRK54_3C \
            ParsaniKetchesonDeconinck3S32 RDPK3Sp35 RDPK3SpFSAL35 RDPK3Sp49 RDPK3SpFSAL49 RDPK3Sp510 RDPK3SpFSAL510 RK46NL",
        "Nordsieck" => "AN5 JVODE JVODE_Adams JVODE_BDF",
        "PDIRK" => "PDIRK44",
        "QPRK" => "QPRK98",
        "Rosenbrock" => "Rosenbrock23 Rosenbrock32 RosShamp4 Veldd4 Velds4 GRK4T GRK4A Ros4LStab ROS3P Rodas3 Rodas3d \
            Rodas23W Rodas3P Rodas4 Rodas42 Rodas4P Rodas4P2 Rodas5 Rodas5P Rodas5Pe Rodas5Pr Rodas6P ROS34PW1a ROS34PW1b \
            ROS34PW2 ROS34PW3 ROS34PRw ROS3PRL ROS3PRL2 ROK4a ROS2 ROS2PR ROS2S ROS3 ROS3PR Scholz4_7",
        "SDIRK" => "ImplicitEuler ImplicitMidpoint Trapezoid TRBDF2 SDIRK2 SDIRK22 Kvaerno3 KenCarp3 Cash4 Hairer4 Hairer42 \
            SSPSDIRK2 Kvaerno4 Kvaerno5 KenCarp4 KenCarp47 KenCarp5 KenCarp58 ESDIRK54I8L2SA ESDIRK436L2SA2 ESDIRK547L2SA2",
        "SSPRK" => "SSPRK53_2N1 SSPRK53_2N2 SSPRK22 SSPRK53 SSPRK63 SSPRK83 SSPRK43 SSPRK432 SSPRKMSVS32 SSPRK54 SSPRK104 \
            SSPRK932 SSPRKMSVS43 SSPRK73 SSPRK53_H SSPRK33 KYKSSPRK42",
        "StabilizedIRK" => "IRKC",
        "StabilizedRK" => "ROCK2 ROCK4 RKC RKMC2 ESERK4 ESERK5 SERK2 TSRKC2 TSRKC3 RKL1 RKL2 RKG1 RKG2",
        "Tsit5" => "Tsit5",
        "Verner" => "Vern6 Vern7 Vern8 Vern9 RKV76IIa",
    )
    for name in split(names)
        HOMES[name] = "OrdinaryDiffEq" * package
    end
end

struct UnknownAlgorithm <: Exception
    name::String
end

function Base.showerror(io::IO, error::UnknownAlgorithm)
    return print(
        io, "no loaded OrdinaryDiffEq package has an algorithm \"", error.name, "\". ",
        "Loaded: ", join(sort!([string(nameof(m)) for m in solver_packages()]), ", "), ". Add the sub-package that has ",
        "it to the Julia project and load it, e.g. juliacall.Main.seval(\"using OrdinaryDiffEqVerner\").",
    )
end

function solver_packages()
    named(m, pattern) = occursin(pattern, string(nameof(m)))
    return filter!(m -> named(m, r"^OrdinaryDiffEq") && !named(m, r"Ext$"), collect(values(Base.loaded_modules)))
end

"The package that has to be loaded for an algorithm by name; empty where one is loaded that has it, or none is known."
function package_to_load(name)
    package = get(HOMES, String(name), "")
    return any(m -> string(nameof(m)) == package, solver_packages()) ? "" : package
end

"""
    algorithm(method; dense = false) -> (algorithm, adaptive)

The OrdinaryDiffEq algorithm of one of our names; or of a loaded package by its own name, or by (name, options); or as is.
"""
function algorithm(name::AbstractString; dense::Bool = false)
    haskey(ALGORITHMS, name) && return Base.invokelatest(ALGORITHMS[name], dense), !(name in FIXED_STEP)
    return algorithm((name, ()); dense)
end

function algorithm((name, options)::Tuple{Any, Any}; dense::Bool = false)
    make = nothing
    for package in solver_packages()
        isdefined(package, Symbol(name)) || continue
        make = getfield(package, Symbol(name))
        make isa Type && make <: SciMLBase.AbstractODEAlgorithm && break
        make = nothing
    end
    make === nothing && throw(UnknownAlgorithm(String(name)))
    return algorithm(make_algorithm(make, options); dense)
end

# Dense output outlives the functions of Python that a lazy interpolant would call.
function algorithm(alg::SciMLBase.AbstractODEAlgorithm; dense::Bool = false)
    alg = dense && hasfield(typeof(alg), :lazy) ? SciMLBase.remake(alg; lazy = Val(false)) : alg
    return alg, SciMLBase.isadaptive(alg)
end

algorithm(alg; dense::Bool = false) = throw(ArgumentError("method is a $(typeof(alg)), which is not an OrdinaryDiffEq algorithm"))

function make_algorithm(type, options)
    try
        return type(; (Symbol(key) => value for (key, value) in options)...)
    catch error
        error isa MethodError || rethrow()
        given = join(("$key = $value" for (key, value) in options), ", ")
        throw(ArgumentError("$(nameof(type))($given) is not an OrdinaryDiffEq algorithm: it does not take these arguments"))
    end
end

"Whether an algorithm solves linear systems with the Jacobian."
needs_jacobian(alg) = OrdinaryDiffEqCore.isimplicit(alg) ||
    alg isa OrdinaryDiffEqCore.OrdinaryDiffEqExponentialAlgorithm ||
    alg isa OrdinaryDiffEqCore.OrdinaryDiffEqAdaptiveExponentialAlgorithm

"""
    traits(method) -> (name, order, adaptive, needs_jacobian)

A method of variable order says 1 there; it counts as of order 5 at least, so that a quadrature over its steps is no coarser
than they are.
"""
function traits(method)
    alg, adaptive = algorithm(method)
    order = Int(OrdinaryDiffEqCore.alg_order(alg))
    return string(nameof(typeof(alg))), adaptive && order == 1 ? 5 : order, adaptive, needs_jacobian(alg)
end

"Versions of the loaded solver packages, as (name, version) pairs."
function solver_versions()
    packages = [solver_packages(); PySeminorm; SciMLBase]
    return sort!([(string(nameof(m)), string(pkgversion(m))) for m in packages if pkgversion(m) !== nothing])
end

"""
    controller(alg, gains)

OrdinaryDiffEq's PI controller with the (name, value) pairs of `gains` in place of the algorithm's own; a controller as is.
"""
controller(alg, gains::Tuple) =
    OrdinaryDiffEqCore.PIController(Float64, alg; (Symbol(key) => value for (key, value) in gains)...)

controller(alg, given::OrdinaryDiffEqCore.AbstractController) = given

controller(alg, given) = throw(ArgumentError("controller is a $(typeof(given)), which is not an OrdinaryDiffEq controller"))
