"""`inspect-data`: write the schema.json of a user's table.

    sources.py    files to a sample of text columns, and what the files are
    encodings.py  compression, encoding and delimiter of a file, from its bytes
    columns.py    what one column is: its type, its role, and one line that says why
    numbers.py    numbers: missing words, sentinels, decimal marks
    dates.py      dates and times, and the pattern of strptime that reads them
    labels.py     the problem, the positive class, the metric and its threshold
    leaks.py      a column that alone gives the label away
    tables.py     all of it together: the schema, and what is doubtful
    display.py    the result for people; questions on a terminal
    command.py    the command

A `Doubt` is a question with answers, and each answer is a flag of the command: the best guess comes
first. On a terminal the answer adds its flag and the table is looked at again; elsewhere a user
adds it. So there is one way to settle a doubt.
"""
