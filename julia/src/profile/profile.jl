# Julia's sampling profiler around solves, with every sample counted as solver, vector field, garbage collection ...

"What a sample can be counted as, and what the table calls it."
const KINDS = (
    :solver => "solver", :callback => "callback into Python", :field => "vector field in Julia",
    :gc => "garbage collection", :compilation => "compilation", :other => "other", :outside => "outside Julia",
)

"A function as a profile names it; `line` is where it is defined, or (inlined) where it was first seen."
struct Frame
    name::String
    file::String
    line::Int
end

"""
    SolveProfile

What [`profile`](@ref) found. It shows as a table; [`functions`](@ref) and [`save_speedscope`](@ref) say more.
"""
struct SolveProfile
    seconds::Float64
    gc_seconds::Float64
    collections::Int
    bytes::Int
    allocations::Int
    complete::Bool                  # false: the buffer was full before the end
    frames::Vector{Frame}
    stacks::Vector{Vector{Int}}     # of every sample in order of time: indices into frames, outermost first
    kinds::Vector{Symbol}           # of every sample
    selves::Vector{Int}             # the function that was running: the innermost that is not inlined into another
    measured::Vector{Pair{String, Float64}}     # seconds by a clock, shown beside the samples
end

"""
    profile(f; delay = 0.001, field = nothing) -> SolveProfile

Run `f()` and say where its time went, by a sample every `delay` seconds: in the solver, in the vector field (the function
`field`, if it is given), in compilation, in garbage collection. Run `f()` once before, so that it is compiled.

```julia
using PySeminorm, OrdinaryDiffEqTsit5
solve_it() = solve(problem, Tsit5(); internalnorm = Seminorm([1:2], 3))
solve_it()
found = PySeminorm.profile(solve_it; field = f!)
PySeminorm.save_speedscope("solve.speedscope.json", found)    # opens at https://www.speedscope.app
```
"""
function profile(f; delay::Real = 0.001, field = nothing)
    recording = start_profile(delay)
    try
        f()
    finally
        halt_profile(recording)
    end
    return analyse(recording; field)
end

# Ten million addresses: some minutes of the usual stacks, 80 MB that are touched only as they fill.
const BUFFER = 10_000_000

mutable struct Recording
    started::UInt64
    gc::Base.GC_Num
    seconds::Float64
    spent::Base.GC_Diff
    Recording() = new()
end

function start_profile(delay)
    # Without its listener nobody catches the profiler's signal, which then ends the process.
    Base.JLOptions().handle_signals == 1 || error("profiling needs a Julia that was started with signal handling")
    Profile.is_running() && error("Julia's profiler is running already")
    Profile.clear()
    Profile.init(BUFFER, delay)
    recording = Recording()
    Profile.start_timer()
    recording.started, recording.gc = time_ns(), Base.gc_num()
    return recording
end

function halt_profile(recording)
    recording.seconds, recording.spent = (time_ns() - recording.started) / 1.0e9, Base.GC_Diff(Base.gc_num(), recording.gc)
    Profile.stop_timer()
    return nothing
end

function analyse(recording; field = nothing, log = Log(), measured = Pair{String, Float64}[])
    found = count_samples(samples(Profile.fetch(limitwarn = false), log), Marks(field))
    seconds = isempty(measured) ? recording.seconds : sum(last, measured)
    spent = recording.spent
    return SolveProfile(
        seconds, spent.total_time / 1.0e9, spent.pause, spent.allocd, Base.gc_alloc_count(spent), !Profile.is_buffer_full(),
        found..., measured,
    )
end

"""
    analyse(recording, edges, places, measured) -> SolveProfile

What Python calls: `edges` and `places` are (address, length) of a [`Log`](@ref)'s, `measured` is pairs that sum up to all.
"""
function analyse(recording, edges, places, measured)
    log = Log(copy(wrap(Vector{Int64}, edges...)), copy(wrap(Vector{Int64}, places...)))
    return analyse(recording; log, measured = [String(name) => Float64(seconds) for (name, seconds) in measured])
end

"""
    Log(edges, places)

Where the profiled thread was while the profiler's buffer grew from one edge to the next: at one of `PLACES`. Python keeps it,
because stacks do not tell: many functions below a callback cannot be unwound.
"""
struct Log
    edges::Vector{Int}
    places::Vector{Int}
