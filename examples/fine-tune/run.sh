#!/usr/bin/env bash
# Fine-tune MSI-Net on your own dataset, and score the weights before and after.
#
#   run.sh                                      everything on generated images, offline
#   run.sh --data DIR --init published:salicon  on a real dataset, from the published weights
#
# --work DIR is the output folder (default fine-tune-work); other options go to `train`.
# The device is MSINET_DEVICE, else the first one available.
set -euo pipefail

work=fine-tune-work data='' init='' more=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --data) data=$2 && shift 2 ;;
        --init) init=$2 && shift 2 ;;
        --work) work=$2 && shift 2 ;;
        *) more+=("$1") && shift ;;
    esac
done

if [[ -z $data && -z $init ]]; then
    # A narrow network (390,473 parameters) replaces the published one, generated images SALICON.
    msinet-run data demo "$work/general" --train 40 --valid 10 --image-size 96x128
    msinet-run train --data "$work/general" --run "$work/base" --init random --width 0.125 \
        --image-size 96x128 --epochs 4 --batch-size 4 --learning-rate 1e-3
    msinet-run data demo "$work/own" --train 40 --valid 10 --image-size 96x128 --seed 11
    data=$work/own init=$work/base/checkpoints/best.msinet.h5
    more=(--image-size 96x128 --epochs 4 --batch-size 4 --learning-rate 3e-4 ${more[@]+"${more[@]}"})
elif [[ -z $data || -z $init ]]; then
    echo "use --data and --init together, or neither" >&2
    exit 2
fi

msinet-run data check "$data"
msinet-run evaluate --data "$data" --weights "$init" --out "$work/before.csv"
msinet-run train --data "$data" --run "$work/run" --init "$init" ${more[@]+"${more[@]}"}
msinet-run evaluate --data "$data" --weights "$work/run/checkpoints/best.msinet.h5" --out "$work/after.csv"
