#!/usr/bin/env bash
# Builds everything again, each time in a folder of its own, and runs the tests there: under AddressSanitizer with
# UndefinedBehaviorSanitizer (build-asan), and under ThreadSanitizer (build-tsan). CTest runs in both; pytest drives the
# sanitized tool and probes. Ends with a line for each, and fails on a test that fails and on any report, also on one of
# a process whose exit code nobody looked at.
#
#   sanitize.sh [asan] [tsan]     both, if none is named
#
# JOBS    compilers at once (default: the number of processors; each takes up to a gigabyte)
# PYTHON  where pytest and the packages of requirements-test.txt are (default: .venv/bin/python)
set -uo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- asan tsan
for preset in "$@"; do
  case $preset in
    asan | tsan) ;;
    *)
      echo "sanitize: $preset: want asan, tsan or nothing" >&2
      exit 2
      ;;
  esac
done
jobs=${JOBS:-$(nproc)}
python=${PYTHON:-.venv/bin/python}
failed=0
summary=()
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Shadow memory lies at fixed addresses, where a system that draws addresses at random may have put something else.
at_fixed_addresses=()
if setarch "$(uname -m)" --addr-no-randomize true 2>/dev/null; then
  at_fixed_addresses=(setarch "$(uname -m)" --addr-no-randomize)
fi

# run NAME COMMAND...: shows what it says but the tests that pass, and keeps its summary.
run() {
  local name=$1
  shift
  echo "== $name"
  "${at_fixed_addresses[@]}" "$@" 2>&1 | tee "$work/log" | grep -vE '^ *[0-9]+/[0-9]+ Test.*Passed|^ +Start +[0-9]+:'
  [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
  summary+=("$name: $(grep -E 'tests passed|(passed|failed|skipped|error).* in [0-9.]+s' "$work/log" | tail -n 1)")
}

# sanitized PRESET: builds, then runs CTest.
sanitized() {
  echo "== $1: build"
  rm -f "build-$1/CMakeCache.txt"  # which would keep an older list of tests
  if cmake --preset "$1" >/dev/null && cmake --build --preset "$1" --parallel "$jobs" >"$work/log"; then
    export ROPEWALK_BIN=$PWD/build-$1/ropewalk ROPEWALK_BUILD=$PWD/build-$1
    run "$1, CTest" ctest --preset "$1" --parallel 2
  else
    tail -n 40 "$work/log"
    failed=1
    summary+=("$1: not built")
    return 1
  fi
}

# reports PRESET: what the sanitizers had to say.
reports() {
  local files=("$work/report-$1".*)
  if [ -e "${files[0]}" ]; then
    failed=1
    echo "== $1: reports"
    cat "${files[@]}"
    summary+=("$1: ${#files[@]} processes with a report")
  else
    summary+=("$1: no report")
  fi
}

# The small model that pytest asks for, if this machine can reach it. Of Gemma 3, tests/runner has small ones.
if model=$("$python" scripts/fetch_smollm2.py | tail -n 1) && [ -f "$model" ]; then export ROPEWALK_SMOLLM2=$model; fi
unset ROPEWALK_GEMMA3

asan() {
  export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1:strict_init_order=1:log_path=$work/report-asan
  export UBSAN_OPTIONS=print_stacktrace=1:log_path=$work/report-asan
  # Left out: a bound on memory, of which AddressSanitizer takes its own part.
  sanitized asan && run "asan, pytest" "$python" -m pytest -q -p no:cacheprovider tests/cli tests/runner \
    --deselect tests/cli/test_convert.py::test_memory_does_not_grow_with_the_file
  reports asan
}

tsan() {
  export OMP_NUM_THREADS=4 TSAN_OPTIONS=second_deadlock_stack=1:log_path=$work/report-tsan
  sanitized tsan && run "tsan, pytest" "$python" -m pytest -q -p no:cacheprovider tests/cli/test_eval.py tests/cli/test_cache.py
  reports tsan
}

for preset in "$@"; do "$preset"; done
echo "== summary"
printf '%s\n' "${summary[@]}"
exit "$failed"
