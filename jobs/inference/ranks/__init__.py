"""A model, or the training of an autoencoder, over several processes of one machine: the ranks.

``group`` starts the ranks and speaks with them, ``rank`` is what each of them runs, ``wire`` carries messages and
tensors between the two. ``join`` makes the ranks one process group, ``loading`` shares a model out among them,
``model`` serves its forward passes, and ``engine`` is the engine that has them run. Ranks know no study and no record.
"""
