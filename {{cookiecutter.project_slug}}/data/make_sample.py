"""Write abalone-sample.csv: made-up shellfish, so that the first run needs no download.

Nothing here was measured. An animal gets an age, grows towards a length of its own (the curve is
von Bertalanffy's), and its weights follow from its volume; each step adds noise. Old animals of one
size differ in age, which is what makes the rings hard to predict, here as in nature. The format is
that of the UCI Abalone file: no header, lengths in units of 200 mm, weights of 200 g, label last.

    python data/make_sample.py [rows] > data/abalone-sample.csv

Standard library only: its generator gives the same rows in every Python version.
"""

import math
import random
import sys

SEED = 20
ROWS = 1_200


def animal(rng):
    rings = min(max(round(rng.lognormvariate(2.23, 0.32)), 1), 29)
    matures_at = rng.gauss(7.5, 1.6)
    sex = "I" if rings < matures_at else rng.choice("FM")
    # Growth slows with age, and each animal has its own pace and final size.
    final = rng.gauss(0.67 if sex == "F" else 0.65, 0.05)
    pace = 0.19 * rng.lognormvariate(0, 0.16)
    length = max(final * (1 - math.exp(-pace * (rings + 0.4))), 0.06)
    diameter = length * rng.gauss(0.8, 0.015)
    height = diameter * rng.gauss(0.335, 0.022) * (1 + 0.006 * rings)
    whole = 25.5 * length * diameter * height * rng.lognormvariate(0, 0.08)
    # The shell thickens for life; the flesh loses its share to it.
    shell = whole * min(max(rng.gauss(0.235 + 0.0055 * rings, 0.022), 0.12), 0.5)
    shucked = whole * min(max(rng.gauss(0.475 - 0.0052 * rings, 0.03), 0.2), 0.6)
    viscera = whole * min(max(rng.gauss(0.218, 0.022), 0.1), 0.3)
    lengths = [f"{round(value * 200) / 200:g}" for value in (length, diameter, height)]
    weights = [f"{round(value * 2000) / 2000:g}" for value in (whole, shucked, viscera, shell)]
    return [sex, *lengths, *weights, str(rings)]


def main(rows=ROWS):
    rng = random.Random(SEED)
    for _ in range(rows):
        print(",".join(animal(rng)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
