"""`sightline doctor`: what is installed, what it runs on, which fast paths are open, and which data can be read."""

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
    """One thing that was looked for. `MISSING` and `WILDCAT_NEGATIVE_WEIGHT` make the exit code 1."""

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
"""Distribution -> module."""
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
"""(distribution, module, how to install it, what it is for)."""
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
"""What lies in the folder of a data set -> its loader; the first that fits."""


def doctor(*, data: tuple[str, ...] = ()) -> int:
    """Say what is installed, on what it runs, which fast paths are open and which data is found.

    Returns 0 if everything needed is there, and every data set named can be read.

    Parameters
    ----------
    data
        Data sets to open and count, as NAME:PATH; by default those found in $SIGHTLINE_DATA, ./data, ~/data and /data.
    """
    console, bad = Console(), False
    parts = {
        "Packages": check_packages(),
        "Extras": check_extras(),
        "Machine": check_machine(),
        "Fast paths": check_fast_paths(),
        "Programs for tests": check_programs(),
        "Data": _check_named_datasets(data) if data else find_datasets(),
    }
    width = min(console.width, 100) if sys.stdout.isatty() or "COLUMNS" in os.environ else 100
    for title, seen in parts.items():
        console.print(f"[bold]{title}[/]")
        for one in seen:
            bad |= one.status in ("MISSING", "LOW")
            console.print(_format_check(one, width), soft_wrap=True, highlight=False)
    return int(bad)


def _format_check(check: Check, width: int) -> str:
    """Mark, name and what is told, wrapped under itself; under the name where that is long."""
    style = {"ok": "green", "absent": "yellow"}.get(check.status, "bold red")
    long = len(check.name) > 18
    indent = 11 if long else 30
    told = textwrap.wrap(check.message, width - indent, break_long_words=False, break_on_hyphens=False)
    lines = ([""] if long else []) + [escape(line) for line in told]
    return f"  [{style}]{check.status:9}[/]{escape(check.name):19}".rstrip(" " * long) + ("\n" + " " * indent).join(
        lines
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown version"


def check_packages() -> Iterator[Check]:
    """What nothing works without: what is there in one line, what is not in one each."""
    there = {name: importlib.util.find_spec(module) is not None for name, module in _NEEDED.items()}
    yield Check("ok", "sightline", f"{_version('sightline')}, Python {platform.python_version()}")
    yield Check("ok", "needed", ", ".join(f"{name} {_version(name)}" for name, found in there.items() if found))
    for name, here in there.items():
        if not here:
            yield Check("MISSING", name, f"pip install {name}")


def check_extras() -> Iterator[Check]:
    for name, module, install, use in _EXTRAS:
        here = importlib.util.find_spec(module) is not None
        yield Check("ok" if here else "absent", name, _version(name) if here else f"{install}   ({use})")


def check_machine() -> Iterator[Check]:
    """Processor, threads, memory, disk, accelerators."""
    threads = os.environ.get("OMP_NUM_THREADS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    set_to = f", OMP_NUM_THREADS={threads}" if threads else ""
    yield Check("ok", "processor", f"{platform.machine()}, {cores} cores for us{set_to}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    yield Check("ok", "memory", f"{memory:.0f} GB")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Check("ok" if free > 2 else "LOW", "disk", f"{free:.0f} GB free here")
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        capability = f"compute capability {about.major}.{about.minor}"
        yield Check("ok", f"cuda:{number}", f"{about.name}, {about.total_memory / 1e9:.0f} GB, {capability}")
    if not torch.cuda.is_available():
        yield Check(
            "absent", "cuda", f"no device that torch {torch.__version__} can use; networks run on the processor"
        )


def check_fast_paths() -> Iterator[Check]:
    """Ways to compute the same in less time, and which of them pay here."""
    if importlib.util.find_spec("torch") is None:
        yield Check("absent", "torch", "nothing to speed up without it")
        return
    import torch

    from sightline._util.malloc import disable_malloc_trim
    from sightline.models import torchvision_compat
    from sightline.models.precision import has_bfloat16_hardware

    cuda = torch.cuda.is_available()
    bf16 = has_bfloat16_hardware()
    speed = "in hardware: --precision bfloat16 pays" if bf16 else "emulated here: --precision bfloat16 does not pay"
    yield Check("ok" if bf16 else "absent", "bfloat16", speed)
    yield Check("ok", "Grad-CAM", "closed form where the head is affine behind its pooling: no backward pass")
    where = "on the device" if cuda else torch.backends.cpu.get_cpu_capability()
    yield Check("ok", "channels-last", f"for training and the gradients of many findings ({where})")
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    yield Check("ok" if onednn else "absent", "oneDNN", "kernels of the processor" if onednn else "not in this torch")
    kept = disable_malloc_trim()
    yield Check("ok" if kept else "absent", "freed memory", "kept for the next tensor" if kept else "glibc only")
    if importlib.util.find_spec("torchvision") is not None:
        stood_in = "its operators do not load beside this torch; defined by us (NMS on the processor)"
        yield Check("ok", "torchvision ops", stood_in if torchvision_compat.OPERATORS_DEFINED else "load")


def check_programs() -> Iterator[Check]:
    for names, use, install in _PROGRAMS:
        path = next((found for name in names if (found := _find_program(name))), None)
        yield Check("ok" if path else "absent", names[0], path or f"{install}   ({use})")


def _find_program(name: str) -> str | None:
    if "*" in name:
        return next((str(p) for p in sorted(Path("/").glob(name.lstrip("/")), reverse=True)), None)
    return shutil.which(name)


def _check_named_datasets(specs: tuple[str, ...]) -> Iterator[Check]:
    for spec in specs:
        yield check_dataset(spec)


def check_dataset(spec: str) -> Check:
    """A data set, opened and counted; `MISSING` with the reason if it cannot be opened."""
    try:
        data = open_dataset(spec)
        patients = len({r.patient for r in data.radiographs})
    except SightlineError as error:
        return Check("MISSING", spec, str(error))
    readers = f"read by {', '.join(data.readers[:3])}{' ...' if len(data.readers) > 3 else ''}"
    counts = ((len(data.radiographs), "radiograph"), (patients, "patient"), (len(data.findings), "finding"))
    told = [*(f"{n} {word}{'s' * (n != 1)}" for n, word in counts), readers if data.readers else "no marks"]
    notes = f"; sightline data check '{spec}' has notes" if data.metadata.get("warnings") else ""
    return Check("ok", spec, ", ".join(told) + notes)


def find_datasets() -> Iterator[Check]:
    """Data sets in the folders where they are looked for: there, or one level below."""
    homes = [Path(p) for p in (os.environ.get("SIGHTLINE_DATA"), "data", Path.home() / "data", "/data") if p]
    specs: dict[str, None] = {}
    for home in homes:
        if home.is_dir():
            for folder in [home, *sorted(p for p in home.iterdir() if p.is_dir())]:
                name = next((n for pattern, n in _LAYOUTS if any(folder.glob(pattern))), None)
                if name:
                    specs[f"{name}:{folder}"] = None
    yield Check("ok", "phantom:200", f"always: rendered when it is read, {len(CHEXLOCALIZE_FINDINGS)} findings")
    for spec in specs:
        seen = check_dataset(spec)
        yield seen if seen.status == "ok" else Check("absent", spec, seen.message)
    if not specs:
        yield Check("absent", "others", "none in $SIGHTLINE_DATA, ./data, ~/data or /data; name yours with --data SPEC")
