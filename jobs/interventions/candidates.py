"""How closely every live latent follows every signal: what latents are chosen from."""

from __future__ import annotations

import pandas as pd
from sqlalchemy import select

from jobs.context import Context
from jobs.selection import CHANCE
from jobs.stage import Unit
from jobs.stages.rank import matrix_of
from jobs.stages.represent import MATRIX
from tdlens.record import Artifact


def candidates(context: Context, unit: Unit) -> pd.DataFrame:
    """The live latents of the section's autoencoder × all signals, as :func:`jobs.selection.select` takes them.

    Of a signal with a value for every state it is the mean over rollouts of a latent's highest r over states.
    """
    scalar = matrix_of(context, unit.parents_of("rank")[0]).assign(**dict.fromkeys(CHANCE.values(), 0.0))
    of_states = [_of_states(context, represent) for represent in unit.parents_of("represent")]
    return pd.concat([scalar, *of_states], ignore_index=True)


def _of_states(context: Context, represent: Unit) -> pd.DataFrame:
    with context.record.session(read_only=True) as session:
        job_id = context.job_id(represent)
        blob = session.scalars(select(Artifact.blob).where(Artifact.job_id == job_id, Artifact.name == MATRIX)).one()
    return context.record.blobs.load_table(blob)
