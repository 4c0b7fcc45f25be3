#!/usr/bin/env bash
# Runs every test of a finished build: formatting, CTest here, for AArch64 and for WebAssembly, pytest. Ends with the runners' own summary lines.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
summary=()

echo "== formatting"
if git ls-files '*.cpp' '*.hpp' '*.c' '*.h' '*.inc' '*.cu' '*.cuh' | xargs -r clang-format-14 --dry-run --Werror; then
  echo "every source is as clang-format-14 would write it"
else
  failed=1
  summary+=("formatting: run 'make format'")
fi

# The real models, if this machine can reach them; tests that need one say so when they are skipped.
if model=$(.venv/bin/python scripts/fetch_smollm2.py | tail -n 1) && [ -f "$model" ]; then
  export ROPEWALK_SMOLLM2=$model
else
  echo "SmolLM2 could not be fetched: the tests on it are skipped"
fi
if model=$(.venv/bin/python scripts/fetch_gemma3.py | tail -n 1) && [ -f "$model" ]; then
  export ROPEWALK_GEMMA3=$model
else
  echo "Gemma 3 could not be fetched: the tests on it are skipped"
fi
export ROPEWALK_BIN=$PWD/build/ropewalk ROPEWALK_BUILD=$PWD/build

log=$(mktemp) other=$(mktemp)
trap 'rm -f "$log" "$other"' EXIT
# run_ctest FOLDER SUFFIX
run_ctest() {
  ctest --test-dir "$1" --output-on-failure --parallel 2 2>&1 | tee "$log" | grep -vE '^ *[0-9]+/[0-9]+ Test.*Passed|^ +Start +[0-9]+:' || true
  grep -qE '^100% tests passed' "$log" || failed=1
  summary+=("$(grep -E 'tests passed' "$log" | tail -n 1)$2")
}

echo "== CTest"
run_ctest build ""

case $(uname -m) in
  aarch64 | arm64) ;;  # what was built above has the NEON target
  *)
    echo "== CTest for AArch64, under qemu-user"
    run_ctest build-aarch64 " (AArch64 under qemu-user)"
    ;;
esac

echo "== CTest for WebAssembly, under node"
run_ctest build-wasm " (WebAssembly under node)"

# Two halves side by side, for most tests keep one processor busy. Threads that wait give way: two of each would fight.
export PYTHONPATH=$PWD/build/python OMP_WAIT_POLICY=passive
run_pytest() { .venv/bin/python -m pytest -q -p no:cacheprovider "$@" 2>&1; }
echo "== pytest: the package (beside it, the tool and the library; its output comes behind)"
run_pytest tests --ignore tests/python >"$other" &
run_pytest tests/python | tee "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
summary+=("$(tail -n 1 "$log") (the Python package)")
wait "$!" || failed=1
echo "== pytest: the tool and the library"
cat "$other"
summary+=("$(tail -n 1 "$other") (the tool and the library)")

echo "== summary"
printf '%s\n' "${summary[@]}"
exit "$failed"
