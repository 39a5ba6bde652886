"""The model of the gate's bench: trained as any other, small, and the same booster for every contender."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from tidegate.bundle import DataVersion, GateVerdict
from tidegate.limits import DAY_US
from tidegate.policy.terms import Policy
from training.dataset import Events, features, load_mapping, read
from training.fit import fit
from training.options import ROOT, FitSettings
from training.package import Judged, assemble, write
from training.synth import SynthConfig, generate
from training.walk import weeks

_MAPPING = ROOT / "configs" / "datasets" / "synth.toml"
DAYS, CARDS, SEED = 40, 1_000, 7


def _events(now_us: int) -> Events:
    config = SynthConfig(seed=SEED, days=DAYS, cards=CARDS, start_us=(now_us // DAY_US - DAYS) * DAY_US)
    with tempfile.TemporaryDirectory(prefix="tgb-") as folder:
        file = Path(folder) / "payments.parquet"
        pq.write_table(generate(config), file)
        return read(file, load_mapping(_MAPPING))


def put_on_shelves(shelves: Mapping[Path, Policy], now_us: int) -> Path:
    """Train a model of 110 trees of depth 5; package and activate it on each shelf with its policy.

    Returns the booster's file.
    """
    events = _events(now_us)
    vectors, (week,) = features(events), weeks(events, 1)
    fitted = fit(vectors, week, FitSettings())
    target = week.train.target
    for shelf, policy in shelves.items():
        files = assemble(
            booster=fitted.booster,
            rows=np.ascontiguousarray(vectors[week.test.index]),
            calibration=fitted.calibration,
            data=DataVersion(
                source="synth of the bench",
                first_us=int(events.occurred_us[0]),
                cut_us=week.start_us,
                rows=len(target),
                frauds=int(target.sum()),
                sha256="0" * 64,
            ),
            metrics={},
            parameters=fitted.parameters,
            policy=policy,
            trained_at_us=now_us,
            seed=SEED,
            judged=Judged(gate=GateVerdict(passed=True, reasons=("the bench measures speed",))),
        )
        bundle = write(files, shelf)
        Shelf(folder=PosixFolder(shelf)).activate(bundle)
        model = shelf / bundle / "model.ubj"
    return model


def put_on_shelf(shelf: Path, now_us: int) -> Path:
    """Do the same for one shelf and the default policy."""
    return put_on_shelves({shelf: Policy()}, now_us)
