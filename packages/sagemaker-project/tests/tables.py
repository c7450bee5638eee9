"""Ten made-up tables that are not abalone, each with something that a user's own table may have.

A function for each writes its file or files into a folder and returns what they are. The same seed
gives the same bytes. Their labels follow from their features, with noise.
"""

import csv
import gzip
import io
import math
import random
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple


class Made(NamedTuple):
    """A table: where it is, its label, and what inspect-data has to find.

    `columns` are the columns that are not numbers and features: {name: (type, role)}.
    """

    data: Path
    label: str
    problem: str
    positive: str
    columns: dict[str, tuple[str, str]]
    file: dict[str, object]  # of schema.json, what differs from a plain CSV


def _csv(path, rows, encoding="utf-8", delimiter=",", compress=False, decimal="."):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(
            str(cell).replace(".", decimal) if isinstance(cell, float) else cell
            for cell in row.values()
        )
    content = text.getvalue().encode(encoding)
    path.write_bytes(gzip.compress(content, mtime=0) if compress else content)
    return path


def negative_regression(folder: Path, seed: int = 1) -> Made:
    """Profit, often below zero; -999 in a column means that the age is not known."""
    chance = random.Random(seed)
    rows = []
    for _ in range(2000):
        region, visits = chance.choice(["north", "south", "east", "west"]), chance.randint(0, 60)
        discount, age = round(chance.uniform(0, 0.4), 3), chance.randint(18, 90)
        profit = 6 * visits - 900 * discount + {"north": 40, "south": -60}.get(region, 0)
        rows.append(
            {
                "region": region,
                "visits": visits,
                "discount": discount,
                "age": -999 if chance.random() < 0.05 else age,
                "profit": round(profit - 0.5 * age + chance.gauss(0, 40), 2),
            }
        )
    columns = {"region": ("string", "feature"), "profit": ("number", "label")}
    return Made(_csv(folder / "profit.csv", rows), "profit", "regression", "", columns, {})


def text_binary(folder: Path, seed: int = 2) -> Made:
    """Customers who left or not, in words; codes with leading zeros; booleans."""
    chance = random.Random(seed)
    rows = []
    for _ in range(2000):
        tenure, monthly = chance.randint(1, 72), round(chance.uniform(15, 120), 2)
        plan, paperless = chance.choice(["basic", "family", "pro"]), chance.choice(["yes", "no"])
        score = monthly / 30 - tenure / 14 + (plan == "basic") + 0.5 * (paperless == "yes")
        rows.append(
            {
                "tenure": tenure,
                "plan": plan,
                "paperless": paperless,
                "branch": f"{chance.randint(1, 140):04}",
                "monthly": monthly,
                "churn": "yes" if score + chance.gauss(0, 1) > 0.8 else "no",
            }
        )
    columns = {
        "plan": ("string", "feature"),
        "paperless": ("boolean", "feature"),
        "branch": ("string", "feature"),
        "churn": ("string", "label"),
    }
    return Made(_csv(folder / "churn.csv", rows), "churn", "binary", "yes", columns, {})


def dated_multiclass(folder: Path, seed: int = 3) -> Made:
    """Three classes; dates with the day first, times, and several words for no value."""
    chance = random.Random(seed)
    rows = []
    for _ in range(2400):
        signup = date(2021, 1, 1) + timedelta(days=chance.randint(0, 1400))
        seen = datetime(2024, 12, 1) + timedelta(minutes=chance.randint(0, 40_000))
        orders, amount = chance.randint(0, 40), round(chance.expovariate(1 / 80), 2)
        score = orders / 8 + (date(2025, 1, 1) - signup).days / 400 + chance.gauss(0, 0.6)
        rows.append(
            {
                "signup": signup.strftime("%d.%m.%Y"),
                "last_seen": seen.isoformat(" "),
                "orders": chance.choice(["NA", ""]) if chance.random() < 0.06 else orders,
                "amount": "-" if chance.random() < 0.04 else amount,
                "city": "" if chance.random() < 0.1 else chance.choice(["Rome", "Oslo", "Bern"]),
                "tier": "gold" if score > 5.5 else "silver" if score > 3.5 else "bronze",
            }
        )
    columns = {
        "signup": ("date", "feature"),
        "last_seen": ("datetime", "feature"),
        "city": ("string", "feature"),
        "tier": ("string", "label"),
    }
    return Made(_csv(folder / "tiers.csv", rows), "tier", "multiclass", "", columns, {})


