# What the steps share that hold the generator against servers: its runs, and what its reports say.
# Sourced by a step with that step's arguments: SERVER ENGINE GENERATOR.
# shellcheck shell=bash
# Each variable that looks unused here is one that the steps read.
# shellcheck disable=SC2034

# With room for the runs that are repeated.
STEP_MAX_S=${STEP_MAX_S:-300}
# shellcheck source-path=SCRIPTDIR/..
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A machine may be too busy for a run, which then says so (4) and is worth another one, a little later: what others do on
# its host comes and goes.
RUNS_MAX=6
INVALID=4

[[ $# -eq 3 && -x $3 ]] || usage 'SERVER uring|mio|tokio-uring GENERATOR'
generator=$3
truth=$(dirname "${BASH_SOURCE[0]}")/truth.py
report=$work/report.json
# Processors that a program can have to itself.
mapfile -t cpus < <(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)), sep="\n")')
((${#cpus[@]} >= 2)) || fail 'it takes two processors'
# Before whatever else this machine does: it may be busy, and what is judged here is not how busy it is.
first=(nice --adjustment=-20)
# Where a repetition is told, wherever the run's own words go.
exec {loud}>&1
# Runs that `believe` took for the last command.
runs=0
alone "$@"

# believe COMMAND...: runs it, and loudly again as long as it exits with 4, which is its exit code in the end.
believe() {
    local code
    for ((runs = 1; ; runs++)); do
        code=0
        "$@" || code=$?
        ((code == INVALID && runs < RUNS_MAX)) || return "$code"
        echo "RUN $runs WAS INVALID, and is repeated: $(reported generator.invalid)" >&"$loud"
        sleep "$runs"
    done
}

# judge EXIT_CODE [WRAPPER...] -- ARGUMENT...: runs the generator, which must end so; "0|4" is either. An invalid run is
# repeated, unless that is what was expected.
judge() {
    local expected=$1 code=0 run=()
    shift
    while [[ $1 != -- ]]; do
        run+=("$1")
        shift
    done
    shift
    rm -f "$report"
    run+=("$generator" "$@" --output "$report")
    if [[ $expected == *"$INVALID" ]]; then
        "${run[@]}" >"$work/screen" 2>&1 || code=$?
    else
        believe "${run[@]}" >"$work/screen" 2>&1 || code=$?
        grep -A 3 '^RUN ' "$work/screen" || true
    fi
    if [[ ! $code =~ ^($expected)$ ]]; then
        # What it found wrong, or what it said where it came to no report.
        { [[ -s $report ]] && reported verdict && reported generator.invalid && reported outcomes; } >&2 ||
            tail -n 20 "$work/screen" >&2
        fail "exit code $code, not $expected: $*"
    fi
    echo "$*: $(reported verdict.sentence)"
}

# reported PATH: what the report of the last run says there, as in `reported outcomes.clean`.
reported() {
    python3 -c '
import functools, json, sys
value = functools.reduce(lambda value, key: value[key], sys.argv[2].split("."), json.load(open(sys.argv[1])))
print(value if isinstance(value, str) else json.dumps(value))' "$report" "$1"
}

# all_clean: every connection must have ended cleanly, which an invalid run's exit code does not tell.
all_clean() {
    python3 -c '
import json, sys
outcomes = json.load(open(sys.argv[1]))["outcomes"]
assert outcomes["clean"] == sum(outcomes.values()) > 0, outcomes' "$report" || fail 'not every connection ended cleanly'
}

# says PATH VALUE: what the report must say there.
says() {
    local said
    said=$(reported "$1")
    [[ $said == "$2" ]] || fail "$1 is $said, not $2"
}
