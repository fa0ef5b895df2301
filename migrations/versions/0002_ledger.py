"""The ledger: units are pending, leased, done, failed or lost; submissions and workers

Revision: 0002, after 0001
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("CURRENT_TIMESTAMP")
SCRIPTS = Path(__file__).parents[1] / "sql"
STATES = {"0001": "'running', 'done', 'failed'", "0002": "'pending', 'leased', 'done', 'failed', 'lost'"}
FINISHED = {
    "0001": "(state = 'running') = (finished_at IS NULL)",
    "0002": "(state IN ('done', 'failed')) = (finished_at IS NOT NULL)",
}
LEASED = "(state = 'leased') = (lease_until IS NOT NULL)"


def upgrade() -> None:
    _drop_views("0001")
    with op.batch_alter_table("job", copy_from=_job("0001")) as job:
        job.drop_constraint(op.f("ck_job_state"), type_="check")
        job.drop_constraint(op.f("ck_job_finished"), type_="check")
        job.add_column(sa.Column("lease_until", MOMENT, nullable=True))
        for column, kind in (("owner", sa.String()), ("versions", sa.JSON()), ("device", sa.String())):
            job.alter_column(column, existing_type=kind, nullable=True)
        job.alter_column("started_at", existing_type=MOMENT, nullable=True, server_default=None)
    # Nobody holds a lease yet: what was running is anybody's.
    op.execute("UPDATE job SET state = 'lost', error = 'running when the record was migrated' WHERE state = 'running'")
    with op.batch_alter_table("job", copy_from=_job("between")) as job:
        job.create_check_constraint(op.f("ck_job_state"), f"state IN ({STATES['0002']})")
        job.create_check_constraint(op.f("ck_job_finished"), FINISHED["0002"])
        job.create_check_constraint(op.f("ck_job_leased"), LEASED)
        job.create_index("ix_job_state", ["state"])
    op.create_table(
        "submission",
        sa.Column("id", BIG, nullable=False),
        sa.Column("study_id", BIG, nullable=False),
        sa.Column("executor", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("scheduler_id", sa.String(), nullable=True),
        sa.Column("submitted_at", MOMENT, server_default=NOW, nullable=False),
        sa.CheckConstraint("executor IN ('local', 'slurm')", name=op.f("ck_submission_executor")),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_submission_study_id_study"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submission")),
    )
    op.create_index("ix_submission_study_id", "submission", ["study_id"])
    op.create_table(
        "worker",
        sa.Column("id", BIG, nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("submission_id", BIG, nullable=True),
        sa.Column("study_id", BIG, nullable=True),
        sa.Column("job_id", BIG, nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("activity", sa.String(), nullable=True),
        sa.Column("progress", sa.Double(), nullable=True),
        sa.Column("published", sa.Integer(), nullable=False),
        sa.Column("started_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("seen_at", MOMENT, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "state IN ('starting', 'planning', 'working', 'waiting', 'stopping', 'stopped')",
            name=op.f("ck_worker_state"),
        ),
        *(
            sa.ForeignKeyConstraint(
                [f"{table}_id"], [f"{table}.id"], name=op.f(f"fk_worker_{table}_id_{table}"), ondelete="SET NULL"
            )
            for table in ("submission", "study", "job")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
        sa.UniqueConstraint("owner", name=op.f("uq_worker_owner")),
    )
    for column in ("submission_id", "study_id", "job_id"):
        op.create_index(f"ix_worker_{column}", "worker", [column])
    _make_views("0002")


def downgrade() -> None:
    _drop_views("0002")
    op.drop_table("worker")
    op.drop_table("submission")
    with op.batch_alter_table("job", copy_from=_job("0002")) as job:
        for name in ("state", "finished", "leased"):
            job.drop_constraint(op.f(f"ck_job_{name}"), type_="check")
        job.drop_index("ix_job_state")
    # A unit that nobody has begun leaves no row under 0001: a run plans it again.
    for table in ("job_parent", "study_job"):
        op.execute(f"DELETE FROM {table} WHERE job_id IN (SELECT id FROM job WHERE state = 'pending')")  # noqa: S608
    op.execute("DELETE FROM job WHERE state = 'pending'")
    op.execute("UPDATE job SET state = 'running' WHERE state IN ('leased', 'lost')")
    op.execute("UPDATE job SET owner = COALESCE(owner, ''), device = COALESCE(device, '')")
    op.execute("UPDATE job SET versions = '{}' WHERE versions IS NULL")
    op.execute("UPDATE job SET started_at = CURRENT_TIMESTAMP WHERE started_at IS NULL")
    with op.batch_alter_table("job", copy_from=_job("between")) as job:
        job.drop_column("lease_until")
        for column, kind in (("owner", sa.String()), ("versions", sa.JSON()), ("device", sa.String())):
            job.alter_column(column, existing_type=kind, nullable=False)
        job.alter_column("started_at", existing_type=MOMENT, nullable=False, server_default=NOW)
        job.create_check_constraint(op.f("ck_job_state"), f"state IN ({STATES['0001']})")
        job.create_check_constraint(op.f("ck_job_finished"), FINISHED["0001"])
    _make_views("0001")


def _job(revision: str) -> sa.Table:
    """The table at a revision, or between the two: SQLite can only rebuild it, also in a script, from its plan."""
    old = revision == "0001"
    columns = [
        sa.Column("id", BIG, nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(), nullable=not old),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("seed", BIG, nullable=True),
        sa.Column("git_commit", sa.String(), nullable=True),
        sa.Column("git_dirty", sa.Boolean(), nullable=True),
        sa.Column("versions", sa.JSON(), nullable=not old),
        sa.Column("device", sa.String(), nullable=not old),
        sa.Column("started_at", MOMENT, nullable=not old, server_default=NOW if old else None),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("error", sa.String(), nullable=True),
    ]
    constraints: list[sa.Constraint] = [
        sa.PrimaryKeyConstraint("id", name="pk_job"),
        sa.UniqueConstraint("identity", name="uq_job_identity"),
    ]
    if not old:
        columns.append(sa.Column("lease_until", MOMENT, nullable=True))
    if revision != "between":
        constraints += [
            sa.CheckConstraint(f"state IN ({STATES[revision]})", name="ck_job_state"),
            sa.CheckConstraint(FINISHED[revision], name="ck_job_finished"),
        ]
    if revision == "0002":
        constraints.append(sa.CheckConstraint(LEASED, name="ck_job_leased"))
    table = sa.Table("job", sa.MetaData(), *columns, *constraints)
    sa.Index("ix_job_stage", table.c.stage)
    if revision == "0002":
        sa.Index("ix_job_state", table.c.state)
    return table


def _make_views(revision: str) -> None:
    for view in _views(revision):
        op.execute(view)


def _drop_views(revision: str) -> None:
    for view in reversed(_views(revision)):
        op.execute(view.split(" AS\n", 1)[0].replace("CREATE", "DROP", 1))


def _views(revision: str) -> list[str]:
    text = (SCRIPTS / f"{revision}_views.sql").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [view.strip() for view in "\n".join(lines).split(";") if view.strip()]
