#!/usr/bin/env bash
# A dataset by an array job of Slurm: one plan, N tasks, one end.
#
#     bash slurm-build.sh INPUT OUTPUT [TASKS] [options of pipeline.build ...]
#
# INPUT and OUTPUT are on a file system that every node sees, or in an object store. Set what your
# cluster wants (account, partition, environment) as SBATCH_ACCOUNT, SBATCH_PARTITION and so on.
set -euo pipefail
input=$1 output=$2 tasks=${3:-16}
shift $(($# < 3 ? $# : 3))

# Searches the input, which may take minutes: here, or in a job of its own.
python -m pipeline.build --pdb-dir "$input" --out-dir "$output" --plan "$@"

out=$(printf %q "$output")
# A task takes as many processes as Slurm gives it cores, and ends with status 1 if a file failed.
array=$(sbatch --parsable --job-name=build --array=0-$((tasks - 1)) \
    --cpus-per-task=8 --mem=16G --time=12:00:00 --requeue \
    --wrap="python -m pipeline.build --out-dir $out --quiet --part \$SLURM_ARRAY_TASK_ID/$tasks")

# Whatever became of the tasks: if parts are missing, this names them and the lines to run again.
sbatch --parsable --job-name=finalise --dependency="afterany:$array" --mem=16G --time=2:00:00 \
    --wrap="python -m pipeline.build --out-dir $out --finalise --allow-failures 1000000"
