#!/usr/bin/env bash
# Makes the embedded model clive again: training list -> quality-aware encoder -> weak labels -> features -> regressor.
# MODEL_CARD.md describes it, and how the content-aware encoder and the model biq2021 are made.
#
#   models/make.sh TRAINING_PHOTOGRAPHS CLIVE WORK_FOLDER [STEP]
#
# TRAINING_PHOTOGRAPHS is a folder of images, at any depth. CLIVE is a folder that holds mos.csv (image, mos) and its
# photographs. All results are written into WORK_FOLDER; copy quality_aware_r18.safetensors, clive.json and
# clive.safetensors from there to models/. STEP is where to begin: list, encoder, export, labels, features or
# regressor. WEAK names other undistorted photographs for the weak labels than TRAINING_PHOTOGRAPHS: a folder, or a list.
#
# A step whose result exists is skipped, and an interrupted training or extraction is resumed, so the same command
# finishes the work after an interruption. To fit only the regressor to an encoder that exists already, copy the encoder
# to WORK_FOLDER/quality_aware_r18.safetensors and begin at "labels".
set -euo pipefail
if [ $# -lt 3 ] || [ $# -gt 4 ]; then
  sed -n '2,/^set/{/^set/d;s/^#\( \|$\)//;p}' "$0" >&2
  exit 2
fi
photographs=$(realpath -m "$1") clive=$(realpath "$2") work=$(realpath -m "$3") first=${4:-list}
steps="list encoder export labels features regressor"
[[ " $steps " == *" $first "* ]] || { echo "make.sh: unknown step $first; the steps are $steps" >&2; exit 2; }
weak=$(realpath -m "${WEAK:-$1}")
cd "$(dirname "$0")/.."
has_torch() { python -c 'import importlib.util as util, sys; sys.exit(not util.find_spec("torch"))' 2> /dev/null; }
has_torch || PATH=$PWD/.venv/bin:$PATH
has_torch || { echo "make.sh: python has no torch; run make .venv/installed, or activate an environment" >&2; exit 2; }
mkdir -p "$work"

say() { printf '\n== %s\n' "$*"; }
# Whether a step is to be done: it is not before the first one, and its result does not exist.
due() {
  local list=" $steps "
  [[ "${list%%" $1 "*} " == *" $first "* || $1 == "$first" ]] || return 1
  if [ -n "${2:-}" ] && [ -e "$2" ]; then say "$1: $2 exists already"; return 1; fi
  say "$1"
}
encoder=$work/quality_aware_r18.safetensors

if due list "$work/train.csv"; then
  python -m datasets.training_csv --all "$photographs" "$work/train.csv"
fi
if due encoder "$encoder"; then
  python main_contrast.py --method MoCov2 --cosine --schedule step --csv_path "$work/train.csv" --arch resnet18 \
    --patch_size 64 --n_aug 11 --n_scale 2 --batch_size 8 --nce_k 8192 --alpha 0.99 --optimizer AdamW \
    --learning_rate 1e-3 --epochs 6 --negatives queue+batch --level_weight 0.3 --amp -j 0 --resume auto --save_steps 50 \
    --model_path "$work/training" --tb_path "$work/training"
fi
if due export "$encoder"; then
  runs=("$work"/training/*/current.pth)
  if [ ${#runs[@]} -ne 1 ] || [ ! -e "${runs[0]}" ]; then
    echo "make.sh: $work/training must hold one run with a current.pth" >&2
    exit 1
  fi
  python -m networks.checkpoints "${runs[0]}" --export "$encoder" --float16
fi
if due labels "$work/weak/mos.csv"; then
  python -m datasets.weak_labels "$weak" "$work/weak"
fi
if due features; then
  python demo_quality_aware_feats.py --ckpt "$encoder" --pooling stages_differences \
    --input "$clive/mos.csv" "$work/weak/mos.csv" --output_dir "$work/features"
  python demo_content_aware_feats.py --ckpt models/content_aware_lite0.safetensors --pooling stages_mean_std \
    --input "$clive/mos.csv" "$work/weak/mos.csv" --output_dir "$work/features"
fi
if due regressor; then
  # By relative paths, because the description of the regressor holds them as they are named here.
  script=$PWD/train_regressor.py
  ln -sfn "$clive" "$work/clive_half"
  (cd "$work" && python "$script" --features features --scores clive_half/mos.csv --also_train weak/mos.csv \
    --scale 0,100 --output clive.skops --estimator ridge --standardize yes --n_splits 20 --no_report)
fi
