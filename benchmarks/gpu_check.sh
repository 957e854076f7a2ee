#!/usr/bin/env bash
# Does the model work on this GPU, and how fast? One Markdown file, in ten minutes at most.
#
#     benchmarks/gpu_check.sh DATASET [--device cuda|cpu] [--out FILE] [--small]
#
# DATASET is a built dataset with splits. Needs the extras `train`, `test` and `benchmark`. Tests of
# the model, attention by length, training of base.yaml, and five minutes of learning to pack side
# chains. A part that fails says so in the file, the others go on, and the status is 1. `--small`
# is for trying the script itself: short sequences, a few steps.
set -euo pipefail

usage() {
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    exit "$1"
}

device=cuda out=gpu_check.md small="" dataset=""
while [ $# -gt 0 ]; do
    case "$1" in
    --device) device=${2:?--device cuda or cpu}; shift 2 ;;
    --out) out=${2:?--out FILE}; shift 2 ;;
    --small) small=yes; shift ;;
    -h | --help) usage 0 ;;
    -*) echo "error: there is no option $1" >&2; usage 2 >&2 ;;
    *) dataset=$1; shift ;;
    esac
done
[ -n "$dataset" ] || usage 2 >&2
[ "$device" = cuda ] || [ "$device" = cpu ] || { echo "error: --device is cuda or cpu" >&2; exit 2; }
dataset=$(realpath "$dataset")
out=$(realpath "$out")
if [ ! -f "$dataset/splits.parquet" ]; then
    echo "error: $dataset has no splits.parquet: python -m pipeline.split $dataset" >&2
    exit 2
fi
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
if [ "$device" = cuda ] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "error: torch finds no GPU here; --device cpu --small tries the script itself" >&2
    exit 2
fi

sizes=(128 256 512 1024 2048 4096) seconds=0.3 steps=20 residues=4096 minutes=5 
tests=(tests/model/attention/test_attention_kernels.py tests/model/test_on_device.py tests/commands/test_train.py)
configs=(base) precision=bf16-mixed accelerator=gpu workers=8
[ "$device" = cuda ] || { accelerator=cpu precision=32-true workers=0; }
if [ -n "$small" ]; then
    sizes=(32) seconds=0.02 steps=2 residues=64 minutes=0 configs=(tiny)
    tests=(tests/model/test_on_device.py)
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
page=$work/page.md status=0

# A heading, and what a command prints; its errors, too, if it fails.
part() {
    local title=$1 limit=$2 began=$SECONDS code=0
    shift 2
    echo "$title …" >&2
    printf '\n## %s\n\n' "$title" >>"$page"
    timeout --kill-after=10 "$limit" "$@" >"$work/part" 2>"$work/errors" || code=$?
    cat "$work/part" >>"$page"
    if [ "$code" -ne 0 ]; then
        status=1
        { printf '\n**It failed**, with status %s:\n\n```\n' "$code"; tail -n 20 "$work/errors"; printf '```\n'; } >>"$page"
    fi
    printf '\n%s seconds.\n' "$((SECONDS - began))" >>"$page"
}

# Last lines of the tests: the summary, and what failed.
run_tests() {
    "$python" -m pytest --device "$device" -p no:cacheprovider -rs "${tests[@]}" >"$work/tests" 2>&1 && code=0 || code=$?
    printf '```\n'
    tail -n 25 "$work/tests"
    printf '```\n'
    return "$code"
}

learn() {
    local stop=(--trainer.max_time "00:00:0$minutes:00" --trainer.log_every_n_steps 100)
    [ "$minutes" -gt 0 ] ||
        stop=(--trainer.max_steps 2 --trainer.log_every_n_steps 1 --data.crop_size 32 --data.budget 2048)
    "$python" -m model.train fit --config packing --data.path "$dataset" \
        --run.dir "$work/run" --trainer.accelerator "$accelerator" --trainer.devices 1 \
        --trainer.precision "$precision" --data.cache mmap --data.num_workers "$workers" \
        --model.optimizer.schedule constant --data.val_split null --data.test_split null \
        "${stop[@]}" >"$work/learned" 2>&1 && code=0 || code=$?
    printf '```\n'
    head -n 5 "$work/learned"
    echo …
    tail -n 5 "$work/learned"
    printf '```\n'
    return "$code"
}
export -f run_tests learn
export device work python dataset accelerator precision minutes workers
# Arrays are not exported; functions that `timeout` runs get them as words.
export TESTS="${tests[*]}"

{
    echo "# GPU check"
    echo
    "$python" - "$device" <<'PYTHON'
import platform
import sys

import torch

name = torch.cuda.get_device_name() if sys.argv[1] == "cuda" else platform.processor() or "a CPU"
print(f"- {name}\n- torch {torch.__version__}, Python {platform.python_version()}")
PYTHON
    echo "- $(date +%F), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)${small:+, small: these numbers say nothing}"
} >"$page"

part "Tests" 140 bash -c 'tests=($TESTS); run_tests'
part "Attention" 90 "$python" benchmarks/attention.py --device "$device" \
    --sizes "${sizes[@]}" --seconds "$seconds" --markdown
part "Training" 60 "$python" benchmarks/training.py "$dataset" --device "$device" \
    --configs "${configs[@]}" --steps "$steps" --residues "$residues" --markdown
part "Learning to pack side chains" 310 bash -c learn
printf '\n%s seconds in all.\n' "$SECONDS" >>"$page"

mv "$page" "$out"
echo "$out" >&2
exit "$status"
