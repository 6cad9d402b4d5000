#!/usr/bin/env bash
# The complete pipeline in small, on 120 embedded photographs: both encoders, features, regressor, scores. See README.md.
set -euo pipefail
cd "$(dirname "$0")"
folder=${1:-demo}

say() { printf '\n== %s\n' "$*"; }
newest() { ls -td "$1"/*/ | head -1; }

photographs=sample_data/clive

# The encoders are trained again, so features of earlier encoders are removed.
rm -rf "$folder"/feats_*

say "1. Score 120 photographs with the embedded model, and compare the scores with people's opinions"
echo "The embedded regressor was fitted on these photographs too, so this agreement is better than on new ones."
python predict_quality.py --input $photographs/mos.csv --labels $photographs/mos.csv --output "$folder/scores.csv"

say "2. Draw the 26 distortions at 5 levels, which a quality-aware encoder learns to tell apart"
python -m datasets.distortions $photographs/images/1021.webp --sheet "$folder/distortions.png"

say "3. Train a small quality-aware encoder without labels, on the photographs (about a minute on two cores)"
python -m datasets.training_csv --all $photographs/images "$folder/train.csv"
python main_contrast.py --method MoCov2 --cosine --csv_path "$folder/train.csv" --optimizer LARS --learning_rate 4 \
  --arch resnet18 --patch_size 48 --n_aug 5 --n_scale 2 --batch_size 8 --nce_k 1024 --epochs 3 --save_freq 3 \
  --model_path "$folder/quality_aware" --tb_path "$folder/quality_aware"
quality=$(newest "$folder/quality_aware")

say "4. Train a small content-aware encoder (half a minute)"
python main_contrast.py --method MoCov2 --cosine --data_folder $photographs/images --optimizer LARS --learning_rate 4 \
  --arch resnet18 --patch_size 64 --batch_size 16 --nce_k 256 --epochs 5 --save_freq 5 \
  --model_path "$folder/content_aware" --tb_path "$folder/content_aware"
content=$(newest "$folder/content_aware")

say "5. Compute the features of the 120 photographs with both encoders; each file is decoded once"
python demo_quality_aware_feats.py --head mlp --ckpt "${quality}current.pth" --both \
  --other_ckpt "${content}current.pth" --input $photographs/mos.csv --output_dir "$folder"

say "6. Fit a regressor on people's opinions, and evaluate it on photographs that it was not fitted on"
python train_regressor.py --features "$folder" --scores $photographs/mos.csv --images $photographs \
  --estimator ridge --n_bootstrap 200 --output "$folder/regressor.skops" \
  --note "A minute of training and 84 photographs to fit on: this shows the steps, not the quality of the method."

say "7. Score photographs with the new encoders and the new regressor"
python predict_quality.py --regressor "$folder/regressor.skops" --quality_ckpt "${quality}current.pth" \
  --content_ckpt "${content}current.pth" --input "$photographs/images/11*.webp"

say "Done"
cat <<EOF
checkpoints         ${quality}current.pth
                    ${content}current.pth
TensorBoard logs    tensorboard --logdir $folder   (in .venv/bin)
distortions         $folder/distortions.png
features            $folder/feats_quality_aware/  $folder/feats_content_aware/
regressor           $folder/regressor.skops (and .safetensors, .json, .held_out.csv)
report              $folder/regressor.html   (open it in a browser)
scores              $folder/scores.csv   (of the embedded model)

Next: train on your own images. docs/training.md says how, for one machine and for many.
EOF
