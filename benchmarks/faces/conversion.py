"""How fast the layout of CelebAMask-HQ is converted: in one go, after a kill, and read from the records.

Nothing of the data is needed. ToyFaces are drawn in the sizes of the real files, 1024 pixels and 512 for
masks; most entries are hard links to the files of a few, read and decoded like all others. Drawn pictures are
smoother than photographs, but their JPEGs are no smaller: a real one has about 90 KiB.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.faces.report import CONVERSION
from benchmarks.runner import ROOT, Options
from sbmae_jax._io import checksum
from sbmae_jax.data.celebahq import source
from sbmae_jax.data.celebahq.check import check_folder
from sbmae_jax.data.celebahq.layout import FOLDER, PARTS, image_path, mask_path
from sbmae_jax.data.records import open_records
from sbmae_jax.data.source import SPLITS
from sbmae_jax.data.toyfaces.faces import write_tables, write_toyfaces
from sbmae_jax.training import sharding
from sbmae_jax.training.batches import streamed

NUM_WORKERS, NAMES = 2, ("image", "mask", "all_attributes", "index")


def write_folder(folder: Path, num_faces: int, num_drawn: int) -> None:
    """Draw faces, and link to their files until there are enough."""
    write_toyfaces(folder, num_drawn, num_processes=NUM_WORKERS)
    for n in range(num_drawn, num_faces):
        image_path(folder, n).hardlink_to(image_path(folder, n % num_drawn))
        for part in PARTS:
            mask, link = mask_path(folder, n % num_drawn, part), mask_path(folder, n, part)
            link.parent.mkdir(exist_ok=True)
            if mask.exists():
                link.hardlink_to(mask)
    write_tables(folder, num_faces, seed=0)


def convert(folder: Path, kill_at: float = float("inf")) -> dict[str, Any]:
    """Convert in a process of its own, killed once so many faces are done; return what it took."""
    process = psutil.Popen(
        [sys.executable, "-m", "benchmarks.faces.conversion", str(folder)],
        cwd=ROOT, env=os.environ | {"SBMAE_DATA_DIR": str(folder.parent)}, stdout=subprocess.PIPE,
    )  # fmt: skip
    peak = 0
    while process.poll() is None:
        try:
            family = (process, *process.children(recursive=True))
            peak = max(peak, sum(member.memory_info().rss for member in family))
        except psutil.Error:  # one of them has just ended
            continue
        if faces_done(folder) >= kill_at:
            process.kill()
        time.sleep(0.2)
    return {"peak": peak / 2**30, **json.loads(process.communicate()[0] or "{}")}


def faces_done(folder: Path) -> int:
    """Return about how many faces are in finished shards."""
    shards = (folder.parent / "prepared").glob("celebahq-*.part/t*-?????-????????????")
    return source.SHARD_SIZE * len(list(shards))


def pictures_a_second(records: Path, num_steps: int, batch_size: int = 256) -> float:
    """Return how many pictures a second training gets."""
    rows = open_records(records, "train", NAMES[:1])
    batches, start = streamed(0, rows, batch_size, sharding.make_mesh()), 0.0
    for step in range(num_steps + 1):
        batches(2 * step, 2)["image"].block_until_ready()
        start = start or time.perf_counter()  # the first ones wait for the readers to start
    return 2 * batch_size * num_steps / (time.perf_counter() - start)


def checksums(records: Path) -> list[str]:
    splits = (open_records(records, split, NAMES) for split in SPLITS)
    return [checksum(rows[i]) for rows in splits for i in range(len(rows))]


def measure_conversion(options: Options) -> dict[str, Any]:
    """Convert a folder in one go, and once more with an interruption."""
    num, num_drawn, num_steps = (40, 4, 2) if options.smoke else (30_000, 500, 20)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / FOLDER
        write_folder(folder, num, num_drawn)
        start = time.perf_counter()
        num_files = sum(1 + len(face.masks) for face in check_folder(folder, official=False))
        checked, whole = time.perf_counter() - start, convert(folder)
        records = Path(whole["records"])
        size, expected = sum(f.stat().st_size for f in records.iterdir()), checksums(records)
        speed = pictures_a_second(records, num_steps)
        shutil.rmtree(records)
        convert(folder, kill_at=0.4 * num)
        kept, resumed = faces_done(folder), convert(folder)
        same = checksums(records) == expected
        pictures = sum(image_path(folder, n).stat().st_size for n in range(num_drawn))
    speeds = (num / whole["seconds"], num_files / whole["seconds"], whole["peak"])
    row = dict(zip(CONVERSION, speeds, strict=True)) | {
        "faces a second of one core": num / whole["cpu_seconds"],
        "picture files a face": num_files / num,
        "KiB a picture": pictures / num_drawn / 1024,
        "seconds of checking the folder": checked,
        "records, GiB": size / 2**30,
        "pictures a second in training": speed,
        "faces kept at a kill": kept,
        "seconds to finish after it": resumed["seconds"],
        "the same records": "yes" if same else "no",
    }
    return {"num_faces": num, "cores": len(os.sched_getaffinity(0)), "row": row}


if __name__ == "__main__":
    begin = time.perf_counter()
    target = source.prepare(Path(sys.argv[1]), 128, official=False, num_workers=NUM_WORKERS)
    took = {"seconds": time.perf_counter() - begin, "records": str(target)}
    print(json.dumps(took | {"cpu_seconds": sum(psutil.Process().cpu_times()[:4])}))
