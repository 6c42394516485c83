"""Forks one writer of cells for each line on standard input, until somebody kills it.

Run as a program: cells_writer.py DIRECTORY ACKNOWLEDGEMENTS.  A line names
the file of the next writer; the answer is its pid.  The writer tells through the
descriptor ACKNOWLEDGEMENTS how many stores it has made.  One whose name begins with
`inside` stays inside its group, one bucket stored and its sum not.
"""

import os
import struct
import sys
from pathlib import Path

from leanmesh.metrics.cells import Cells, Histogram
from leanmesh.metrics.family import CounterSpec, HistogramSpec

FIRST = CounterSpec("test_first_total", "Stored before the second.")
SECOND = CounterSpec("test_second_total", "Stored after the first.")
# A value that is stored is its label: a value under another's name is seen.
NAMED = CounterSpec("test_named_total", "Its own label.", labels=("number",))
# Bucket i only ever gets the value 10 * (i + 1).
GROUPED = HistogramSpec("test_grouped", "Counts that agree with their sum.", bounds=(10.0, 20.0, 30.0))

STORES_PER_ACKNOWLEDGEMENT = 32
NAMES_AT_ONCE = 8


def write_for_ever(directory: Path, name: str, acknowledgements: int) -> None:
    cells = Cells.in_file(directory, name, capacity=256)
    words = cells.words
    first, second = cells.counter(FIRST), cells.counter(SECOND)
    grouped = cells.histogram(GROUPED)
    slots = cells.networks
    network = slots.start(3)
    if name.startswith("inside"):
        grouped.observe(10)
        sequence = cells.copy().layout.groups[0]
        words[sequence] += 1
        words[sequence + 2] += 1
        grouped = Histogram(lambda value: 0, lambda words: 0)
    stored = 0
    while True:
        for _ in range(STORES_PER_ACKNOWLEDGEMENT):
            words[first] += 1
            words[second] += 1
            for value in (10, 20, 30, 40):
                grouped.observe(value)
        stored += STORES_PER_ACKNOWLEDGEMENT
        os.write(acknowledgements, struct.pack("Q", stored))
        cells.beat()
        slots.store(network, stored % 1000)
        number = stored // STORES_PER_ACKNOWLEDGEMENT
        cells.words[cells.counter(NAMED, str(number))] = number
        if number > NAMES_AT_ONCE:
            cells.release(NAMED, str(number - NAMES_AT_ONCE))
        cells.copy()


def main() -> None:
    directory, acknowledgements = Path(sys.argv[1]), int(sys.argv[2])
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                write_for_ever(directory, line.strip(), acknowledgements)
            finally:
                os._exit(1)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("gone", flush=True)


if __name__ == "__main__":
    main()
