"""Tables: from a file and its schema.json to a model that serves, and back to what it got wrong.

This package travels: a step's code and a model's artifact carry these files, byte for byte, beside
their script. So it imports numpy, pandas, pyarrow and scikit-learn, the standard library, and
nothing else of sagemaker_project.

    the words    schema.py     what schema.json says: the one place that knows a column
                 json_object.py
                 cells.py      what the text of a cell means: one rule for numbers, dates, no value
                 table.py      columns in memory
                 script.py     what the scripts of a job share: arguments, errors, files
    preprocess   preprocessing.py, the step
                 reading.py    files to a table; strict: file_format.py, header.py, csv_file.py (the
                               rule), csv_fast.py (the same by pyarrow), parquet_file.py,
                               column_reader.py
                 cleaning.py   ranges, odd values, warnings about columns; description.py
                 split.py      which split a row falls into, from the row alone; xxhash64.py
                 splits.py     the splits as files
    train        training.py   the scikit-learn Pipeline of a schema, fitted; parameters.py,
                               scores.py, calibration.py
                 features.py   columns of the table to inputs of the model
                 trees.py      the same model as plain numbers: compiled.py for a row, masks.py for
                               many
                 artifact.py   the model folder, which becomes model.tar.gz
    serve        serving.py    the container's four functions: requests.py, records.py,
                               large_csv.py, answers.py
    evaluate     evaluation.py, the step
                 metrics.py    SageMaker's Model Quality formats: estimates.py, curves.py,
                               importance.py, facets.py, trivial.py (looks at no column)
                 archive.py    a model.tar.gz, unpacked and asked; client.py has the requests
                 champion.py   the model that serves, scored on the same rows: champion_process.py
                 gate.py       whether a model is registered
                 samples.py, provenance.py   what the test of an endpoint and an audit need
                 report.py     all of it, for people: report_*.py
"""
