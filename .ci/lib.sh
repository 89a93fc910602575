# What the outside steps share: a server that is started, watched and ended, and numbers read from what it says.
# Sourced by a step with that step's arguments: SERVER ENGINE [GENERATOR], the programs by their paths.
# shellcheck shell=bash
# Each variable that looks unused here is one that the steps read.
# shellcheck disable=SC2034

set -euo pipefail
# Decimal points are points, and the messages of the system are those that are looked for.
export LC_ALL=C

# The longest that one step may take, unless it says otherwise; none takes a third of it on two slow cores.
STEP_MAX_S=${STEP_MAX_S:-120}
# The longest wait for anything that the server says.
SAYS_MAX_S=20

usage() {
    echo "usage: $0 $*" >&2
    exit 2
}

[[ $# -ge 2 && -x $1 && $2 =~ ^(uring|mio|tokio-uring|iocp)$ ]] || usage 'SERVER uring|mio|tokio-uring|iocp [GENERATOR]'
# Every step bounds itself, so that one run by hand cannot hang either.
if [[ -z ${FINWAIT_STEP_BOUNDED-} ]]; then
    FINWAIT_STEP_BOUNDED=1 exec timeout --kill-after=10 "$STEP_MAX_S" "$0" "$@"
fi

binary=$1
engine=$2
client=$(dirname "${BASH_SOURCE[0]}")/client.py
work=$(mktemp -d)
server=''
port=''
tally=''
peer=''
# Whatever else a step has started and not yet ended, by its process.
declare -A others=()

cleanup() {
    # Only what this step started, and only while it is still ours: `finish` forgets a server that has ended.
    [[ -z $server ]] || kill -KILL "$server" 2>"$work/kill" || true
    local other
    for other in "${!others[@]}"; do
        end "$other"
    done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'fail "stopped from outside, or not done in $STEP_MAX_S s"' TERM INT HUP

# end PID: ends one of `others`; by asking, because some have children to end.
end() {
    kill -TERM "$1" 2>"$work/kill" || true
    wait "$1" 2>"$work/kill" || true
    unset "others[$1]"
}

# Says what is wrong, shows what the server said, and ends the step.
fail() {
    echo "$*" >&2
    if [[ -s $work/err ]]; then
        echo 'the server said:' >&2
        tail -n 20 "$work/err" >&2
    fi
    exit 1
}

# alone ARGUMENT...: runs this step once more with these, its own, in a network where nobody else talks and a file system
# in which it may mount. What it leaves in there, like connections in TIME_WAIT, ends with it.
alone() {
    [[ -z ${FINWAIT_STEP_ALONE-} ]] || {
        ip link set lo up
        return
    }
    rm -rf "$work"
    local private=(unshare --net --mount)
    [[ $EUID == 0 ]] || private+=(--map-root-user)
    FINWAIT_STEP_ALONE=1 exec "${private[@]}" "$0" "$@"
}

# start [WRAPPER...] -- [SERVER ARGUMENT...]: starts a server, under WRAPPER if there is one, and waits until it
# listens. One worker: what strace injects is counted per thread.
start() {
    local wrapper=() line
    while [[ $1 != -- ]]; do
        wrapper+=("$1")
        shift
    done
    shift
    rm -f "$work/out"
    mkfifo "$work/out"
    # The pipe is opened for both directions, so that opening it waits for nobody.
    exec {said}<>"$work/out"
    "${wrapper[@]}" "$binary" --listen 127.0.0.1:0 --workers 1 --json "$@" >"$work/out" 2>"$work/err" &
    server=$!
    local deadline=$((SECONDS + SAYS_MAX_S))
    # In slices, to notice a server that has ended: the pipe, open for both directions, never says so.
    until read -r -t 0.2 line <&"$said"; do
        kill -0 "$server" 2>"$work/kill" || fail 'the server ended before it listened'
        ((SECONDS < deadline)) || fail 'the server did not begin to listen'
    done
    [[ $line =~ \"addr\":\"127\.0\.0\.1:([0-9]+)\" ]] || fail "no port in: $line"
    port=${BASH_REMATCH[1]}
}

# hear_ledger: the port of a server's ledger, which it says behind its echo's, as `$ledger_port`.
hear_ledger() {
    local line
    read -r -t "$SAYS_MAX_S" line <&"$said" || fail 'it said nothing of the ledger'
    [[ $line =~ \"addr\":\"127\.0\.0\.1:([0-9]+)\".*\"protocol\":\"ledger\" ]] || fail "no ledger in: $line"
    ledger_port=${BASH_REMATCH[1]}
}

# inject SYSCALL WHAT: fills the array `injecting` with the wrapper that lets SYSCALL go wrong. The tracer is a
# grandchild (-D), so that the pid we signal and wait for is the server's own.
inject() {
    injecting=(strace -D -f -qq -o "$work/strace" -e "trace=$1" -e "inject=$1:$2")
}

# How often strace has made a call fail.
injected() {
    grep -c INJECTED "$work/strace" || true
}

# log_says PATTERN [LOG]: waits until a log, the server's unless it is named, has a line like that.
log_says() {
    local deadline=$((SECONDS + SAYS_MAX_S)) log=${2-$work/err}
    until grep -Eq -- "$1" "$log"; do
        ((SECONDS < deadline)) || fail "it never said: $1; but: $(tail -n 20 "$log")"
        sleep 0.02
    done
}

# drain: asks the server to end; finish EXIT_CODE: waits for its end, and reads its tally.
drain() {
    kill -TERM "$server"
}

finish() {
    local expected=$1 code=0
    wait "$server" || code=$?
    server=''
    [[ $code == "$expected" ]] || fail "exit code $code, not $expected"
    read -r -t "$SAYS_MAX_S" tally <&"$said" || fail 'no tally'
    exec {said}<&-
}

# counted NAME NUMBER: what the tally must say.
counted() {
    [[ $tally =~ \"$1\":([0-9]+) ]] || fail "no $1 in the tally: $tally"
    [[ ${BASH_REMATCH[1]} == "$2" ]] || fail "$1 is ${BASH_REMATCH[1]}, not $2, in the tally: $tally"
}

# Descriptors that the server has open.
descriptors() {
    find "/proc/$server/fd" -mindepth 1 | wc -l
}

# dial: a connection of this step's own, known to be served, as `$peer`; hang_up closes it.
dial() {
    exec {peer}<>"/dev/tcp/127.0.0.1/$port"
    talk
}

# talk: a word and its echo on it.
talk() {
    local word
    echo word >&"$peer"
    read -r -t "$SAYS_MAX_S" word <&"$peer" || fail 'no echo'
    [[ $word == word ]] || fail "the echo is: $word"
}

hang_up() {
    exec {peer}<&-
}

# closed_all DESCRIPTORS: waits until the server has no more of them than that, which is what it had without anyone.
closed_all() {
    local deadline=$((SECONDS + SAYS_MAX_S))
    until (($(descriptors) <= $1)); do
        ((SECONDS < deadline)) || fail "$(descriptors) descriptors are open, and $1 were before anyone had connected"
        sleep 0.05
    done
}

# Processor time that the server has used, in milliseconds.
cpu_ms() {
    local stat
    stat=$(<"/proc/$server/stat")
    # After the name, which may hold spaces: state is field 3, so utime and stime (14 and 15) are the 12th and 13th.
    read -r -a stat <<<"${stat##*) }"
    echo $(((stat[11] + stat[12]) * 1000 / $(getconf CLK_TCK)))
}

now_ms() {
    echo $((${EPOCHREALTIME/./} / 1000))
}