def wide(folder: Path, seed: int = 4) -> Made:
    """60 columns: an id, 58 measurements, and a label of 0 and 1."""
    chance = random.Random(seed)
    rows = []
    for n in range(1500):
        values = [round(chance.gauss(0, 1), 4) for _ in range(58)]
        score = values[0] - values[7] + 0.8 * values[20] * values[33] + chance.gauss(0, 0.5)
        row = {"sample_id": f"S{n * 7919 % 100_003:06}"}
        row |= {f"m{k:02}": value for k, value in enumerate(values, 1)}
        rows.append({**row, "faulty": int(score > 0)})
    columns = {"sample_id": ("string", "id"), "faulty": ("integer", "label")}
    return Made(_csv(folder / "wide.csv", rows), "faulty", "binary", "1", columns, {})


def imbalanced(folder: Path, seed: int = 5) -> Made:
    """About three rows in a hundred are of the positive class."""
    chance = random.Random(seed)
    rows = []
    for _ in range(6000):
        amount, hour = round(chance.lognormvariate(3, 1), 2), chance.randint(0, 23)
        country = chance.choices(["DE", "FR", "BR", "SG"], [50, 30, 15, 5])[0]
        score = math.log(amount) + 1.5 * (hour < 5) + 1.2 * (country == "SG")
        rows.append(
            {
                "amount": amount,
                "hour": hour,
                "country": country,
                "age_days": chance.randint(1, 3000),
                "fraud": int(score + chance.gauss(0, 0.4) > 5.6),
            }
        )
    columns = {"country": ("string", "feature"), "fraud": ("integer", "label")}
    return Made(_csv(folder / "fraud.csv", rows), "fraud", "binary", "1", columns, {})


def many_categories(folder: Path, seed: int = 6) -> Made:
    """One category has 5,000 values; a few of them are frequent."""
    chance = random.Random(seed)
    products = [f"P-{n * 37 % 9973:04}-{'ABC'[n % 3]}" for n in range(5000)]
    worth = {product: chance.gauss(0, 10) for product in products}
    rows = []
    for n in range(20_000):
        product = products[n if n < 5000 else chance.randrange(40 if n % 2 else 5000)]
        quantity, rating = chance.randint(1, 30), round(chance.uniform(1, 5), 1)
        margin = 2 * quantity + 8 * rating + worth[product] + chance.gauss(0, 8)
        rows.append(
            {"product": product, "quantity": quantity, "rating": rating, "margin": round(margin, 2)}
        )
    columns = {"product": ("string", "feature"), "margin": ("number", "label")}
    return Made(_csv(folder / "margins.csv", rows), "margin", "regression", "", columns, {})


def utf16_semicolons(folder: Path, seed: int = 7) -> Made:
    """As a spreadsheet of a German office saves it: UTF-16, semicolons, decimal commas."""
    chance = random.Random(seed)
    rows = []
    for _ in range(1500):
        area, floor = round(chance.uniform(20, 160), 1), chance.randint(0, 8)
        district = chance.choice(["Schöneberg", "Köpenick", "Mitte", "Neukölln"])
        rent = 300 + 9.5 * area + {"Mitte": 350, "Köpenick": -150}.get(district, 0) + 12 * floor
        rows.append(
            {
                "Fläche": area,
                "Etage": floor,
                "Bezirk": district,
                "Miete": round(rent + chance.gauss(0, 70), 2),
            }
        )
    columns = {"Bezirk": ("string", "feature"), "Miete": ("number", "label")}
    path = _csv(folder / "mieten.csv", rows, "utf-16", ";", decimal=",")
    file = {"encoding": "utf-16", "delimiter": ";", "decimal": ","}
    return Made(path, "Miete", "regression", "", columns, file)


