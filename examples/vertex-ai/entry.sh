#!/usr/bin/env bash
# Train in a container that may be stopped at any time, and keep the run in a bucket.
#
#   entry.sh DATA RUN [options of `msinet-run train`]
#
# DATA is a dataset (a folder, or a .tar of its contents) and RUN the run folder, both usually under
# /gcs/BUCKET. An existing run is resumed.
#
# Training uses the local disk, and the run is copied: a Cloud Storage FUSE mount has no file locks,
# uploads a whole file again for each line appended to it, and is slow with many small files.
set -euo pipefail

data=$(realpath "$1") bucket=$(realpath -m "$2")
shift 2
name=$(basename "$data" .tar)
disk=${MSINET_DISK:-/tmp/msinet}
run=$disk/run
every=${MSINET_COPY_SECONDS:-60}

# In the order in which they appear in the bucket, so that its contents can always be resumed and the
# best weights are never older than the checkpoint that refers to them.
files=(config.toml checkpoints/best.msinet.h5 history.csv steps.csv curve.png log.txt
    checkpoints/latest.msinet.h5)

fetch_data() {
    if [[ ! -d $disk/data/$name ]]; then
        rm -rf "$disk/incoming"
        mkdir -p "$disk/incoming" "$disk/data"
        if [[ -f $data ]]; then tar -xf "$data" -C "$disk/incoming"; else cp -r "$data/." "$disk/incoming"; fi
        mv "$disk/incoming" "$disk/data/$name"
    fi
}

fetch_run() {
    local file
    mkdir -p "$run/checkpoints"
    for file in "${files[@]}"; do
        if [[ -f $bucket/$file ]]; then cp "$bucket/$file" "$run/$file"; fi
    done
}

# Copy what has changed. A kill during cp leaves half a file, so files are renamed when all are copied;
# a checkpoint is copied before the best weights that belong to it.
store_run() {
    local file index changed=()
    mkdir -p "$bucket/checkpoints" "$disk/stored/checkpoints"
    for ((index = ${#files[@]} - 1; index >= 0; index--)); do
        file=${files[index]}
        if [[ -f $run/$file && (! -f $disk/stored/$file || $run/$file -nt $disk/stored/$file) ]]; then
            touch -r "$run/$file" "$disk/stored/$file.new"
            cp "$run/$file" "$bucket/$file.part" || return 1
            changed=("$file" "${changed[@]}")
        fi
    done
    for file in "${changed[@]}"; do
        mv -f "$bucket/$file.part" "$bucket/$file" || return 1
        mv -f "$disk/stored/$file.new" "$disk/stored/$file"
    done
}

msinet-run devices
fetch_data
resume=()
rm -rf "$run" "$disk/stored" # left by a stopped container; only the bucket counts
if [[ -f $bucket/config.toml ]]; then
    echo "Resuming the run in $bucket."
    fetch_run
    resume=(--resume)
fi

# A run stores the name of its data, so it resumes wherever a folder has that name.
cd "$disk/data"
msinet-run train --data "$name" --run "$run" "${resume[@]}" "$@" &
training=$!
trap 'kill -TERM "$training" 2>/dev/null || true' TERM INT
next=$((SECONDS + every))
while kill -0 "$training" 2>/dev/null; do
    sleep 1
    if ((SECONDS >= next)); then
        store_run || echo "Could not copy the run to $bucket; retrying." >&2
        next=$((SECONDS + every))
    fi
done
status=0
wait "$training" || status=$?
store_run
exit "$status"
