#!/usr/bin/env bash
# The main job in small, on the embedded images: images -> both encoders -> features of every image. See the README.
set -euo pipefail
cd "$(dirname "$0")"
folder=${1:-demo}

say() { printf '\n== %s\n' "$*"; }
newest() { ls -td "$1"/*/ | head -1; }

say "1. The embedded images: dead leaves and two photographs"
python -m datasets.sample_images "$folder/images"
python -m datasets.training_csv --all "$folder/images" "$folder/train.csv"

say "2. What the quality-aware encoder learns to tell apart: 26 distortions at 5 levels"
python -m datasets.distortions "$folder/images/photo_china.png" --sheet "$folder/distortions.png"

say "3. A small quality-aware encoder, trained without labels (about a minute on two cores)"
python main_contrast.py --method MoCov2 --cosine --csv_path "$folder/train.csv" --optimizer LARS --learning_rate 4 \
  --arch resnet18 --patch_size 48 --n_aug 5 --n_scale 2 --batch_size 8 --nce_k 1024 --epochs 6 --save_freq 6 \
  --model_path "$folder/quality_aware" --tb_path "$folder/quality_aware"
quality=$(newest "$folder/quality_aware")

say "4. A small content-aware encoder (half a minute)"
python main_contrast.py --method MoCov2 --cosine --data_folder "$folder/images" --optimizer LARS --learning_rate 4 \
  --arch resnet18 --patch_size 64 --batch_size 16 --nce_k 256 --epochs 10 --save_freq 10 \
  --model_path "$folder/content_aware" --tb_path "$folder/content_aware"
content=$(newest "$folder/content_aware")

say "5. Features of every image from both, each file decoded once"
python demo_quality_aware_feats.py --head mlp --arch resnet18 --ckpt "${quality}current.pth" --input "$folder/images" \
  --output_dir "$folder" --both --other_ckpt "${content}current.pth" --overwrite

say "Done"
cat <<EOF
checkpoints         ${quality}current.pth
                    ${content}current.pth
TensorBoard logs    tensorboard --logdir $folder   (in .venv/bin)
the distortions     $folder/distortions.png
features            $folder/feats_quality_aware/  $folder/feats_content_aware/

Next: train on images of your own; the README says how, for one machine and for many.
EOF
