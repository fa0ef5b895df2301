"""What latents stand for and what they do to a network's choices; measures of models; how an episode ended

Revision: 0005, after 0004
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from tdlens.record.view_scripts import drop_views, make_views

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SCRIPTS = Path(__file__).parents[1] / "sql"
OLD, VIEWS = SCRIPTS / "0002_views.sql", SCRIPTS / "0005_views.sql"
REMADE = ("v_episode",)
"""Views that were there before, with other columns."""
SOURCES = "'sae', 'raw', 'untrained', 'shuffled'"
INDEXES = {
    "latent_measure": ("sae_id",),
    "latent_predicate": ("job_id", "sae_id"),
    "latent_example": ("sae_id",),
}


def upgrade() -> None:
    op.create_table(
        "model_metric",
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("model_id", BIG, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        *_numbers("value", "ci_low", "ci_high"),
        sa.Column("n", sa.Integer(), nullable=True),
        _refers("model_metric", "job", cascade=True),
        _refers("model_metric", "model"),
        sa.PrimaryKeyConstraint("job_id", "model_id", "name", name=op.f("pk_model_metric")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "latent_measure",
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("sae_id", BIG, nullable=False),
        sa.Column("latent", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        *_numbers("value"),
        _refers("latent_measure", "job", cascade=True),
        _refers("latent_measure", "sae", "sae_checkpoint"),
        sa.PrimaryKeyConstraint("job_id", "sae_id", "latent", "name", name=op.f("pk_latent_measure")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "latent_predicate",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("model_id", BIG, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("sae_id", BIG, nullable=True),
        sa.Column("latent", sa.Integer(), nullable=False),
        sa.Column("predicate", sa.String(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in ("f1", "precision", "recall")),
        *_numbers("f1_heldout", "ci_low", "ci_high", "null_mean", "null_threshold", "z", "p_familywise"),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("n_true", "n_fired")),
        sa.Column("matched_pairs", sa.Integer(), nullable=True),
        *_numbers("matched_share", "matched_low", "matched_high"),
        *_numbers("added_share", "added_low", "added_high", "decoder_f1"),
        sa.CheckConstraint(f"source IN ({SOURCES})", name=op.f("ck_latent_predicate_source")),
        _refers("latent_predicate", "job", cascade=True),
        _refers("latent_predicate", "model"),
        _refers("latent_predicate", "sae", "sae_checkpoint"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_latent_predicate")),
    )
    op.create_table(
        "latent_example",
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("sae_id", BIG, nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("latent", "rank", "state")),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("q_effect", sa.JSON(), nullable=False),
        _refers("latent_example", "job", cascade=True),
        _refers("latent_example", "sae", "sae_checkpoint"),
        sa.PrimaryKeyConstraint("job_id", "sae_id", "latent", "rank", name=op.f("pk_latent_example")),
        sqlite_with_rowid=False,
    )
    for table, columns in INDEXES.items():
        for column in columns:
            op.create_index(f"ix_{table}_{column}", table, [column])
    drop_views(OLD, *REMADE)
    op.add_column("episode", sa.Column("outcome", sa.String(), nullable=True))
    make_views(VIEWS)


def downgrade() -> None:
    drop_views(VIEWS)
    op.drop_column("episode", "outcome")
    make_views(OLD, *REMADE)
    for table in ("latent_example", "latent_predicate", "latent_measure", "model_metric"):
        op.drop_table(table)


def _numbers(*names: str) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double(), nullable=True) for name in names]


def _refers(table: str, what: str, other: str | None = None, *, cascade: bool = False) -> sa.ForeignKeyConstraint:
    """The column `what`_id refers to a row of `other`, a table that bears the same name unless it is given."""
    column, other = f"{what}_id", other or what
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete="CASCADE" if cascade else None)
