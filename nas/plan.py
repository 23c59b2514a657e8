"""What a run is going to do, counted before it starts, and roughly how long that takes."""

from dataclasses import dataclass
from pathlib import Path

from hw_profiles.device import load_device
from hw_profiles.provenance import usable_cores
from hw_profiles.table import open_table
from hw_profiles.worklist import blocks_on, missing, worklist
from nas.config.schema import Experiment
from nas.workbench import Workbench
from search_spaces.ir.count import count

# Seen on two cores of a server: training the recipes, profiling their blocks.
_TRAINED_FLOPS_A_CORE = 35e9
_SECONDS_A_BLOCK = 0.5
_NETWORKS = 30


@dataclass(frozen=True)
class Plan:
    """The work of a run.

    Args:
        architectures: size of the space, exact.
        blocks: distinct blocks that the space can emit.
        to_profile: how many of them each device's table still lacks.
        training_images: images a pass over the training data has.
        sub_networks: how many are evaluated for the predictor.
        evaluations: estimates that the search makes.
        profile_minutes: rough.
        train_minutes: rough.
    """

    architectures: int
    blocks: int
    to_profile: dict[str, int]
    training_images: int
    sub_networks: int
    evaluations: int
    profile_minutes: float
    train_minutes: float

    def lines(self) -> list[str]:
        """The plan in words."""
        profile = ", ".join(f"{n} on {device}" for device, n in self.to_profile.items())
        return [
            f"{self.architectures:.3g} architectures of {self.blocks} distinct blocks",
            f"to profile: {profile}; about {self.profile_minutes:.0f} min",
            f"to train: {self.training_images} images a pass; about {self.train_minutes:.0f} min",
            f"to evaluate: {self.sub_networks} sub-networks, then {self.evaluations} estimates",
            "minutes are rough guesses from operation counts, not measurements",
        ]


def plan(experiment: Experiment) -> Plan:
    """Count the work of an experiment; reads its data and its devices' tables."""
    bench = Workbench(experiment, Path())
    blocks = bench.executors.blocks
    lacking = {}
    for name in experiment.devices:
        device = load_device(name)
        table = open_table(device)
        units = (
            worklist(blocks_on(device, blocks), device)
            if table.transferred(bench.space) is None
            else ()
        )
        lacking[name] = len(missing(units, table.units))
    images = len(bench.data.train)
    return Plan(
        architectures=bench.space.size(),
        blocks=len(blocks.keys),
        to_profile=lacking,
        training_images=images,
        sub_networks=experiment.predictors.accuracy.samples,
        evaluations=experiment.search.evaluations,
        profile_minutes=sum((n + _NETWORKS) * (n > 0) for n in lacking.values())
        * _SECONDS_A_BLOCK
        / 60,
        train_minutes=_training_flops(bench, images) / _TRAINED_FLOPS_A_CORE / usable_cores() / 60,
    )


def _training_flops(bench: Workbench, images: int) -> float:
    """Forward and backward, two operations a MAC; random members cost what the largest does."""
    config = bench.experiment.supernet
    largest = count(bench.space.build(bench.space.largest())).macs
    smallest = count(bench.space.build(bench.space.smallest())).macs
    step = largest * (1 + config.random_subnets) + smallest
    return 6.0 * step * images * config.epochs
