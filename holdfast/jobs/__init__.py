"""What one job of the workflow does: read its inputs, walk its shard, write its artifact.

Each module has one function, `run`, which a script of the same verb calls with plain values. It takes the job's
description (see `holdfast.study`), the paths of inputs and output, the log file and the number of threads. Heavy
imports stand inside, after the device was chosen.
"""
