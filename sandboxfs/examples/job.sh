#!/bin/bash
# SPDX-License-Identifier: MIT
# A job with a name and a time limit, fed from standard input. However often it is asked for, it runs
# once: who asks again, while it runs or after its end, gets the same answer.
#
#   job.sh BOX NAME LIMIT COMMAND < INPUT        job.sh alice sum-7 10s 'paste -sd+ | bc' < numbers
set -eu
box=$1 run=$1/procs/$2 limit=$3 command=$4

[ -d "$box" ] || mkdir "$box"
if mkdir "$run" 2>/dev/null; then
    echo "$limit" >"$run/timeout"
    echo "$command" >"$run/cmd"
    cat >"$run/in" 2>/dev/null || true # it need not want all; the end of ours is the end of its
elif [ ! -d "$run" ]; then
    tail -n 1 "$box/why" >&2
    exit 75
fi

cat "$run/out"
cat "$run/err" >&2
code=$(cat "$run/exit")
[ "$(cat "$run/state")" != timeout ] || echo "more than $limit: it was ended" >&2
exit "${code:-75}" # nothing yet: who asked first is still about to start it
