"""A seeded generator of realistic payments, for those who train, test or show a site without anybody's data."""

from training.synth.table import SCHEMA, generate, live, live_table
from training.synth.world import KINDS, SynthConfig

__all__ = ["KINDS", "SCHEMA", "SynthConfig", "generate", "live", "live_table"]
