"""How fast CelebAMask-HQ is read: the first time, after an interruption, and from the prepared records.

    python benchmarks/convert.py --output results/convert.json        # some minutes, and 2 GB of disk

Nothing of the data is needed: ToyFaces are drawn in the sizes of the real files, 1024 pixels and
512 for masks. Only --num_distinct faces are drawn; the other entries are hard links to their files,
which are read and decoded as all others. Drawn pictures are smoother than photographs: their JPEGs
hold fewer bytes, given as `mean_picture_kib` (about 90 in the real data).
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from sbmae_jax.app import provenance
from sbmae_jax.data.celebahq.check import check_folder
from sbmae_jax.data.celebahq.layout import (
    ATTRIBUTE_FILE,
    FIRST_ORIGINAL,
    FOLDER,
    MAPPING_FILE,
    NUM_ORIGINALS,
    PARTS,
    image_path,
    mask_path,
)
from sbmae_jax.data.celebahq.source import SHARD_SIZE, SPLITS, celebahq, prepare
from sbmae_jax.data.records import open_records
from sbmae_jax.data.toyfaces.faces import write_toyfaces
from sbmae_jax.training import sharding
from sbmae_jax.training.batches import streamed

SIDE, BATCH_SIZE = 128, 256


def write_folder(folder: Path, num_entries: int, num_distinct: int) -> None:
    """Draw faces, and link to them until there are enough entries."""
    write_toyfaces(folder, num_distinct, num_processes=2)
    lines = (folder / ATTRIBUTE_FILE).read_text().splitlines()
    rows = [line.split(maxsplit=1)[1] for line in lines[2:]]
    for n in range(num_distinct, num_entries):
        link(image_path(folder, n % num_distinct), image_path(folder, n))
        for part in PARTS:
            file = mask_path(folder, n % num_distinct, part)
            if file.exists():
                link(file, mask_path(folder, n, part))
    table = [f"{n}.jpg  {rows[n % num_distinct]}" for n in range(num_entries)]
    (folder / ATTRIBUTE_FILE).write_text("\n".join([str(num_entries), lines[1], *table]) + "\n")
    originals = np.random.default_rng(0).permutation(NUM_ORIGINALS)[: num_entries - 3]
    originals = [o for o in originals if o not in FIRST_ORIGINAL.values()]
    originals = [*FIRST_ORIGINAL.values(), *originals]  # of each split there is one
    originals += sorted(set(range(1, 9)) - set(originals))[: num_entries - len(originals)]
    mapping = [f"{n} {o} {o + 1:06d}.jpg" for n, o in enumerate(originals)]
    (folder / MAPPING_FILE).write_text("\n".join(mapping) + "\n")


def link(file: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    os.link(file, copy)


def family(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def memory(process: int) -> int:
    """Return the bytes of a process that are in memory; shared pages count for each process."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def run(args: argparse.Namespace, folder: Path, kill_at: float | None = None) -> dict:
    """Prepare in a process of its own, and kill that when this share of the faces is done."""
    command = [sys.executable, __file__, "--prepare", str(folder), "--workers", str(args.workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            peak[0] = max(peak[0], sum(memory(p) for p in family(process.pid)))
            if kill_at is not None and faces_done(folder) >= kill_at * args.num_entries:
                process.send_signal(signal.SIGKILL)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    stop.set()
    watcher.join()
    said = json.loads(output) if output else {}
    return {"peak_memory_gib": peak[0] / 2**30, **said}


def faces_done(folder: Path) -> int:
    """Return about how many faces are in finished shards."""
    return SHARD_SIZE * len(list((folder.parent / "prepared").glob("*.part/t*-?????-????????????")))


def reading(folder: Path) -> float:
    """Return how many images a second the streamed feed gives, in batches of 256."""
    source = celebahq("train", names=["image"], folder=folder, side=SIDE, official=False)
    feed = streamed(0, source, BATCH_SIZE, sharding.make_mesh())
    feed(0, 2)["image"].block_until_ready()
    num_steps = 40
    start = time.perf_counter()
    for step in range(2, 2 + num_steps, 2):
        feed(step, 2)["image"].block_until_ready()
    return BATCH_SIZE * num_steps / (time.perf_counter() - start)


def measure(args: argparse.Namespace, root: Path) -> dict:
    """Write the folder, and prepare it straight, and again with an interruption."""
    os.environ["SBMAE_DATA_DIR"] = str(root)
    folder = root / FOLDER
    write_folder(folder, args.num_entries, args.num_distinct)
    start = time.perf_counter()
    faces = check_folder(folder, official=False)
    check_seconds = time.perf_counter() - start
    num_files = sum(1 + len(face.masks) for face in faces)
    sizes = [image_path(folder, n).stat().st_size for n in range(args.num_distinct)]
    straight = run(args, folder)
    target = next((root / "prepared").glob("celebahq-*"))
    images_per_second = reading(folder)
    size = sum(file.stat().st_size for file in target.iterdir())
    shutil.rmtree(target)
    run(args, folder, kill_at=0.4)
    kept = faces_done(folder)
    resumed = run(args, folder)
    return {
        "num_entries": args.num_entries,
        "num_distinct": args.num_distinct,
        "num_workers": args.workers,
        "picture_files_read_per_entry": num_files / args.num_entries,
        "mean_picture_kib": float(np.mean(sizes)) / 1024,
        "check_seconds": check_seconds,
        "seconds": straight["prepare_seconds"],
        "entries_per_second": args.num_entries / straight["prepare_seconds"],
        "picture_files_per_second": num_files / straight["prepare_seconds"],
        "entries_per_cpu_second": args.num_entries / straight["cpu_seconds"],
        "peak_memory_gib": straight["peak_memory_gib"],
        "records_gib": size / 2**30,
        "killed_and_resumed": {
            "entries_kept": kept,
            "seconds_to_finish": resumed["prepare_seconds"],
            "same_records": resumed["records"] == straight["records"],
        },
        "images_read_per_second": images_per_second,
        "commit": provenance.commit(),
        "device": provenance.device(),
        "num_cores": len(os.sched_getaffinity(0)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num_entries", type=int, default=30_000)
    parser.add_argument("--num_distinct", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument(
        "--keep", type=Path, help="folder for the files; by default it is temporary"
    )
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.prepare:
        start = time.perf_counter()
        target = prepare(args.prepare, SIDE, official=False, num_workers=args.workers)
        seconds = time.perf_counter() - start
        said = {"prepare_seconds": seconds, "cpu_seconds": cpu_seconds()}
        print(json.dumps(said | {"records": digest(target)}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        text = json.dumps(measure(args, args.keep or Path(temporary)), indent=1)
    print(text)
    if args.output:
        args.output.write_text(text + "\n")


def digest(target: Path) -> str:
    """Return a checksum of all records, read one by one."""
    checksum = hashlib.sha256()
    for split in SPLITS:
        source = open_records(target, split, ("image", "mask", "all_attributes", "index"))
        for i in range(len(source)):
            for array in source[i].values():
                checksum.update(array.tobytes())
    return checksum.hexdigest()


def cpu_seconds() -> float:
    """Return what this process and those that it waited for have used of the cores."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


if __name__ == "__main__":
    main()
