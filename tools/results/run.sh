#!/usr/bin/env bash
# All comparisons that docs/results reports, from one checkpoint of a MobileNetV2 trained on ImageNet:
#
#   tools/results/run.sh mobilenet_v2.pth              crops of 161 and images of 192x256, for two CPU cores
#   SIZE=full tools/results/run.sh mobilenet_v2.pth    whole images, for one GPU
#
# It needs data/camvid and data/bccd. No small training takes more than half an hour on one core; stopped, the same
# command goes on with the one that it was at. SEEDS, JOBS, CASES and WORK (a folder) in the environment change what
# their names say.
set -euo pipefail
seed_checkpoint=${1:?"usage: $0 SEED_CHECKPOINT"}
cd "$(dirname "$0")/../.."
size=${SIZE:-small}
case $size in small | full) ;; *) echo "SIZE=$size: expected small or full" >&2; exit 1 ;; esac
read -ra seeds <<< "${SEEDS:-0 1 2}"
work=${WORK:-work_dirs/comparison/$size}
collect="python -m tools.results.collect"

ablate() {  # FOLDER SEEDS -- CONFIG... -- OPTION...
    local folder=$1 configs=() options=() own_seeds=() part=0
    shift
    for word in "$@"; do
        if [ "$word" = -- ]; then part=$((part + 1)); continue; fi
        case $part in 0) own_seeds+=("$word") ;; 1) configs+=("$word") ;; *) options+=("$word") ;; esac
    done
    python -m tools ablate "${configs[@]}" --work-dir "$folder" --seeds "${own_seeds[@]}" --jobs "${JOBS:-2}" \
        --seed-checkpoint "$seed_checkpoint" ${options[@]:+--cfg-options "${options[@]}"}
}

draw() {  # FOLDER SEED: a random architecture of what was found in the folder
    [ -e "$1/random_arch.json" ] || fna arch random $configs/search.py "$1/random_arch.json" \
        --like "$1/search/arch.json" --seed "$2"
}

lend() {  # FROM TO: what was found, to be fine-tuned in another way
    mkdir -p "$2/search"
    cp "$1/search/arch.json" "$2/search"
}

