"""The inputs that once reached new code, again, and a few thousand mutations of them: bench/fuzz in short."""

import random

import pytest

from tests.fuzz.targets import TARGETS, read_seeds

MUTATIONS = 3000
INTERESTING = (0, 1, 10, 13, 27, 34, 44, 45, 46, 47, 58, 92, 124, 127, 128, 133, 155, 194, 255)


def mutated(seed, others, chance):
    """The seed with a few bytes changed, doubled or left out, or crossed with another."""
    data = bytearray(seed or b"\0")
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        how = chance.randrange(5)
        if how == 0:
            data[place:place] = bytes([chance.choice(INTERESTING)])
        elif how == 1:
            del data[place : place + chance.randint(1, 4)]
        elif how == 2:
            data[place : place + 1] = bytes([chance.randrange(256)])
        elif how == 3:
            other = chance.choice(others)
            data[place:] = other[chance.randrange(len(other) + 1) :]
        else:
            data[place:place] = data[: chance.randint(0, 8)]
    return bytes(data[:160])


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_fuzzer_found_interesting_keeps_the_property(name):
    for seed in read_seeds(name):
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_so_do_mutations_of_it(name):
    """The same ones every time."""
    seeds, chance = read_seeds(name), random.Random(name)
    for _ in range(MUTATIONS):
        data = mutated(chance.choice(seeds), seeds, chance)
        try:
            TARGETS[name](data)
        except BaseException:
            print(f"the input: {data!r}")
            raise
