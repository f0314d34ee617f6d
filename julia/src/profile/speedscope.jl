# A profile as a file of https://www.speedscope.app (https://www.speedscope.app/file-format-schema.json).

"""
    save_speedscope(path, profile) -> path

Write the profile for https://www.speedscope.app, which shows it as a flame graph (nothing is uploaded).
"""
function save_speedscope(path, profile::SolveProfile)
    open(io -> save_speedscope(io, profile), path, "w")
    return path
end

function save_speedscope(io::IO, profile::SolveProfile)
    weights = fill(profile.seconds / max(1, length(profile.stacks)), length(profile.stacks))
    frames = map(profile.frames) do frame
        isempty(frame.file) ? Dict("name" => frame.name) : Dict("name" => frame.name, "file" => frame.file, "line" => frame.line)
    end
    sampled = Dict(
        "type" => "sampled", "name" => "solves", "unit" => "seconds", "startValue" => 0, "endValue" => sum(weights; init = 0.0),
        "samples" => [stack .- 1 for stack in profile.stacks], "weights" => weights,
    )
    file = Dict(
        "\$schema" => "https://www.speedscope.app/file-format-schema.json", "exporter" => "PySeminorm",
        "name" => "PySeminorm profile", "activeProfileIndex" => 0, "shared" => Dict("frames" => frames), "profiles" => [sampled],
    )
    return json(io, file)
end

json(io::IO, x::Real) = print(io, x)
json(io::IO, x::AbstractString) = print(io, '"', replace(x, '\\' => "\\\\", '"' => "\\\"", r"[[:cntrl:]]" => " "), '"')

function json(io::IO, values::AbstractVector)
    print(io, '[')
    for (i, value) in pairs(values)
        i == 1 || print(io, ',')
        json(io, value)
    end
    return print(io, ']')
end

function json(io::IO, object::AbstractDict)
    print(io, '{')
    for (i, (key, value)) in enumerate(object)
        i == 1 || print(io, ',')
        json(io, key)
        print(io, ':')
        json(io, value)
    end
    return print(io, '}')
end

# A profile of one sample, the stack right here, so that the first real one does not wait for compilation.
function toy_profile()
    addresses = [UInt(address) for address in backtrace() if address isa Ptr]
    data = [addresses; UInt[Threads.threadid(), 1, 1, 1, 0, 0]]     # thread, task, clock, awake, end
    for log in (Log(), Log([0, length(data)], [2]))
        found = count_samples(samples(data, log), Marks(nothing))
        toy = SolveProfile(1.0, 0.0, 0, 0, 0, true, found..., ["measured" => 1.0])
        python_view(toy)
        sprint(save_speedscope, toy)
    end
    return nothing
end

@compile_workload toy_profile()
