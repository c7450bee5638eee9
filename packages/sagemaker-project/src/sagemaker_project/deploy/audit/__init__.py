"""`deploy-model audit`: from a captured prediction, or a version, back to the data and the commit.

    command    find what is to be audited, and keep the report
    records    captured requests and answers in S3
    chain      CHAIN: a function for each link from the endpoint configuration to the model card
    link       one link: value, source, and whether it is verified, recorded or FAILED
    sources    what AWS, S3 and git say; each is asked once
    anew       make predictions anew from the artifact, in a process of its own (answer.py)
    report     the result as a page

The ledger is the thread: its entry of a deployment names the package and the hashes of everything
that came before. Each link compares that with what another source says today. Nothing is changed.
"""
