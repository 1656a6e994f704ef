#!/usr/bin/env bash
# All the checks of the project: format, lint, types, import directions, the documentation as a site, tests.
#
#   tools/check.sh               all of them
#   tools/check.sh --slow        all of them, with the tests that are marked slow (about six hours of one core)
#   tools/check.sh --slow --part 2/4 tests      the second of four parts of these tests, for machines lent by the hour
#   tools/check.sh lint types    some of them, by name: format lint types imports site tests
#
# Every check runs even when one before it failed; the exit status is 0 only when all passed. The Python is $PYTHON, else
# the checkout's .venv, else `python3`; it needs `pip install -c constraints.txt -e '.[dev]'`.
# CKDMED_TEST_WORKERS (2) is the number of test processes, CKDMED_PYTEST_ARGS adds arguments (for example --runslow).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

if [ -z "${PYTHON:-}" ]; then
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; else PYTHON=python3; fi
fi
# One thread per test process: two processes with two threads each on two cores are slower than this.
export OMP_NUM_THREADS=1
# What programs print and write is UTF-8, also where the locale is plain C.
export PYTHONUTF8=1

if ! "$PYTHON" -c 'import sys
from importlib.util import find_spec
sys.exit(not all(map(find_spec, sys.argv[1:])))' black flake8 hypothesis importlinter isort mkdocs mkdocstrings mypy packaging pytest pytest_split xdist; then
    echo "tools/check.sh: the development tools are not installed: $PYTHON -m pip install -c constraints.txt -e '.[dev]'" >&2
    exit 2
fi

sources=()
for folder in setup.py ckdmed tests tools benchmarks bundles docs; do
    if [ -n "$(find "$folder" -name '*.py' -print -quit 2>/dev/null)" ]; then sources+=("$folder"); fi
done

check_format() {
    "$PYTHON" -m isort --check-only --diff "${sources[@]}" \
        && "$PYTHON" -m black --check --diff --quiet --line-length 120 "${sources[@]}"
}
check_lint() { "$PYTHON" -m flake8 "${sources[@]}"; }
check_types() { "$PYTHON" -m mypy; }
check_imports() { "$PYTHON" -c 'import sys; from importlinter.cli import lint_imports_command as run; sys.exit(run())'; }
check_site() {
    # The theme announces its successor at every build.
    NO_MKDOCS_2_WARNING=1 "$PYTHON" -m mkdocs build --strict --quiet --site-dir build/site
}
check_tests() {
    # A file's tests stay in one process, so that what its fixtures make is made once.
    # shellcheck disable=SC2086  # the extra arguments are meant to be split
    "$PYTHON" -m pytest -n "${CKDMED_TEST_WORKERS:-2}" --dist loadfile --durations 10 --durations-min 2 \
        ${CKDMED_PYTEST_ARGS:-}
}

steps=()
while [ $# -gt 0 ]; do
    case "$1" in
        --slow) CKDMED_PYTEST_ARGS="${CKDMED_PYTEST_ARGS:-} --runslow" ;;
        --part)
            if ! [[ "${2:-}" =~ ^([1-9][0-9]*)/([1-9][0-9]*)$ ]] || [ "${BASH_REMATCH[1]}" -gt "${BASH_REMATCH[2]}" ]; then
                echo "tools/check.sh: --part takes NUMBER/PARTS, such as 2/4; got '${2:-}'" >&2
                exit 2
            fi
            CKDMED_PYTEST_ARGS="${CKDMED_PYTEST_ARGS:-} --group ${BASH_REMATCH[1]} --splits ${BASH_REMATCH[2]}"
            shift
            ;;
        *) steps+=("$1") ;;
    esac
    shift
done
if [ ${#steps[@]} -eq 0 ]; then steps=(format lint types imports site tests); fi
# Runs a step; the last line that it prints is the verdict.
run_step() {
    local start=$SECONDS result=FAILED
    printf '== %s\n' "$1"
    if "check_$1"; then result=passed; fi
    printf '== %s %s in %d s\n\n' "$1" "$result" $((SECONDS - start))
    [ "$result" = passed ]
}

for step in "${steps[@]}"; do
    if ! declare -F "check_$step" >/dev/null; then
        echo "tools/check.sh: no check named '$step'; there are: format lint types imports site tests" >&2
        exit 2
    fi
done
# All but the tests at the same time: most use one core. What they print comes in their order.
printed="$(mktemp -d)"
trap 'rm -rf "$printed"' EXIT
running=()
for number in "${!steps[@]}"; do
    if [ "${steps[number]}" != tests ]; then
        run_step "${steps[number]}" >"$printed/$number" 2>&1 &
        running[number]=$!
    fi
done
failed=()
for number in "${!running[@]}"; do
    wait "${running[number]}" || failed+=("${steps[number]}")
    cat "$printed/$number"
done
if [[ " ${steps[*]} " = *" tests "* ]]; then run_step tests || failed+=(tests); fi
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
