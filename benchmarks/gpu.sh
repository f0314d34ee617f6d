#!/usr/bin/env bash
# Tests and benchmarks of a CUDA device, in under eight minutes:
#
#     bash benchmarks/gpu.sh [cuda|cpu] [FOLDER OF THE RESULTS]
#
# "cpu" goes through the same with small cases, to try the script. Packages that are missing are installed as wheels, in
# the versions of constraints.txt: from PyPI, or from where pip's variables say (PIP_NO_INDEX=1 PIP_FIND_LINKS=folder).
set -u
cd "$(dirname "$0")/.."
device=${1:-cuda}
out=${2:-results-$device}

missing=()
for package in torch numpy platformdirs typer pytest hypothesis rich matplotlib torchdiffeq torchode; do
  python -c "import $package" 2>/dev/null || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  timeout 110 python -m pip install --quiet --only-binary=:all: -c constraints.txt "${missing[@]}" || exit 1
fi
export PYTHONPATH=$PWD
if [ "$device" = cuda ]; then
  python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo "there is no CUDA device" >&2; exit 1; }
  tests=gpu seconds=110 budget=28
  cases=(case1 case2 case3 case4 flow-4096 odenet)
else
  tests="not gpu" seconds=240 budget=60
  cases=(case1 flow convolution)
fi

timeout -s INT $seconds python -m pytest -q -p no:cacheprovider -m "$tests" tests/test_gpu.py tests/test_replays.py
failed=$?

# In each case what has made its first step within the budget is timed, in this order.
for case in "${cases[@]}"; do
  timeout -s INT $((budget + 30)) python -m benchmarks.speed --device "$device" --threads all --section cases --no-curves \
    --repeats 3 --limit 10 --budget $budget --out "$out/$case" --case "$case" \
    --contender 'torchdiffeq odeint_adjoint "seminorm"' \
    --contender 'torchode AutoDiffAdjoint dopri5' \
    --contender 'torchode AutoDiffAdjoint tsit5' \
    --contender 'torchdiffeq odeint_adjoint "seminorm", import changed' \
    --contender 'torch Discrete-stages tsit5' \
    --contender 'torch+compiled Discrete-stages tsit5' \
    --contender 'torch+compiled Backsolve tsit5'
done
exit $failed
