#!/usr/bin/env bash
# The main job in small, on the embedded images: images -> training CSV -> quality-aware encoder. See the README.
set -euo pipefail
cd "$(dirname "$0")"
folder=${1:-demo}

say() { printf '\n== %s\n' "$*"; }

say "1. The embedded images: dead leaves and two photographs"
python -m datasets.sample_images "$folder/images"
python -m datasets.training_csv --all "$folder/images" "$folder/train.csv"

say "2. What the encoder learns to tell apart: 26 distortions at 5 levels"
python -m datasets.distortions "$folder/images/photo_china.png" --sheet "$folder/distortions.png"

say "3. A small quality-aware encoder, trained without labels (a minute or two on two cores)"
python main_contrast.py --method MoCov2 --cosine --csv_path "$folder/train.csv" \
  --arch resnet18 --patch_size 48 --n_aug 5 --n_scale 2 --batch_size 8 --nce_k 1024 --alpha 0.99 \
  --epochs 8 --learning_rate 0.1 --save_freq 8 --model_path "$folder/quality_aware" --tb_path "$folder/quality_aware"

run=$(ls -d "$folder"/quality_aware/*/)
say "Done"
cat <<EOF
checkpoint          ${run}current.pth
TensorBoard log     tensorboard --logdir $folder/quality_aware   (in .venv/bin)
the distortions     $folder/distortions.png

Next: train on images of your own; the README says how, for one machine and for many.
EOF