end

Log() = Log(Int[], Int[])

const PLACES = (:outside, :julia, :callback)

"The function that gives the length of the profiler's buffer, for Python to call."
position_address() = UInt(cglobal(:jl_profile_len_data))

"The place of a sample; nothing before and after the profiled block."
function place(log::Log, position)
    isempty(log.edges) && return :julia
    i = searchsortedlast(log.edges, position)
    return i in eachindex(log.places) ? PLACES[log.places[i]] : nothing
end

"The samples that were taken: where, and the stack of addresses, innermost first."
function samples(data::Vector{UInt}, log::Log)
    found, start = Tuple{Symbol, Vector{UInt}}[], 1
    for i in eachindex(data)
        Profile.is_block_end(data, i) || continue
        at = place(log, start - 1)
        awake = data[i - Profile.META_OFFSET_SLEEPSTATE] == 1
        ours = isempty(log.edges) || data[i - Profile.META_OFFSET_THREADID] == Threads.threadid()
        if awake && ours && at !== nothing
            push!(found, (at, data[start:(i - Profile.META_OFFSET_THREADID - 1)]))
        end
        start = i + 1
    end
    return found
end

"""
    Marks(field)

What tells kinds of Julia's code apart: the folders of the solver's packages, the methods of a vector field, and the files
from which PySeminorm calls those that Python gives as Julia source. Addresses are looked up once each; frames of C have no
name here, but for symbols that their library exports.
"""
struct Marks
    folders::Vector{String}
    native::Vector{String}
    field::Set{Tuple{Symbol, Symbol}}
    frames::Dict{UInt, Vector{StackFrame}}
    kinds::Dict{StackFrame, Symbol}
end

function Marks(field)
    packages = filter(m -> pkgdir(m) !== nothing, [solver_packages(); PySeminorm; SciMLBase; DiffEqBase])
    methods_of_field = field === nothing ? () : ((m.name, m.file) for m in methods(field))
    files = (("src", "native", "function.jl"), ("src", "python", "poll.jl"), ("ext", "native_vjps.jl"))
    native = [joinpath(pkgdir(PySeminorm), parts...) for parts in files]
    return Marks(joinpath.(pkgdir.(packages), ""), native, Set(methods_of_field), Dict(), Dict())
end

frames!(marks::Marks, address) = get!(() -> look_up(address), marks.frames, address)

function look_up(address)
    # The second argument skips the search for names in C libraries, which takes many milliseconds each.
    found = ccall(:jl_lookup_code_address, Any, (Ptr{Cvoid}, Cint), Ptr{Cvoid}(address), true)::Core.SimpleVector
    frames = [StackFrame(info..., address) for info in found]
    all(frame -> frame.from_c, frames) || return frames
    return [StackFrame(find_symbol(address), Symbol(""), -1, nothing, true, false, address)]
end

"The symbol of a C library that an address is in, as far as the library exports it."
function find_symbol(address)
    Sys.iswindows() && return first(StackTraces.lookup(Ptr{Cvoid}(address))).func
    info = zeros(UInt, 4)   # Dl_info: file, base, symbol, its address
    found = ccall(:dladdr, Cint, (Ptr{Cvoid}, Ptr{UInt}), Ptr{Cvoid}(address), info) != 0 && info[3] != 0
    return found ? Symbol(unsafe_string(Ptr{UInt8}(info[3]))) : Symbol("")
end

kind!(marks::Marks, frame) = get!(() -> kind(marks, frame), marks.kinds, frame)

function kind(marks::Marks, frame)
    name, file = string(frame.func), string(frame.file)
    if frame.from_c
        occursin("gc_collect", name) && return :gc
        return occursin("jl_generate_fptr", name) ? :compilation : :other
    end
    startswith(name, "typeinf_ext") && return :compilation
    (file in marks.native || (frame.func, frame.file) in marks.field) && return :field
    return any(folder -> startswith(file, folder), marks.folders) ? :solver : :other
end

"""
    classify(stack, marks) -> (kind, position)

The kind of a stack in Julia, by the innermost frame that tells, and the position of that frame.
"""
function classify(stack, marks::Marks)
    for (i, frame) in pairs(stack)
        found = kind!(marks, frame)
        found === :other || return found, i
    end
    return :other, 1
end

