#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs the tests in a folder, one after the other in one box, and stops at the first that fails.
#
#   test-suite.sh BOX FOLDER        FOLDER has an executable file for each test
set -eu
box=$1 folder=$2

[ -d "$box" ] || mkdir "$box"
rm -rf "$box/files/tests"
cp -r "$folder" "$box/files/tests"

for test in "$box"/files/tests/*; do
    name=$(basename "$test")
    # The redirection's end waits for the command's. In ( ) a test cannot change the next one's shell.
    echo "(cd /workspace/tests && ./${name@Q})" >"$box/cmd"
    code=$(cat "$box/exit") # an error, and so the end, if the box could not run it
    if [ "$code" != 0 ]; then
        echo "FAILED $name, exit code $code:"
        cat "$box/out" "$box/err"
        exit 1
    fi
    echo "passed $name"
done
