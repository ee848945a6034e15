"""How fast weights become a model image, against `sha256sum` on the same bytes, all in the page cache; and how often they are read.

python bench/packing.py [--files N] [--megabytes N] [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from sides import Row, in_turns, scratch, table

from aistack.facts.pins import LockedFile
from aistack.host import models, oci
from aistack.host.store import CHUNK, Store


def weights(store: Store, count: int, size: int) -> tuple[LockedFile, ...]:
    """Files of random bytes in the store: weights do not compress either."""
    found = []
    with store.scratch() as folder:
        for number in range(count):
            file = folder / "weights"
            with file.open("wb") as out:
                for _ in range(size // CHUNK):
                    out.write(os.urandom(CHUNK))
            with file.open("rb") as stream:
                sha256, length = store.add(stream)
            found.append(LockedFile(path=f"model-{number:05d}.safetensors", sha256=sha256, size=length))
    return tuple(found)


def bytes_read() -> int:
    """Bytes that this process has read so far, whatever from."""
    return int(re.findall(r"rchar: (\d+)", Path("/proc/self/io").read_text())[0])


def rows(count: int, megabytes: int, rounds: int) -> Iterator[Row]:
    """The table's rows, in MB/s and in bytes read for each byte of the weights."""
    with scratch() as folder:
        private = Store(folder / "store")
        private.prepare()
        files = weights(private, count, megabytes * CHUNK)
        total = sum(file.size for file in files)
        reads = []

        def ours() -> float:
            before, started = bytes_read(), time.monotonic()
            digest = models.model_image(private, id="bench", revision="0", licence="none", files=files, arch="amd64")
            took = time.monotonic() - started
            reads.append((bytes_read() - before) / total)
            for layer in oci.read_image(private, digest).layers:
                private.blob(layer.digest.removeprefix("sha256:")).unlink()
            return total / 1e6 / took

        def theirs() -> float:
            started = time.monotonic()
            subprocess.run(["sha256sum", *(private.blob(file.sha256) for file in files)], stdout=subprocess.DEVNULL, check=True)
            return total / 1e6 / (time.monotonic() - started)

        theirs()  # now all of it is in the page cache
        mine, other = in_turns(rounds, ours, theirs)
    yield Row(
        what=f"packing {total / 1e9:.1f} GB of weights", ours=mine, theirs=other, unit="MB/s", opponent="sha256sum", note="0.8 x or more"
    )
    yield Row(what="reads of each byte", ours=max(reads), theirs=1, unit="x", opponent="sha256sum", note="once")


def main() -> None:
    """Print both rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    print(table(rows(chosen.files, chosen.megabytes, chosen.rounds)))


if __name__ == "__main__":
    main()
