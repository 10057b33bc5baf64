#!/bin/sh
# Speed and memory, beside the peers. The peers get an environment of their own: grad-cam pulls another build of opencv.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
peers="$root/.bench"
if [ ! -e "$peers/.installed" ]; then
  "$PYTHON" -m venv --system-site-packages "$peers"
  cp "$root"/.venv/lib/python3*/site-packages/*.pth "$peers"/lib/python3*/site-packages/ 2>/dev/null || true
  "$root/.venv/bin/python" -c "import site; print(site.getsitepackages()[0])" > "$peers/lib/$("$PYTHON" -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}")')/site-packages/sightline-venv.pth"
  "$peers/bin/python" -m pip install --quiet --no-deps grad-cam==1.5.7 ttach==0.0.3
  touch "$peers/.installed"
fi
export OMP_NUM_THREADS=1
echo "== scoring"; "$PYTHON" "$here/scoring.py"
echo "== Grad-CAM"; "$peers/bin/python" "$here/grad_cam.py"
echo "== phantom"; "$PYTHON" "$here/phantom.py"
echo "== memory"; "$PYTHON" "$here/memory.py"
echo "== start-up"; "$PYTHON" "$here/startup.py"
