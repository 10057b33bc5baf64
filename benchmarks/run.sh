#!/bin/sh
# Speed and memory, beside the peers, which go into a folder of their own, without what they would pull in.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
peers="$(dirname "$here")/.bench"
[ -d "$peers/quantus" ] || "$PYTHON" -m pip install --quiet --no-deps --upgrade --target "$peers" \
  grad-cam==1.5.7 ttach==0.0.3 saliency==0.2.1 quantus==0.6.0 torchxrayvision==1.5.7 requests==2.34.2
export OMP_NUM_THREADS=1
echo "== scoring"; "$PYTHON" "$here/scoring.py"
echo "== Grad-CAM"; PYTHONPATH="$peers" "$PYTHON" "$here/grad_cam.py"
echo "== phantom"; "$PYTHON" "$here/phantom.py"
echo "== start-up"; "$PYTHON" "$here/startup.py"
echo "== memory"; "$PYTHON" "$here/memory.py"
echo "== CheXlocalize, end to end"; "$PYTHON" "$here/public_scripts.py"
echo "== Methods: speed"; PYTHONPATH="$peers" "$PYTHON" "$here/methods.py"
echo "== Methods: agreement"; PYTHONPATH="$peers" "$PYTHON" "$here/oracles.py"
echo "== Methods: memory"; "$PYTHON" "$here/methods_memory.py"
echo "== Methods: agreement, trained networks"; PYTHONPATH="$peers" "$PYTHON" "$here/oracles.py" trained
echo "== Trust"; PYTHONPATH="$peers" "$PYTHON" "$here/trust.py"
echo "== Gaze"; "$PYTHON" "$here/gaze.py"
echo "== Contrastive pre-training"; "$PYTHON" "$here/pretraining.py"
echo "== Viewer"; "$PYTHON" "$here/viewer.py"
echo "== Readers"; "$PYTHON" "$here/readers.py"
echo "== Self-explaining"; "$PYTHON" "$here/selfexplain.py"
