"""Training a study's autoencoders where it computes: in this process, or over ranks with a GPU each.

``trainers`` are what a stage asks, ``program`` is what each rank runs. Neither knows the record.
"""
