#!/usr/bin/env bash
# The complete pipeline in small, on embedded images: both encoders, features, regressor, scores. See README.md.
set -euo pipefail
cd "$(dirname "$0")"
folder=${1:-demo}

say() { printf '\n== %s\n' "$*"; }
newest() { ls -td "$1"/*/ | head -1; }

# The encoders are trained again, so features of earlier encoders are removed.
rm -rf "$folder"/feats_* "$folder"/scored "$folder"/new

say "1. Write the embedded images: 62 dead-leaves images and two photographs"
python -m datasets.sample_images "$folder/images"
python -m datasets.training_csv --all "$folder/images" "$folder/train.csv"

say "2. Draw the 26 distortions at 5 levels, which the quality-aware encoder learns to tell apart"
python -m datasets.distortions "$folder/images/photo_china.png" --sheet "$folder/distortions.png"

say "3. Train a small quality-aware encoder without labels (about a minute on two cores)"
python main_contrast.py --method MoCov2 --cosine --csv_path "$folder/train.csv" --optimizer LARS --learning_rate 4 \
  --arch resnet18 --patch_size 48 --n_aug 5 --n_scale 2 --batch_size 8 --nce_k 1024 --epochs 6 --save_freq 6 \
  --model_path "$folder/quality_aware" --tb_path "$folder/quality_aware"
quality=$(newest "$folder/quality_aware")

say "4. Train a small content-aware encoder (half a minute)"
python main_contrast.py --method MoCov2 --cosine --data_folder "$folder/images" --optimizer LARS --learning_rate 4 \
  --arch resnet18 --patch_size 64 --batch_size 16 --nce_k 256 --epochs 10 --save_freq 10 \
  --model_path "$folder/content_aware" --tb_path "$folder/content_aware"
content=$(newest "$folder/content_aware")

say "5. Compute the features of every image with both encoders; each file is decoded once"
encoders=(--arch resnet18 --ckpt "${quality}current.pth" --both --other_ckpt "${content}current.pth")
python demo_quality_aware_feats.py --head mlp "${encoders[@]}" --input "$folder/images" --output_dir "$folder"

say "6. Write distorted images with scores: the level of distortion replaces the opinions of people"
python -m datasets.sample_scores "$folder/scored"
python demo_quality_aware_feats.py --head mlp "${encoders[@]}" --input "$folder/scored" --output_dir "$folder/scored"

say "7. Fit a regressor from features to scores, and evaluate it on scenes that it was not fitted on"
python train_regressor.py --features "$folder/scored" --scores "$folder/scored/scores.csv" \
  --output "$folder/regressor.skops" \
  --note "The scores here are levels of distortion, not opinions of people. They show that the pipeline works, not how good it is."

say "8. Score images of new scenes, and compare the scores with the levels of distortion"
python -m datasets.sample_scores "$folder/new" --n_dead_leaves 3 --no_photographs --seed 2
python predict_quality.py --arch resnet18 --regressor "$folder/regressor.skops" --quality_ckpt "${quality}current.pth" \
  --content_ckpt "${content}current.pth" --input "$folder/new" --output "$folder/scores.csv" \
  --labels "$folder/new/scores.csv"

say "Done"
cat <<EOF
checkpoints         ${quality}current.pth
                    ${content}current.pth
TensorBoard logs    tensorboard --logdir $folder   (in .venv/bin)
distortions         $folder/distortions.png
features            $folder/feats_quality_aware/  $folder/feats_content_aware/
regressor           $folder/regressor.skops and .json
report              $folder/regressor.html   (open it in a browser)
scores              $folder/scores.csv   (levels of distortion, not opinions of people)

Next: train on your own images. docs/training.md says how, for one machine and for many.
EOF
