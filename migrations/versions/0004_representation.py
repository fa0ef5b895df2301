"""What a block represents: measures of whole blocks, maps of states, published curves; the latents of an intervention

Revision: 0004, after 0003
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from tdlens.record.view_scripts import drop_views, make_views

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SCRIPTS = Path(__file__).parents[1] / "sql"
OLD, VIEWS = SCRIPTS / "0002_views.sql", SCRIPTS / "0004_views.sql"
REMADE = ("v_step",)
"""Views that were there before, with other columns."""
SOURCES = "'sae', 'raw', 'pca', 'untrained', 'shuffled', 'stream'"
INDEXES = {
    "block_measure": ("job_id", "intervention_id"),
    "map_point": ("job_id", "intervention_id"),
    "intervention_latent": ("sae_id",),
}


def upgrade() -> None:
    op.create_table(
        "block_measure",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("model_id", BIG, nullable=False),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("sae_name", sa.String(), nullable=True),
        sa.Column("measure", sa.String(), nullable=False),
        sa.Column("signal", sa.String(), nullable=False),
        sa.Column("intervention_id", BIG, nullable=True),
        *(
            sa.Column(name, sa.Double(), nullable=True)
            for name in ("value", "ci_low", "ci_high", "null_mean", "null_threshold")
        ),
        sa.Column("n_rollouts", sa.Integer(), nullable=False),
        sa.CheckConstraint(f"source IN ({SOURCES})", name=op.f("ck_block_measure_source")),
        _refers("block_measure", "job", cascade=True),
        _refers("block_measure", "model"),
        _refers("block_measure", "intervention", cascade=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_block_measure")),
    )
    op.create_table(
        "map_point",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("block", sa.Integer(), nullable=True),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("rollout_index", sa.Integer(), nullable=False),
        sa.Column("intervention_id", BIG, nullable=True),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("grp", sa.Integer(), nullable=False),
        sa.Column("x", sa.Double(), nullable=False),
        sa.Column("y", sa.Double(), nullable=False),
        _refers("map_point", "job", cascade=True),
        _refers("map_point", "intervention", cascade=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_map_point")),
    )
    op.create_table(
        "published_point",
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("figure", sa.String(), nullable=False),
        sa.Column("series", sa.String(), nullable=False),
        sa.Column("x", sa.Double(), nullable=False),
        sa.Column("y", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        _refers("published_point", "job", cascade=True),
        sa.PrimaryKeyConstraint("job_id", "source", "figure", "series", "x", name=op.f("pk_published_point")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "intervention_latent",
        sa.Column("intervention_id", BIG, nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("latent", sa.Integer(), nullable=False),
        sa.Column("sae_id", BIG, nullable=False),
        _refers("intervention_latent", "intervention", cascade=True),
        sa.ForeignKeyConstraint(
            ["sae_id"], ["sae_checkpoint.id"], name=op.f("fk_intervention_latent_sae_id_sae_checkpoint")
        ),
        sa.PrimaryKeyConstraint("intervention_id", "block", "latent", name=op.f("pk_intervention_latent")),
        sqlite_with_rowid=False,
    )
    for table, columns in INDEXES.items():
        for column in columns:
            op.create_index(f"ix_{table}_{column}", table, [column])
    drop_views(OLD, *REMADE)
    make_views(VIEWS)


def downgrade() -> None:
    drop_views(VIEWS)
    make_views(OLD, *REMADE)
    for table in ("intervention_latent", "published_point", "map_point", "block_measure"):
        op.drop_table(table)


def _refers(table: str, other: str, *, cascade: bool = False) -> sa.ForeignKeyConstraint:
    column = f"{other}_id"
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete="CASCADE" if cascade else None)
