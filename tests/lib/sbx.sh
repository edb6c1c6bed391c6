# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# For black-box tests in bash: a daemon of one's own, cases, deadlines, a clean end.
#
#   . "$(dirname "$0")/../lib/sbx.sh"
#   sbx_start -o keep_removed=0
#   mkdir "$SBX/b"
#   ok_if "name of the case" "$(echo hi > "$SBX/b/cmd"; cat "$SBX/b/out")" "hi"
#   sbx_end
#
# $SBX is the mount point, $SBX_STATE its state, $SBX_LOG what the daemon said.

if [ -z "${SBX_ISOLATED-}" ]; then
    [ "$(id -u)" = 0 ] || { echo "skip all # root"; exit 77; }
    # The inner script reads its own arguments.
    # shellcheck disable=SC2016
    SBX_ISOLATED=1 exec unshare --mount --pid --net --fork --mount-proc --kill-child=KILL -- \
        /bin/bash -c 'ip link set lo up; "$@"; exit $?' test "$0" "$@"
fi

sbx_tests=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SBX_BUILD=${SBX_BUILD:-$sbx_tests/../build}
SBX_TMP=${TEST_TMP:-$(mktemp -d /var/tmp/sbx.XXXXXX)}
SBX=$SBX_TMP/mnt
SBX_STATE=$SBX_TMP/state
SBX_LOG=$SBX_TMP/log
sbx_failed=0
sbx_pid=

ok() { echo "ok $1"; }
not_ok() {
    echo "not ok $1 - $(printf '%s' "$2" | tr '\n' ' ' | cut -c1-500)"
    sbx_failed=$((sbx_failed + 1))
}
skip() { echo "skip $1 # $2"; }

# ok_if NAME GOT WANTED
ok_if() {
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "got '$2', wanted '$3'"; fi
}

# until_true SECONDS COMMAND…: polls; 1 when it never came true.
until_true() {
    local deadline=$((SECONDS + $1 * ${SBX_SLOW:-1}))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.01
    done
}

sbx_answers() { grep -qF " $SBX " /proc/self/mountinfo && [ -r "$SBX/README" ]; }

# sbx_start OPTION…: mounts, waits until it answers; ends the test when it does not.
sbx_start() {
    mkdir -p "$SBX"
    if [ -n "${SBX_SHARED-}" ] && [ -d "$SBX_SHARED/images" ] && [ ! -e "$SBX_STATE" ]; then
        mkdir -m 700 "$SBX_STATE"
        cp -al "$SBX_SHARED/images" "$SBX_STATE/images"
    fi
    setsid "$SBX_BUILD/sandboxfs" -f -o "state_dir=$SBX_STATE" "$@" "$SBX" \
        </dev/null >>"$SBX_LOG" 2>&1 &
    sbx_pid=$!
    until_true 30 sbx_answers || {
        not_ok mount "$(tail -n 5 "$SBX_LOG")"
        exit 1
    }
}

sbx_leftovers() {
    grep -F " $SBX_TMP/" /proc/self/mountinfo
    local p
    for p in /proc/[0-9]*; do
        case $(readlink "$p/exe" 2>/dev/null) in
        */sandboxfs | */sandbox-*) tr '\0' ' ' <"$p/cmdline"; echo ;;
        esac
    done
}

sbx_clean() { [ -z "$(sbx_leftovers)" ]; }

# Stops the daemon, looks for what it left, ends the test.
sbx_end() {
    if ! "$SBX_BUILD/sandboxfs" stop "$SBX"; then
        not_ok clean-end "sandboxfs stop failed: $(tail -n 5 "$SBX_LOG")"
    elif ! wait "$sbx_pid"; then
        not_ok clean-end "the daemon failed: $(tail -n 5 "$SBX_LOG")"
    elif ! until_true 5 sbx_clean; then
        not_ok clean-end "left: $(sbx_leftovers)"
    else
        ok clean-end
    fi
    exit $((sbx_failed > 0))
}
