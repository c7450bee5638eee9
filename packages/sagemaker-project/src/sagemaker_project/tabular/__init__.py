"""Tables: from a file and its schema.json to a model that serves, and back to what it got wrong.

This package travels: a step's code and a model's artifact carry these files, byte for byte, beside
their script. So it imports numpy, pandas, pyarrow and scikit-learn, the standard library, and
nothing else of sagemaker_project.

    schema.py     what schema.json says: the one place that knows a column
    cells.py      what the text of a cell means: one rule for numbers, dates, booleans, no value
    table.py      columns in memory
    reading.py    files to a table: CSV, gzip, Parquet, one or several; strict
    cleaning.py   ranges, odd values, warnings about columns
    split.py      which split a row falls into, from the row alone
    xxhash64.py   the hash behind it, of many cells at once
    splits.py     the splits as files
    description.py    columns and splits in numbers, for the report
    preprocessing.py  the step that does all of that
    features.py   columns of the table to inputs of the model
    parameters.py hyperparameters: defaults, limits, flags
    training.py   the scikit-learn Pipeline of a schema, fitted, and what was decided about it
    scores.py     metrics and losses that training prints and decides by
    calibration.py  probabilities that mean what they say, inside the fitted classifier
    artifact.py   the model folder: Pipeline, trees, facts and code
    trees.py      the same model as plain numbers, for a row and for many
    serving.py    requests to answers
    metrics.py    SageMaker's Model Quality formats, the trivial predictor, importance, groups
    gate.py       whether a model is registered
    champion.py   the model that serves, scored on the same rows
    report.py     all of it, for people
    script.py     what the scripts of a job share: arguments, errors, files
"""
