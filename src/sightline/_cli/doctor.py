"""`sightline doctor`: checks of packages, the machine, fast code paths, external programs and data sets."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console
from rich.markup import escape

from sightline.data import open_dataset
from sightline.errors import SightlineError
from sightline.findings import CHEXLOCALIZE_FINDINGS

CheckStatus = Literal["ok", "absent", "MISSING", "LOW"]


class Check(NamedTuple):
    """Result of one check. The status `MISSING` or `LOW` makes the exit code 1."""

    status: CheckStatus
    name: str
    message: str


_NEEDED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "scikit-image": "skimage",
    "pycocotools": "pycocotools",
    "pydicom": "pydicom",
    "nibabel": "nibabel",
    "zarr": "zarr",
    "matplotlib": "matplotlib",
    "fastapi": "fastapi",
    "sqlalchemy": "sqlalchemy",
}
"""Required distributions, and the module that each provides."""
_EXTRAS = (
    ("pylibjpeg-openjpeg", "openjpeg", "pip install pylibjpeg-openjpeg", "JPEG 2000 in DICOM"),
    ("python-gdcm", "gdcm", "pip install python-gdcm", "JPEG lossless and JPEG-LS in DICOM"),
    ("torch", "torch", "pip install 'sightline[torch]'", "training and explaining; scoring needs none"),
    ("torchvision", "torchvision", "pip install 'sightline[torch]'", "networks"),
    ("timm", "timm", "pip install 'sightline[torch]'", "Inception-v4, vision transformers"),
    ("torchxrayvision", "torchxrayvision", "pip install 'sightline[xrv]'", "its chest X-ray models"),
    ("transformers", "transformers", "pip install 'sightline[text]'", "text encoders"),
    ("lightning-fabric", "lightning_fabric", "pip install 'sightline[fabric]'", "training on several devices"),
    ("highdicom", "highdicom", "pip install 'sightline[dicom]'", "DICOM export"),
    ("mlflow-skinny", "mlflow", "pip install 'sightline[mlflow]'", "logging of runs"),
    ("pg8000", "pg8000", "pip install 'sightline[postgres]'", "reader studies in PostgreSQL"),
)
"""(distribution, module, command that installs it, purpose)."""
_PROGRAMS = (
    (("chromium", "chromium-browser"), "tests in a browser", "apt-get install chromium"),
    (("initdb", "/usr/lib/postgresql/*/bin/initdb"), "tests against PostgreSQL", "apt-get install postgresql"),
    (("dciodvfy",), "validates DICOM objects", "apt-get install dicom3tools"),
)
_LAYOUTS = (
    ("CheXlocalize/gt_*_val.json", "chexlocalize"),
    ("stage_2_train_labels.csv", "rsna"),
    ("train-rle.csv", "siim"),
    ("Data_Entry_2017*.csv", "nih"),
    ("annotations_train.csv", "vindr"),
    ("mimic-cxr-2.0.0-metadata.csv*", "mimic"),
    ("master_sheet.csv", "egd"),
    ("train.csv", "chexpert"),
    ("masks", "folder"),
)
"""(pattern of a file in the folder of a data set, loader); the first match counts."""


def doctor(*, data: tuple[str, ...] = ()) -> int:
    """Show which packages, devices, fast code paths, programs and data sets are available.

    The exit code is 0 if all required packages are installed and every named data set can be read.

    Parameters
    ----------
    data
        Data sets to open, as NAME:PATH; by default those in $SIGHTLINE_DATA, ./data, ~/data and /data.
    """
    console, has_problem = Console(), False
    sections = {
        "Packages": check_packages(),
        "Extras": check_extras(),
        "Machine": check_machine(),
        "Fast paths": check_fast_paths(),
        "Programs for tests": check_programs(),
        "Data": _check_named_datasets(data) if data else find_datasets(),
    }
    width = min(console.width, 100) if sys.stdout.isatty() or "COLUMNS" in os.environ else 100
    for title, checks in sections.items():
        console.print(f"[bold]{title}[/]")
        for check in checks:
            has_problem |= check.status in ("MISSING", "LOW")
            console.print(_format_check(check, width), soft_wrap=True, highlight=False)
    return int(has_problem)


def _format_check(check: Check, width: int) -> str:
    """Return status, name and message, which is wrapped in a column, or below a long name."""
    style = {"ok": "green", "absent": "yellow"}.get(check.status, "bold red")
    is_long = len(check.name) > 18
    indent = 11 if is_long else 30
    wrapped = textwrap.wrap(check.message, width - indent, break_long_words=False, break_on_hyphens=False)
    lines = ([""] if is_long else []) + [escape(line) for line in wrapped]
    start = f"  [{style}]{check.status:9}[/]{escape(check.name):19}".rstrip(" " * is_long)
    return start + ("\n" + " " * indent).join(lines)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown version"


def check_packages() -> Iterator[Check]:
    """Check the required packages: one line for the installed ones, one line for each that is missing."""
    installed = {name: importlib.util.find_spec(module) is not None for name, module in _NEEDED.items()}
    yield Check("ok", "sightline", f"{_version('sightline')}, Python {platform.python_version()}")
    yield Check("ok", "required", ", ".join(f"{name} {_version(name)}" for name in installed if installed[name]))
    for name, is_installed in installed.items():
        if not is_installed:
            yield Check("MISSING", name, f"pip install {name}")


def check_extras() -> Iterator[Check]:
    """Check the optional packages."""
    for name, module, install, purpose in _EXTRAS:
        is_installed = importlib.util.find_spec(module) is not None
        message = _version(name) if is_installed else f"{install}   ({purpose})"
        yield Check("ok" if is_installed else "absent", name, message)


def check_machine() -> Iterator[Check]:
    """Check processor, memory, disk and accelerators."""
    threads = os.environ.get("OMP_NUM_THREADS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    set_to = f", OMP_NUM_THREADS={threads}" if threads else ""
    yield Check("ok", "processor", f"{platform.machine()}, {cores} cores available{set_to}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    yield Check("ok", "memory", f"{memory:.0f} GB")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Check("ok" if free > 2 else "LOW", "disk", f"{free:.0f} GB free here")
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    for number in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(number)
        capability = f"compute capability {device.major}.{device.minor}"
        yield Check("ok", f"cuda:{number}", f"{device.name}, {device.total_memory / 1e9:.0f} GB, {capability}")
    if not torch.cuda.is_available():
        yield Check(
            "absent", "cuda", f"no device that torch {torch.__version__} can use; networks run on the processor"
        )


def check_fast_paths() -> Iterator[Check]:
    """Check which faster computations of the same results this machine supports."""
    if importlib.util.find_spec("torch") is None:
        yield Check("absent", "torch", "not installed: there is nothing to speed up")
        return
    import torch

    from sightline._util.malloc import disable_malloc_trim
    from sightline.models.precision import has_bfloat16_hardware
    from sightline.models.torchvision_compat import define_missing_operators

    cuda = torch.cuda.is_available()
    bf16 = has_bfloat16_hardware()
    speed = "in hardware: use --precision bfloat16" if bf16 else "emulated, and slow: do not use --precision bfloat16"
    yield Check("ok" if bf16 else "absent", "bfloat16", speed)
    yield Check(
        "ok",
        "Grad-CAM",
        "computed in closed form, without a backward pass, where the classifier is affine after its pooling",
    )
    device_name = "on the device" if cuda else torch.backends.cpu.get_cpu_capability()
    yield Check("ok", "channels-last", f"for training and the gradients of many findings ({device_name})")
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    yield Check("ok" if onednn else "absent", "oneDNN", "kernels of the processor" if onednn else "not in this torch")
    reused = disable_malloc_trim()
    yield Check("ok" if reused else "absent", "freed memory", "kept for the next tensor" if reused else "glibc only")
    if importlib.util.find_spec("torchvision") is not None:
        replaced = "do not load with this version of torch; replaced by this package (NMS on the processor)"
        yield Check("ok", "torchvision ops", replaced if define_missing_operators() else "loaded")


def check_programs() -> Iterator[Check]:
    """Check the external programs that tests use."""
    for names, purpose, install in _PROGRAMS:
        path = next(filter(None, map(_find_program, names)), None)
        yield Check("ok" if path else "absent", names[0], path or f"{install}   ({purpose})")


def _find_program(name: str) -> str | None:
    if "*" in name:
        return next((str(p) for p in sorted(Path("/").glob(name.lstrip("/")), reverse=True)), None)
    return shutil.which(name)


def _check_named_datasets(specs: tuple[str, ...]) -> Iterator[Check]:
    for spec in specs:
        yield check_dataset(spec)


def check_dataset(spec: str) -> Check:
    """Open a data set and count its content; the status is `MISSING`, with the reason, if it cannot be opened."""
    try:
        data = open_dataset(spec)
        patients = len({r.patient for r in data.radiographs})
    except SightlineError as error:
        return Check("MISSING", spec, str(error))
    readers = f"read by {', '.join(data.readers[:3])}{' ...' if len(data.readers) > 3 else ''}"
    counts = ((len(data.radiographs), "radiograph"), (patients, "patient"), (len(data.findings), "finding"))
    parts = [*(f"{n} {word}{'s' * (n != 1)}" for n, word in counts), readers if data.readers else "no annotations"]
    notes = f"; sightline data check '{spec}' has notes" if data.metadata.get("warnings") else ""
    return Check("ok", spec, ", ".join(parts) + notes)


def find_datasets() -> Iterator[Check]:
    """Check the data sets in the default folders and one level below."""
    roots = [Path(p) for p in (os.environ.get("SIGHTLINE_DATA"), "data", Path.home() / "data", "/data") if p]
    specs: dict[str, None] = {}
    for root in roots:
        if root.is_dir():
            for folder in [root, *sorted(p for p in root.iterdir() if p.is_dir())]:
                name = next((n for pattern, n in _LAYOUTS if any(folder.glob(pattern))), None)
                if name:
                    specs[f"{name}:{folder}"] = None
    yield Check("ok", "phantom:200", f"always available: rendered when read, {len(CHEXLOCALIZE_FINDINGS)} findings")
    for spec in specs:
        check = check_dataset(spec)
        yield check if check.status == "ok" else check._replace(status="absent")
    if not specs:
        yield Check(
            "absent", "others", "none in $SIGHTLINE_DATA, ./data, ~/data or /data; name your data set with --data SPEC"
        )