def parquet(folder: Path, seed: int = 8) -> Made:
    """Typed columns: booleans, times, whole numbers with gaps, a boolean label."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    chance = random.Random(seed)
    columns: dict[str, list[object]] = {
        name: [] for name in ("opened", "seats", "usage", "is_partner", "segment", "renewed")
    }
    for _ in range(2000):
        opened = datetime(2022, 1, 1) + timedelta(hours=chance.randint(0, 20_000))
        seats, usage = chance.randint(1, 200), chance.random()
        partner, segment = chance.random() < 0.3, chance.choice(["small", "middle", "large"])
        score = 4 * usage + partner + (segment == "large") + chance.gauss(0, 0.7)
        row = (opened, None if chance.random() < 0.05 else seats, usage, partner, segment)
        for name, value in zip(columns, (*row, score > 2.6), strict=True):
            columns[name].append(value)
    path = folder / "renewals.parquet"
    pq.write_table(pa.table(columns), path)
    found = {
        "opened": ("datetime", "feature"),
        "is_partner": ("boolean", "feature"),
        "segment": ("string", "feature"),
        "renewed": ("boolean", "label"),
    }
    return Made(path, "renewed", "binary", "1", found, {"format": "parquet"})


def compressed(folder: Path, seed: int = 9) -> Made:
    """Tabs, in gzip; five classes, and missing numbers."""
    chance = random.Random(seed)
    kinds = {"basil": (20, 6.5), "mint": (16, 7.0), "sage": (24, 7.4), "thyme": (26, 6.0)}
    kinds["rosemary"] = (28, 7.2)
    rows = []
    for _ in range(1800):
        kind = chance.choice(sorted(kinds))
        warmth, acidity = kinds[kind]
        rows.append(
            {
                "warmth": round(chance.gauss(warmth, 2.2), 1),
                "acidity": "" if chance.random() < 0.05 else round(chance.gauss(acidity, 0.3), 2),
                "height": chance.randint(5, 60),
                "potted": chance.choice(["true", "false"]),
                "herb": kind,
            }
        )
    columns = {"potted": ("boolean", "feature"), "herb": ("string", "label")}
    path = _csv(folder / "herbs.tsv.gz", rows, delimiter="\t", compress=True)
    file = {"compression": "gzip", "delimiter": "\t"}
    return Made(path, "herb", "multiclass", "", columns, file)


def several_parts(folder: Path, seed: int = 10) -> Made:
    """A folder of seven parts, with columns that are of no use: constant, empty, comments."""
    chance = random.Random(seed)
    words = ["late", "wet", "cold", "rain", "bus", "bridge", "works", "closed", "quiet", "fog"]
    rows = []
    for _ in range(2100):
        warm, wind = round(chance.gauss(14, 8), 1), round(chance.expovariate(0.2), 1)
        day = chance.choice(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
        riders = 120 + 9 * warm - 6 * wind + (90 if day in ("Sat", "Sun") else 0)
        rows.append(
            {
                "source": "counter-3",
                "day": day,
                "warm": warm,
                "wind": wind,
                "checked": "",
                "comment": " ".join(chance.choices(words, k=8)),
                "riders": max(0, round(riders + chance.gauss(0, 30))),
            }
        )
    data = folder / "riders"
    data.mkdir()
    for n in range(7):
        _csv(data / f"part-{n:05}.csv", rows[n * 300 : (n + 1) * 300])
    (data / "_SUCCESS").touch()
    columns = {
        "source": ("string", "ignored"),
        "day": ("string", "feature"),
        "checked": ("string", "ignored"),
        "comment": ("string", "ignored"),
        "riders": ("integer", "label"),
    }
    return Made(data, "riders", "regression", "", columns, {})


TABLES = (
    *(negative_regression, text_binary, dated_multiclass, wide, imbalanced),
    *(many_categories, utf16_semicolons, parquet, compressed, several_parts),
)