"What is drawn in place of frames that are of no interest, or not Julia's."
const STAND_INS = Dict(
    kind => Frame("[$name]", "", 0) for (kind, name) in KINDS if kind in (:callback, :outside, :gc, :compilation)
)

"Frames, and what every sample has in them: its stack, kind and running function."
function count_samples(samples, marks::Marks)
    frames, numbers = Frame[], Dict{Tuple{String, String}, Int}()
    number!(frame) = get!(() -> (push!(frames, frame); length(frames)), numbers, (frame.name, frame.file))
    stacks, kinds, selves = Vector{Int}[], Symbol[], Int[]
    for (at, addresses) in samples
        stack = at === :julia ? reduce(vcat, (frames!(marks, x) for x in addresses); init = StackFrame[]) : StackFrame[]
        kind, position = at === :julia ? classify(stack, marks) : (at, 1)
        drawn = haskey(STAND_INS, kind) ? stack[position:end] : stack
        julia = filter(frame -> !frame.from_c, drawn)
        numbered = [number!(Frame(frame)) for frame in julia]
        haskey(STAND_INS, kind) && pushfirst!(numbered, number!(STAND_INS[kind]))
        isempty(numbered) && push!(numbered, number!(UNKNOWN))
        push!(stacks, reverse(numbered))
        push!(kinds, kind)
        running = haskey(STAND_INS, kind) ? 1 : findfirst(frame -> !frame.inlined, julia)
        push!(selves, numbered[something(running, 1)])
    end
    return frames, stacks, kinds, selves
end

const UNKNOWN = Frame("[C code]", "", 0)

function Frame(frame::StackFrame)
    method = frame.linfo isa Core.MethodInstance ? frame.linfo.def : nothing
    return Frame(string(frame.func), string(frame.file), method isa Method ? method.line : frame.line)
end

"How many samples of each kind."
counts(profile::SolveProfile) = [kind => count(==(kind), profile.kinds) for (kind, _) in KINDS]

"""
    functions(profile) -> Vector{Pair{Frame, Int}}

In how many samples each function was the one that was running, with what is inlined into it; the most first.
"""
function functions(profile::SolveProfile)
    found = zeros(Int, length(profile.frames))
    foreach(i -> found[i] += 1, profile.selves)
    running = [profile.frames[i] => n for (i, n) in pairs(found) if n > 0]
    return sort!(running; by = last, rev = true)
end

function Base.show(io::IO, ::MIME"text/plain", profile::SolveProfile)
    total, seconds = length(profile.kinds), profile.seconds
    println(io, "Profile of ", round_seconds(seconds), " s, ", total, " samples", profile.complete ? "" : " (then the buffer was full)")
    row(io, "", "samples", "share")
    names = Dict(KINDS)
    for (kind, n) in counts(profile)
        n > 0 && row(io, names[kind], n, percent(n / total))
    end
    println(io)
    row(io, "measured", "seconds", "share")
    for (name, value) in [profile.measured; "garbage collection" => profile.gc_seconds]
        row(io, name, round_seconds(value), percent(value / seconds))
    end
    println(
        io, "  Julia allocated ", Base.format_bytes(profile.bytes), " in ", profile.allocations, " allocations, and collected ",
        profile.collections, " times\n",
    )
    row(io, "running function", "samples", "share")
    for (frame, n) in Iterators.take(functions(profile), 10)
        row(io, frame.name, n, percent(n / total), isempty(frame.file) ? "" : "  $(place(frame))")
    end
    return nothing
end

"What Python reads."
function python_view(profile::SolveProfile)
    found = [(frame.name, frame.file, frame.line, n) for (frame, n) in functions(profile)]
    table = sprint(show, MIME"text/plain"(), profile)
    samples = [(string(kind), n) for (kind, n) in counts(profile)]
    return profile.gc_seconds, profile.collections, profile.bytes, profile.allocations, samples, found, table
end

row(io, name, value, share, rest = "") = println(io, rpad("  $name", 42), lpad(value, 10), lpad(share, 9), rest)
round_seconds(seconds) = string(round(seconds; sigdigits = 3))
percent(share) = isfinite(share) ? string(round(100share; digits = 1), " %") : "-"
place(frame::Frame) = string(joinpath(last(splitpath(frame.file), 3)...), ":", frame.line)
