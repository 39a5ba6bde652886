"""`python -m training.synth`: writes generated payments to a Parquet file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidegate.clock import microseconds
from tidegate.payment import parse_moment
from training.synth.table import generate
from training.synth.world import SynthConfig


def main(arguments: Sequence[str] | None = None) -> None:
    """Generate as the command line says."""
    defaults = SynthConfig()
    parser = argparse.ArgumentParser(prog="python -m training.synth", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the Parquet file to write")
    for name in ("seed", "days", "cards", "terminals", "sites"):
        parser.add_argument(f"--{name}", type=int, default=getattr(defaults, name))
    parser.add_argument("--new-pattern-from", type=parse_moment, help="RFC 3339; from then on a new kind of fraud")
    given = vars(parser.parse_args(arguments))
    out, moment = given.pop("out"), given.pop("new_pattern_from")
    table = generate(SynthConfig(**given, new_pattern_from=microseconds(moment) if moment else None))
    pq.write_table(table, out, compression="zstd")
    share = pc.mean(table["fraud"].cast("int8")).as_py()
    sys.stdout.write(f"{out}: {table.num_rows} payments, {share:.2%} fraud\n")


if __name__ == "__main__":
    main()