for case in ${CASES:-camvid_deeplabv3 bccd_retinanet bccd_ssdlite}; do
    configs=configs/comparison/$case/$size
    own=$work/$case
    case $case in
        camvid_deeplabv3) rates="0.01 0.02 0.05" weights="0.001 0.009" ;;
        bccd_retinanet) rates="0.005 0.01 0.02" weights="0.004 0.1" ;;
        bccd_ssdlite) rates="0.005 0.01 0.02" weights="0.01 0.2" ;;
    esac

    # The fine-tuning's learning rate, by the validation split, for the baseline alone.
    for rate in $rates; do
        ablate "$own/lr_$rate" 0 -- $configs/mobilenet_v2.py -- optim_wrapper.optimizer.lr=$rate
    done
    rate=$($collect rate "$own")

    # Search with every seed; draw a random architecture of the found one's MAdds; fine-tune all alike.
    ablate "$own/main" "${seeds[@]}" -- $configs/search.py
    for seed in "${seeds[@]}"; do
        draw "$own/main/seed_$seed" "$seed"
    done
    ablate "$own/main" "${seeds[@]}" -- $configs/{mobilenet_v2,published,found,random}.py -- optim_wrapper.optimizer.lr=$rate

    # Other weights of the cost term than the config's.
    for weight in $weights; do
        ablate "$own/lambda_$weight" "${seeds[0]}" -- $configs/search.py -- custom_hooks.0.cost.weight=$weight
        ablate "$own/lambda_$weight" "${seeds[0]}" -- $configs/found.py -- optim_wrapper.optimizer.lr=$rate
    done
    if [ $case = bccd_retinanet ]; then  # best on the validation split with the first seed: is it with the others?
        ablate "$own/lambda_0.1" "${seeds[@]}" -- $configs/search.py -- custom_hooks.0.cost.weight=0.1
        ablate "$own/lambda_0.1" "${seeds[@]}" -- $configs/found.py -- optim_wrapper.optimizer.lr=$rate
    fi

    # Other searches, to find out what matters: each with the fine-tuning of what it found.
    if [ $case != bccd_ssdlite ]; then
        ablate "$own/x_affine_false" "${seeds[@]}" -- $configs/search.py -- model.backbone.candidate_norm_cfg.affine=False
        ablate "$own/x_depth" "${seeds[@]}" -- $configs/search.py -- model.backbone.layers_per_stage=2,3,4,3,3,1
        for folder in x_affine_false x_depth; do
            ablate "$own/$folder" "${seeds[@]}" -- $configs/found.py -- optim_wrapper.optimizer.lr=$rate
        done
    fi
    if [ $case = camvid_deeplabv3 ]; then
        ablate "$own/x_sampling" "${seeds[@]}" -- $configs/search.py -- model.backbone.arch_sample_num=2
        ablate "$own/x_sampling" "${seeds[@]}" -- $configs/found.py -- optim_wrapper.optimizer.lr=$rate
    fi
    if [ $case = camvid_deeplabv3 ] && [ $size = small ]; then
        ablate "$own/x_preference" "${seeds[@]}" -- $configs/search.py \
            -- model.backbone.seed_preference=2 custom_hooks.0.optim_wrapper.optimizer.lr=0.05
        ablate "$own/x_preference" "${seeds[@]}" -- $configs/found.py -- optim_wrapper.optimizer.lr=$rate
    fi

    # Three times the epochs of search, two thirds of them before the architecture's first step, and three times the
    # images in each of its steps. The searches of full size are longer than that.
    if [ $size = small ]; then
        case $case in
            camvid_deeplabv3) quiet=(train_cfg.max_epochs=12 train_cfg.val_interval=12 param_scheduler.1.end=12
                                     custom_hooks.0.begin_epoch=8) ;;
            *) quiet=(train_cfg.max_epochs=30 train_cfg.val_interval=30 custom_hooks.0.begin_epoch=20) ;;
        esac
        ablate "$own/x_quiet" "${seeds[@]}" -- $configs/search.py -- "${quiet[@]}" custom_hooks.0.dataloader.batch_size=12
        for seed in "${seeds[@]}"; do
            draw "$own/x_quiet/seed_$seed" "1$seed"
        done
        ablate "$own/x_quiet" "${seeds[@]}" -- $configs/{found,random}.py -- optim_wrapper.optimizer.lr=$rate
    fi

    # What the longer search found, and MobileNetV2, fine-tuned as configs/camvid does it: on twice the images.
    if [ $case = camvid_deeplabv3 ] && [ $size = small ]; then
        for seed in "${seeds[@]}"; do
            lend "$own/x_quiet/seed_$seed" "$own/x_double/seed_$seed"
        done
        ablate "$own/x_double" "${seeds[@]}" -- $configs/{mobilenet_v2,found}.py -- optim_wrapper.optimizer.lr=$rate \
            train_dataloader.batch_size=8 train_cfg.val_interval=200 param_scheduler.0.end=50 param_scheduler.1.begin=50
    fi

    # Three times the fine-tuning, of the same architectures.
    case $case-$size in
        camvid_deeplabv3-small) longer=(train_cfg.max_iters=1200 train_cfg.val_interval=300 param_scheduler.1.end=1200) ;;
        bccd_retinanet-small) longer=(train_cfg.max_epochs=24 train_cfg.val_interval=6 param_scheduler.1.end=24
                                      "param_scheduler.1.milestones=[18,21]") ;;
        *) longer=() ;;
    esac
    if [ ${#longer[@]} -gt 0 ]; then
        for seed in "${seeds[@]}"; do
            lend "$own/main/seed_$seed" "$own/x_long/seed_$seed"
            cp "$own/main/seed_$seed/random_arch.json" "$own/x_long/seed_$seed"
        done
        ablate "$own/x_long" "${seeds[@]}" -- $configs/{mobilenet_v2,published,found,random}.py \
            -- optim_wrapper.optimizer.lr=$rate "${longer[@]}"
    fi

    # The paper's table 5: remapping for the search, for the fine-tuning, for neither.
    if [ $case = camvid_deeplabv3 ]; then
        ablate "$own/expansion_random" "${seeds[@]}" -- $configs/search.py -- model.backbone.init_cfg=None
        ablate "$own/expansion_random" "${seeds[@]}" -- $configs/found.py -- optim_wrapper.optimizer.lr=$rate
        for seed in "${seeds[@]}"; do
            for expansion in main expansion_random; do
                lend "$own/$expansion/seed_$seed" "$own/${expansion}_adaptation_random/seed_$seed"
            done
        done
        for expansion in main expansion_random; do
            ablate "$own/${expansion}_adaptation_random" "${seeds[@]}" -- $configs/found.py \
                -- optim_wrapper.optimizer.lr=$rate model.backbone.init_cfg=None
        done
    fi
done
$collect results "$work" docs/results "$size"
