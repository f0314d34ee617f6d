# The tick of Julia's profiler on Linux is SIGUSR1 to the whole process: the threads of Julia block it, and one waits for it.
# In a process that is not Julia's, threads that are older than Julia (OpenBLAS, OpenMP, Jupyter) do not block it; the kernel
# gives it to one of these, and the process ends. So all are made to block it: by another signal to each, whose handler adds
# the tick to the signals that its thread blocks when it goes on.

const TICK = 10         # SIGUSR1
const CARRIER = 62      # a real-time signal that nobody else uses

# By architecture: where a handler's ucontext_t has the signals that its thread will block, and the number of tgkill.
const LINUX = Dict(:x86_64 => (mask = 296, tgkill = 234), :aarch64 => (mask = 40, tgkill = 131))

# LLVM's code for a handler, for it runs on threads that Julia does not know: nothing of Julia's runtime may be in it.
const POINTER, INTEGER, FUNCTION = VERSION < v"1.12" ? ("i8*", "i64*", "void (i32, i8*, i8*)*") : ("ptr", "ptr", "ptr")
const HANDLER = """
define void @block_tick(i32 %signal, $POINTER %info, $POINTER %context) {
    %start = ptrtoint $POINTER %context to i64
    %address = add i64 %start, $(get(LINUX, Sys.ARCH, LINUX[:x86_64]).mask)
    %mask = inttoptr i64 %address to $INTEGER
    %blocked = load i64, $INTEGER %mask
    %more = or i64 %blocked, $(1 << (TICK - 1))
    store i64 %more, $INTEGER %mask
    ret void
}
define i64 @entry() {
    ret i64 ptrtoint ($FUNCTION @block_tick to i64)
}
"""

handler() = Base.llvmcall((HANDLER, "entry"), UInt64, Tuple{})

"""
    block_ticks()

Make all threads of this process, but the one that waits for them, block the profiler's ticks; new ones inherit that.
"""
function block_ticks()
    Sys.islinux() || return nothing     # elsewhere the profiler uses no signal
    haskey(LINUX, Sys.ARCH) || error("profiling inside of another program is not supported on $(Sys.ARCH)")
    exposed = filter(thread -> !has_signal(thread, "SigBlk", TICK), parse.(Int, readdir("/proc/self/task")))
    before = sigaction(CARRIER, action(handler()))
    for thread in exposed
        ccall(:syscall, Clong, (Clong, Cint, Clong, Clong), LINUX[Sys.ARCH].tgkill, getpid(), thread, CARRIER)
    end
    taken = timedwait(() -> !any(thread -> has_signal(thread, "SigPnd", CARRIER), exposed), 5.0; pollint = 0.001)
    sigaction(CARRIER, before)
    taken === :ok || error("a thread of this process does not react to signals: it cannot be profiled")
    return nothing
end

# struct sigaction of glibc and musl on 64 bits: the handler, 128 bytes of signals to block during it (all), flags.
function action(handler)
    return [reinterpret(UInt8, [handler]); fill(0xff, 128); reinterpret(UInt8, [0x10000004]); zeros(UInt8, 12)] # SA_RESTART | SA_SIGINFO
end

"Set what a signal does; gives what it did."
function sigaction(signal, new)
    old = zeros(UInt8, length(new))
    status = ccall(:sigaction, Cint, (Cint, Ptr{UInt8}, Ptr{UInt8}), signal, new, old)
    Base.systemerror(:sigaction, status != 0)
    return old
end

"Whether a thread's SigBlk (signals that it blocks) or SigPnd (that wait for it) has a signal. A thread that is gone has none."
function has_signal(thread, field, signal)
    file = "/proc/self/task/$thread/status"
    found = match(Regex("$field:\\s*(\\w+)"), isfile(file) ? read(file, String) : "")
    return found !== nothing && !iszero(parse(UInt64, found[1]; base = 16) & (1 << (signal - 1)))
end
