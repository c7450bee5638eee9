"""Processing and training jobs: the /opt/ml contract around one child process.

A job's folder is laid out as its container's /opt/ml would be. Inputs are downloaded from S3, the
script runs in a child process, results are uploaded to S3, and the folder is removed. There is no
container, so `/opt/ml` in an entrypoint, an argument or an environment value is rewritten to that
folder. A job is one process on one machine; a request for several instances is refused.

A request becomes a `Plan` before anything runs: plain, frozen data that says what to download,
what to run and what to upload. What the emulator cannot do is refused there, by name. A `Job`
then carries the plan out on a thread of its own and writes each state into the store.

    operations.py   CreateProcessingJob, StopTrainingJob, ...: the table OPERATIONS
    kinds.py        the two kinds of jobs, and the error that makes one fail
    plan.py         the plan of a job; from a request to a plan for processing jobs
    training.py     the same for training jobs: channels, hyperparameters, SM_* variables
    container.py    what replaces the container: paths, the command, the environment
    job.py          runs a plan: the folder, the child process, the time limit, stopping
    outcome.py      the final status of a job, from its exit code, log and output files
    s3_files.py     download of inputs, upload of outputs and archives
    logs.py         log files, and their import into CloudWatch Logs
    _job.py         the main program of the child process; it imports next to nothing
"""
