"""Every way in which an experiment file can be wrong, and what the user then reads."""

from collections.abc import Callable

import pytest

Problems = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "population",
            "popluation",
            "demo.yaml:12: search.popluation: unknown key 'popluation'; did you mean 'population'?",
        ),
        (
            "search:\n  population: 16",
            "verify:\n  zzz: 16",
            "demo.yaml:12: verify.zzz: unknown key 'zzz'; known keys: top",
        ),
        (
            "epochs: 5",
            "epochs: 5.5",
            "demo.yaml:5: supernet.epochs: must be a whole number, got 5.5",
        ),
        (
            "epochs: 5",
            'epochs: "5"',
            'demo.yaml:5: supernet.epochs: must be a whole number, got "5"',
        ),
        (
            "epochs: 5",
            "epochs: true",
            "demo.yaml:5: supernet.epochs: must be a whole number, got true",
        ),
        ("1e-3", "fast", 'demo.yaml:6: supernet.learning_rate: must be a number, got "fast"'),
        ("1e-3", "0", "demo.yaml:6: supernet.learning_rate: must be greater than 0, got 0"),
        ("1e-3", ".nan", "demo.yaml:6: supernet.learning_rate: must be a finite number, got NaN"),
        ("  epochs: 5\n", "", "demo.yaml:4: supernet.epochs: this key is missing"),
        ("name: demo\n", "", "demo.yaml:1: name: this key is missing"),
        ("name: demo", "name: 5", "demo.yaml:1: name: must be text, got 5; put it in quotes"),
        (
            "name: demo",
            "name: ../demo",
            'demo.yaml:1: name: must match ^[A-Za-z0-9][A-Za-z0-9._-]*$, got "../demo"',
        ),
        ("[cpu]", "cpu", 'demo.yaml:7: devices: must be a list, got "cpu"'),
        ("[cpu]", "", "demo.yaml:7: devices: must be a list, got nothing"),
        ("[cpu]", "[cpu, cpu]", "demo.yaml:7: devices.1: 'cpu' is listed twice"),
        ("\n  population: 16", "", "demo.yaml:11: search: must be a group of keys, got nothing"),
        (
            "population: 16",
            "type: nsga_2",
            "demo.yaml:12: search.type: must be 'auto', 'linas', 'local_search', 'moead', 'nsga2', "
            "'nsga3', 'random' or 'regularised_evolution', got \"nsga_2\"; did you mean 'nsga2'?",
        ),
        (
            "population: 16",
            "population: 6000",
            "demo.yaml:12: search.population: must be at most evaluations: 6000 are more than 5000",
        ),
        (
            "epochs: 5",
            "epochs: 5\n  warmup_epochs: 6",
            "demo.yaml:6: supernet.warmup_epochs: must be at most epochs: "
            "the warm-up lasts 6 epochs, the training 5",
        ),
        (
            "epochs: 5",
            "epochs: 5\n  epochs: 6",
            "demo.yaml:6: supernet.epochs: key 'epochs' is given twice; first on line 5",
        ),
        (
            "type: cifar10",
            "type: cifar",
            "demo.yaml:3: data.type: must be 'digits', 'fashion_mnist', 'cifar10', "
            "'image_folder', 'npz', 'audio_folder', got \"cifar\"; did you mean 'cifar10'?",
        ),
        ("type: cifar10, ", "", "demo.yaml:3: data.type: this key is missing"),
        ("path: data/cifar10", "", "demo.yaml:3: data.path: this key is missing"),
        (
            "path: data/cifar10",
            "path: x, augment: {flipp: true}",
            "demo.yaml:3: data.augment.flipp: unknown key 'flipp'; did you mean 'flip'?",
        ),
        (
            "type: mobilenet_v3",
            "type: mobilnet",
            "demo.yaml:2: space.type: unknown space 'mobilnet'; did you mean 'mobilenet_v3'?",
        ),
        (
            "classes: 10",
            "clases: 10",
            "demo.yaml:2: space.clases: unknown key 'clases'; did you mean 'classes'?",
        ),
        ("type: mobilenet_v3, ", "", "demo.yaml:2: space.type: this key is missing"),
        (
            "metric: accuracy",
            "metric: acuracy",
            "demo.yaml:9: objectives.0.metric: unknown metric 'acuracy'; did you mean 'accuracy'?",
        ),
        (
            "metric: accuracy",
            "metric: latency_ms, device: cpu",
            "demo.yaml:10: objectives.1: latency_ms@cpu is an objective already",
        ),
        (
            "device: cpu",
            "device: cpuu",
            "demo.yaml:10: objectives.1.device: device 'cpuu' is not in devices; "
            "did you mean 'cpu'?",
        ),
        (
            "device: cpu",
            "device: stm32",
            "demo.yaml:10: objectives.1.device: device 'stm32' is not in devices; listed: cpu",
        ),
        (
            ", device: cpu",
            "",
            "demo.yaml:10: objectives.1: latency_ms needs a device: add `device: cpu` or another",
        ),
        (
            "search:\n",
            "constraints: [{metric: macs}]\nsearch:\n",
            "demo.yaml:11: constraints.0: the constraint on macs needs `min` or `max`",
        ),
        (
            "search:\n",
            "constraints: [{metric: macs, maxx: 5}]\nsearch:\n",
            "demo.yaml:11: constraints.0.maxx: unknown key 'maxx'; did you mean 'max'?",
        ),
        (
            "search:\n",
            "search:\n  type: successive_halving\n",
            "demo.yaml:12: search.type: successive_halving spends partial evaluations, and",
        ),
        (
            "search:\n",
            "constraints: [{metric: accuracy, min: 90}]\nsearch:\n",
            "demo.yaml:11: constraints.0: accuracy is a share from 0 to 1: write 0.9 for 90 %",
        ),
        (
            "search:\n",
            "constraints: [{metric: flash_kib, device: cpu, max: 90}]\nsearch:\n",
            "demo.yaml:11: constraints.0: only microcontrollers and NPUs have flash_kib, 'cpu'",
        ),
        (
            "epochs: 5",
            "epochs: 10000000",
            "demo.yaml:5: supernet.epochs: must be less than or equal to 1000000, got 10000000",
        ),
        ("name: demo", "name:", "demo.yaml:1: name: must be text, got nothing"),
        (
            "[24, 28, 32]",
            "24",
            "demo.yaml:2: space.resolution: must be a list, got 24",
        ),
        (
            "[24, 28, 32]",
            "[24, big]",
            'demo.yaml:2: space.resolution.1: must be a whole number, got "big"',
        ),
        (
            "[24, 28, 32]",
            "[32, 28]",
            "demo.yaml:2: space.resolution: options (32, 28) must ascend: write them in order",
        ),
        (
            "classes: 10",
            "classes: 10, depth: []",
            "demo.yaml:2: space.depth: a stage has at least 1 block",
        ),
        (
            "classes: 10",
            "classes: 10, head: [64]",
            "demo.yaml:2: space.head.1: this entry is missing",
        ),
        (
            "type: mobilenet_v3, resolution: [24, 28, 32], classes: 10",
            "type: choices, options: {act: [null, relu]}",
            "demo.yaml:2: space.options.act.0: must be a number or text, got nothing",
        ),
        (
            "search:\n",
            "constraints: [{metric: macs, max: 5, probability: 0.9}]\nsearch:\n",
            "demo.yaml:11: constraints.0: macs is counted and has no spread: remove `probability`",
        ),
    ],
)
def test_one_mistake_gives_one_line_at_its_place(
    problems: Problems, old: str, new: str, expected: str
) -> None:
    found = problems(old, new)
    assert len(found) == 1
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ("name: !env HOME", "demo.yaml:1: name: tag !env is not supported; write plain values"),
        ("name: !!int five", "demo.yaml:1: name: "),
        ("name: &a [*a]", "demo.yaml:1: name.0: contains itself"),
        ("[1]: 2", "demo.yaml:1: the file: a key must be text"),
        ("name: &a {<<: *a}", "demo.yaml:1: name: contains itself"),
        ("name: {<<: [{}, 3]}", "demo.yaml:1: name.<<: takes a mapping, e.g. <<: *name, or a list"),
    ],
)
def test_yaml_beyond_plain_values_is_refused(problems: Problems, new: str, expected: str) -> None:
    assert [line for line in problems("name: demo", new) if line.startswith(expected)]
