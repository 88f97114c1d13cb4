#!/usr/bin/env bash
# Fuzz every target, or the named ones, for SECONDS_EACH seconds each; what makes one fail is left in .fuzz/findings.
#   tests/fuzz/run.sh PYTHON SECONDS_EACH [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1 seconds=$2
shift 2
export PYTHONPATH=tests/support${PYTHONPATH:+:$PYTHONPATH}
[ $# -gt 0 ] || set -- manifest journal sidecar intents event markers images metadata pixels size
mkdir -p .fuzz/findings
# The targets' own files; a fuzzer ends without cleaning up. In memory, where that can be had.
TMPDIR=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
"$python" tests/fuzz/seeds.py .fuzz/corpus
failed=()
for target; do
    echo "== $target, $seconds s"
    "$python" tests/fuzz/targets.py "$target" ".fuzz/corpus/$target" -max_total_time="$seconds" -max_len=20000 -dict=.fuzz/corpus/words \
        -timeout=20 -rss_limit_mb=3000 -artifact_prefix=".fuzz/findings/$target-" -print_final_stats=1 -verbosity=0 \
        || failed+=("$target")
done
[ ${#failed[@]} -eq 0 ] || { echo "found something: ${failed[*]}; the inputs are in .fuzz/findings"; exit 1; }
