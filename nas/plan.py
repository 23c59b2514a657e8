"""What a run is going to do, counted before it starts, and roughly how long that takes."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from hw_profiles.device import load_device
from hw_profiles.provenance import usable_cores
from hw_profiles.table import open_table
from hw_profiles.worklist import blocks_on, missing, worklist
from nas.config.schema import Experiment
from nas.workbench import Workbench
from search_spaces.ir.count import count
from search_spaces.space import SearchSpace

# Seen on two cores of a server: training the recipes, profiling their blocks.
_TRAINED_FLOPS_A_CORE = 35e9
_SECONDS_A_BLOCK = 0.5
_NETWORKS = 30
# CPU seconds of one zero-cost proxy of one network: all eight took 1 to 3 (docs/predictors.md).
_SECONDS_A_PROXY = 0.25


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
        untrained: networks that run for zero-cost proxies, at most.
        profile_minutes: rough.
        train_minutes: rough.
        proxy_hours: of those proxies; rough.
    """

    architectures: int
    blocks: int
    to_profile: dict[str, int]
    training_images: int
    sub_networks: int
    evaluations: int
    untrained: int
    profile_minutes: float
    train_minutes: float
    proxy_hours: float

    def lines(self) -> list[str]:
        """The plan in words."""
        profile = ", ".join(f"{n} on {device}" for device, n in self.to_profile.items())
        proxies = untrained_words(self.untrained, self.proxy_hours)
        return [
            f"{Decimal(self.architectures):.3g} architectures of {self.blocks} distinct blocks",
            f"to profile: {profile}; about {self.profile_minutes:.0f} min",
            f"to train: {self.training_images} images a pass; about {self.train_minutes:.0f} min",
            f"to evaluate: {self.sub_networks} sub-networks, then {self.evaluations} estimates",
            *([proxies] if self.untrained else []),
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
    proxied = untrained(experiment, bench.space)
    return Plan(
        architectures=bench.space.size(),
        blocks=len(blocks.keys),
        to_profile=lacking,
        training_images=images,
        sub_networks=experiment.predictors.accuracy.samples,
        evaluations=experiment.search.evaluations,
        untrained=proxied,
        profile_minutes=sum((n + _NETWORKS) * (n > 0) for n in lacking.values())
        * _SECONDS_A_BLOCK
        / 60,
        train_minutes=_training_flops(bench, images) / _TRAINED_FLOPS_A_CORE / usable_cores() / 60,
        proxy_hours=proxy_hours(experiment, proxied),
    )


def untrained(experiment: Experiment, space: SearchSpace) -> int:
    """How many networks run for zero-cost proxies: all that are labelled or estimated, at most.

    Random search is estimated beside the search, with as many networks.
    """
    if not experiment.predictors.accuracy.zero_cost:
        return 0
    estimated = experiment.predictors.accuracy.samples + 2 * experiment.search.evaluations
    return min(estimated, space.size())


def proxy_hours(experiment: Experiment, networks: int) -> float:
    """Roughly what the proxies of so many networks take."""
    return networks * len(experiment.predictors.accuracy.zero_cost) * _SECONDS_A_PROXY / 3600


def untrained_words(networks: int, hours: float) -> str:
    """What the proxies of so many networks cost, and what to do about it."""
    return (
        f"zero_cost: up to {networks} networks run untrained, each that is estimated; about "
        f"{hours:.2g} h of CPU: fewer search.evaluations take less, and without zero_cost "
        "estimates cost nothing"
    )


def _training_flops(bench: Workbench, images: int) -> float:
    """Forward and backward, two operations a MAC; random members cost what the largest does."""
    config = bench.experiment.supernet
    largest = count(bench.space.build(bench.space.largest())).macs
    smallest = count(bench.space.build(bench.space.smallest())).macs
    step = largest * (1 + config.random_subnets) + smallest
    return 6.0 * step * images * config.epochs
