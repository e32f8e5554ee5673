# Sourced by `tests/run` and `.ci/run`: named steps with their seconds, and one closing count.
#
# A step is a function `step_NAME`. Its output goes to the terminal and to a log; test runners' closing lines found in
# the log are added up, and a step without one counts as a single check.

steps_names=() steps_seconds=() steps_results=()
steps_passed=0 steps_failed=0
steps_logs=$(mktemp -d)
trap 'rm -rf "$steps_logs"' EXIT

# Runs `step_$1`, remembers how it went, and returns its exit code.
run_step() {
    local name=$1 code=0 start=$SECONDS
    printf '\n==> %s\n' "$name"
    # A subshell with its own `set -e`: the first failing command of a step ends the step, not the run. The caller has it off.
    (set -euo pipefail; "step_$name") 2>&1 | tee "$steps_logs/$name"
    code=${PIPESTATUS[0]}
    local counted
    counted=$(count_tests <"$steps_logs/$name")
    local passed=${counted% *} failed=${counted#* }
    if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    if [ "$code" -eq 0 ] && [ "$passed" -eq 0 ]; then passed=1; fi
    steps_passed=$((steps_passed + passed)) steps_failed=$((steps_failed + failed))
    steps_names+=("$name") steps_seconds+=($((SECONDS - start)))
    if [ "$code" -eq 0 ]; then steps_results+=(ok); else steps_results+=("FAILED ($code)"); fi
    return "$code"
}

# Sums `passed failed` over the closing lines of cargo test, nextest and our own scripts. Where the very last line is a
# plain total it already holds the sum.
count_tests() {
    sed 's/\x1b\[[0-9;]*m//g' | awk '
        /[^ \t]/ { last = $0 }
        /^ *Summary .* tests? run: / {
            for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^(failed|timed)/) f += $(i-1) } next }
        /^test result: / { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^failed/) f += $(i-1) } next }
        /^[0-9]+ passed, [0-9]+ failed/ { p += $1; f += $3 }
        END {
            if (last ~ /^[0-9]+ passed, [0-9]+ failed/) { split(last, t, " "); p = t[1]; f = t[3] }
            print p + 0, f + 0
        }'
}

# The table of steps, the closing line, and the exit code of the whole run.
finish_steps() {
    printf '\n%-12s %8s  %s\n' step seconds result
    local i
    for i in "${!steps_names[@]}"; do
        printf '%-12s %8s  %s\n' "${steps_names[$i]}" "${steps_seconds[$i]}" "${steps_results[$i]}"
    done
    printf '%-12s %8s\n\n' total "$SECONDS"
    printf '%s passed, %s failed\n' "$steps_passed" "$steps_failed"
    [ "$steps_failed" -eq 0 ]
}

# Runs the steps named on the command line, or all of them; refuses a name that is none.
run_steps() {
    local all=$1 name
    shift
    local chosen=("$@")
    # shellcheck disable=SC2206
    [ "${#chosen[@]}" -gt 0 ] || chosen=($all)
    for name in "${chosen[@]}"; do
        case " $all " in
            *" $name "*) ;;
            *) printf 'unknown step %s; steps: %s\n' "$name" "$all" >&2; exit 64 ;;
        esac
    done
    for name in "${chosen[@]}"; do
        # Not `run_step … ||`: that would switch `set -e` off inside the step.
        set +e
        run_step "$name"
        local code=$?
        set -e
        if [ "$code" -ne 0 ] && [[ " ${STEPS_FATAL:-} " == *" $name "* ]]; then break; fi
    done
    finish_steps
}
