#!/usr/bin/env bash
# Submit a training job to Vertex AI.
#
#   submit.sh JOB DATA RUN      JOB: t4, a100 or v5e, the job file beside this script
#
# DATA is the path of the dataset in the bucket, RUN a name for the run. An existing run is resumed.
# PROJECT, REGION and BUCKET come from the environment.
set -euo pipefail

if [[ $# -ne 3 ]]; then
    echo "Usage: submit.sh t4|a100|v5e DATA RUN" >&2
    exit 2
fi
job=$1 data=$2 run=$3
for value in "${PROJECT:?Set PROJECT}" "${REGION:?Set REGION}" "${BUCKET:?Set BUCKET}" "$data" "$run"; do
    if [[ ! $value =~ ^[A-Za-z0-9._/:-]+$ ]]; then
        echo "'$value' may only contain letters, digits and . _ / : -" >&2
        exit 2
    fi
done

config=$(mktemp)
trap 'rm -f "$config"' EXIT
sed -e "s|IMAGES|$REGION-docker.pkg.dev/$PROJECT/msinet|" -e "s|BUCKET|$BUCKET|" \
    -e "s|DATA|$data|" -e "s|RUN|$run|" "$(dirname "$0")/$job.yaml" | grep -v '^#' >"$config"
gcloud ai custom-jobs create --project="$PROJECT" --region="$REGION" \
    --display-name="msinet-$run" --config="$config"
