"""Speed: a partition for each analysis's correlations on PostgreSQL; which are kept stands beside them; units in order

Revision: 0003, after 0002
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from tdlens.record.view_scripts import drop_views, make_views

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SCRIPTS = Path(__file__).parents[1] / "sql"
OLD, NEW = SCRIPTS / "0002_views.sql", SCRIPTS / "0003_views.sql"
VIEWS = ("v_correlation", "v_latent_correlation", "v_coverage")
KEYS = {
    "0002": ("analysis_id", "block", "signal_id", "latent"),
    "0003": ("analysis_id", "signal_id", "block", "latent"),
}
INDEXES: dict[str, dict[str, tuple[str, ...]]] = {"0002": {"signal_id": (), "sae_id": ()}, "0003": {"block": ("r",)}}
"""The first column of each index, and the others."""
NUMBERS = (
    *("r_selection", "r_heldout", "ci_low", "ci_high", "heldout_low", "heldout_high", "r_partial"),
    *("r_partial_heldout", "partial_low", "partial_high", "null_mean", "null_sd", "p_familywise", "q_value"),
)
NAMES = ("analysis_id", "signal_id", "block", "latent", "sae_id", "r", *NUMBERS, "n", "n_rollouts")

# In the database, so that a script made without one does it too.
FILL = f"""
DO $$
DECLARE one bigint;
BEGIN
    FOR one IN SELECT id FROM analysis ORDER BY id LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF latent_correlation FOR VALUES IN (%L)',
            'latent_correlation_' || one, one);
        EXECUTE format('INSERT INTO latent_correlation ({", ".join(NAMES)})
            SELECT {", ".join(NAMES)} FROM latent_correlation_before WHERE analysis_id = %L', one);
    END LOOP;
END $$
"""  # noqa: S608
DROP = """
CREATE FUNCTION tdlens_drop_correlations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', 'latent_correlation_' || OLD.id);
    RETURN OLD;
END $$
"""
TRIGGER = """
CREATE TRIGGER drop_correlations BEFORE DELETE ON analysis
FOR EACH ROW EXECUTE FUNCTION tdlens_drop_correlations()
"""


def upgrade() -> None:
    op.drop_index("ix_job_state", "job")
    op.create_index("ix_job_state_id", "job", ["state", "id"])
    drop_views(OLD, *VIEWS)
    op.add_column("analysis", sa.Column("top", sa.Integer(), nullable=True))
    op.add_column("analysis", sa.Column("cutoff", sa.Double(), nullable=True))
    _set_aside("0002")
    _make("0003")
    if _postgresql():
        op.execute(FILL)
        op.execute(DROP)
        op.execute(TRIGGER)
    else:
        _copy()
    op.drop_table("latent_correlation_before")
    make_views(NEW)


def downgrade() -> None:
    drop_views(NEW)
    if _postgresql():
        op.execute("DROP TRIGGER drop_correlations ON analysis")
        op.execute("DROP FUNCTION tdlens_drop_correlations")
    _set_aside("0003")
    _make("0002")
    _copy()
    op.drop_table("latent_correlation_before")
    op.drop_column("analysis", "cutoff")
    op.drop_column("analysis", "top")
    make_views(OLD, *VIEWS)
    op.drop_index("ix_job_state_id", "job")
    op.create_index("ix_job_state", "job", ["state"])


def _postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _set_aside(revision: str) -> None:
    for name in _indexes(revision):
        op.drop_index(name, "latent_correlation")
    op.rename_table("latent_correlation", "latent_correlation_before")
    if _postgresql():  # its name would still be taken
        op.execute("ALTER INDEX pk_latent_correlation RENAME TO pk_latent_correlation_before")


def _make(revision: str) -> None:
    key = KEYS[revision]
    op.create_table(
        "latent_correlation",
        sa.Column("analysis_id", BIG, nullable=False),
        *(sa.Column(name, BIG if name == "signal_id" else sa.Integer(), nullable=False) for name in key[1:]),
        sa.Column("sae_id", BIG, nullable=True),
        sa.Column("r", sa.Double(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in NUMBERS),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("n", "n_rollouts")),
        sa.ForeignKeyConstraint(
            ["analysis_id"],
            ["analysis.id"],
            name=op.f("fk_latent_correlation_analysis_id_analysis"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["sae_id"], ["sae_checkpoint.id"], name=op.f("fk_latent_correlation_sae_id_sae_checkpoint")
        ),
        sa.ForeignKeyConstraint(["signal_id"], ["signal.id"], name=op.f("fk_latent_correlation_signal_id_signal")),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_latent_correlation")),
        sqlite_with_rowid=False,
        postgresql_partition_by="LIST (analysis_id)" if revision == "0003" else None,
    )
    for name, columns in _indexes(revision).items():
        op.create_index(name, "latent_correlation", columns)


def _indexes(revision: str) -> dict[str, list[str]]:
    found = [[first, *others] for first, others in INDEXES[revision].items()]
    return {f"ix_latent_correlation_{'_'.join(columns)}": columns for columns in found}


def _copy() -> None:
    names = ", ".join(NAMES)
    op.execute(f"INSERT INTO latent_correlation ({names}) SELECT {names} FROM latent_correlation_before")  # noqa: S608
