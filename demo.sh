#!/usr/bin/env bash
# The complete pipeline in small: both encoders, features, regressor, scores. `bash demo.sh FOLDER [CLIVE]`; see README.md.
# The images are two photographs of scikit-learn and distorted versions of them; CLIVE is the folder where LIVE In the
# Wild was unpacked (with Data/ and Images/), if its photographs and people's opinions are to be used instead.
set -euo pipefail
cd "$(dirname "$0")"
folder=${1:-demo} clive=${2:-}

say() { printf '\n== %s\n' "$*"; }
newest() { ls -td "$1"/*/ | head -1; }

if [ -n "$clive" ] && ! { [ -f "$clive/Data/AllMOS_release.mat" ] && [ -d "$clive/Images" ]; }; then
  echo "CLIVE=$clive lacks Data/AllMOS_release.mat or Images/: give the folder where LIVE In the Wild was unpacked" >&2
  exit 2
fi

# The encoders are trained again, so features of earlier encoders are removed.
rm -rf "$folder"/feats_* "$folder/photographs" "$folder/distorted" "$folder/parts" "$folder/labelled" "$folder/clive"

say "1. Write the images"
python - "$folder" "$clive" << 'EOF'
import shutil, sys
from pathlib import Path
from PIL import Image
from sklearn.datasets import load_sample_images
from datasets.opinions.databases import read_database

folder, clive = Path(sys.argv[1]), sys.argv[2]
for name in ("photographs", "parts"):
    (folder / name).mkdir(parents=True)
photographs = load_sample_images()
for path, pixels in zip(photographs.filenames, photographs.images):
    name = Path(path).stem
    Image.fromarray(pixels).save(folder / "photographs" / f"{name}.png")
    for top in range(0, 427 - 141, 142):
        for left in range(0, 640, 160):
            part = Image.fromarray(pixels[top : top + 142, left : left + 160])
            part.save(folder / "parts" / f"{name}_{top}_{left}.png")
if clive:  # 120 photographs, evenly spaced in the ranking of their scores
    table = read_database("clive", clive).table.sort_values("mos", kind="stable", ignore_index=True)
    table = table.iloc[[round(row * (len(table) - 1) / 119) for row in range(120)]]
    (folder / "clive" / "Images").mkdir(parents=True)
    for image in table["image"]:
        shutil.copy(Path(clive) / "Images" / image, folder / "clive" / "Images" / image)
    table.assign(image="Images/" + table["image"])[["image", "mos"]].to_csv(folder / "clive" / "mos.csv", index=False)
EOF
python -m datasets.weak_labels "$folder/photographs" "$folder/distorted" --distorted 30
if [ -n "$clive" ]; then
  photographs=$folder/clive/Images labelled=$folder/clive scored=$folder/clive
  labels="people's opinions" n_quality=3 n_content=5
else
  photographs=$folder/parts labelled=$folder/labelled scored=$folder/distorted
  labels="weak labels, which no person gave" n_quality=15 n_content=25  # epochs: few photographs
  python -m datasets.weak_labels "$photographs" "$labelled" --distorted 216
fi

say "2. Score photographs with the embedded model, and compare the scores with $labels"
[ -z "$clive" ] || echo "The embedded regressor was fitted on half of CLIVE, so this agreement is better than on new photographs."
python predict_quality.py --input "$scored/mos.csv" --labels "$scored/mos.csv" --map "$folder/maps" \
  --output "$folder/scores.html"

say "3. Draw the 26 distortions at 5 levels, which a quality-aware encoder learns to tell apart"
python -m datasets.distortions "$folder/photographs/china.png" --sheet "$folder/distortions.png"

say "4. Train a small quality-aware encoder without labels, on the photographs (about a minute on two cores)"
python -m datasets.training_csv --all "$photographs" "$folder/train.csv"
python main_contrast.py --method MoCov2 --cosine --csv_path "$folder/train.csv" --optimizer LARS --learning_rate 4 \
  --arch resnet18 --patch_size 48 --n_aug 5 --n_scale 2 --batch_size 8 --nce_k 1024 --epochs $n_quality --save_freq $n_quality \
  --model_path "$folder/quality_aware" --tb_path "$folder/quality_aware"
quality=$(newest "$folder/quality_aware")

say "5. Train a small content-aware encoder (half a minute)"
python main_contrast.py --method MoCov2 --cosine --data_folder "$photographs" --optimizer LARS --learning_rate 4 \
  --arch resnet18 --patch_size 64 --batch_size 16 --nce_k 256 --epochs $n_content --save_freq $n_content \
  --model_path "$folder/content_aware" --tb_path "$folder/content_aware"
content=$(newest "$folder/content_aware")

say "6. Compute the features of the labelled images with both encoders; each file is decoded once"
python demo_quality_aware_feats.py --head mlp --ckpt "${quality}current.pth" --both \
  --other_ckpt "${content}current.pth" --input "$labelled/mos.csv" --output_dir "$folder"

say "7. Fit a regressor on $labels, and evaluate it on images that it was not fitted on"
python train_regressor.py --features "$folder" --scores "$labelled/mos.csv" --images "$labelled" \
  --estimator ridge --n_bootstrap 200 --output "$folder/regressor.skops" \
  --note "This shows the steps, not the quality of the method: a minute of training, and few images. It learned $labels."

say "8. Score the two photographs and distorted versions with the new encoders and the new regressor"
python predict_quality.py --regressor "$folder/regressor.skops" --quality_ckpt "${quality}current.pth" \
  --content_ckpt "${content}current.pth" --input "$folder/distorted"

say "Done"
cat << EOF
checkpoints         ${quality}current.pth
                    ${content}current.pth
TensorBoard logs    tensorboard --logdir $folder   (in .venv/bin)
distortions         $folder/distortions.png
features            $folder/feats_quality_aware/  $folder/feats_content_aware/
regressor           $folder/regressor.skops (and .safetensors, .json, .held_out.csv)
report              $folder/regressor.html   (open it in a browser)
scores              $folder/scores.html   (of the embedded model, with maps of local quality)

The new regressor learned $labels.
Next: train on your own images. docs/training.md says how, for one machine and for many.
EOF
