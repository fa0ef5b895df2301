"""What ablating attention heads does, what is known of them, and the searches that look for those that matter

Revision: 0006, after 0005
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from tdlens.record.view_scripts import drop_views, make_views

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SCRIPTS = Path(__file__).parents[1] / "sql"
OLD, VIEWS = SCRIPTS / "0002_views.sql", SCRIPTS / "0006_views.sql"
REMADE = ("v_model",)
"""Views that were there before, of other rows."""


def upgrade() -> None:
    _table(
        "head_score",
        ("job_id", "model_id", "task_id", "ablation", "seed", "block", "head"),
        *_keys("job_id", "model_id", "task_id"),
        *_texts("ablation"),
        *_keys("seed"),
        *_integers("block", "head"),
        *_texts("split"),
        *_numbers("task_damage", "control_damage", "score"),
        sa.Column("attribution", sa.Double(), nullable=True),
        _is_one_of("head_score", "split", "training", "evaluation"),
        _refers("head_score", "job_id", "job", cascade=True),
        _refers("head_score", "model_id", "model"),
        _refers("head_score", "task_id", "task"),
    )
    _table(
        "head_measure",
        ("job_id", "model_id", "task", "measure", "block", "head"),
        *_keys("job_id", "model_id"),
        *_texts("task", "measure"),
        *_integers("block", "head"),
        sa.Column("value", sa.Double(), nullable=True),
        _refers("head_measure", "job_id", "job", cascade=True),
        _refers("head_measure", "model_id", "model"),
    )
    _table(
        "head_label",
        ("job_id", "model_id", "task", "label", "block", "head"),
        *_keys("job_id", "model_id"),
        *_texts("task", "label"),
        *_integers("block", "head"),
        *_texts("source"),
        _refers("head_label", "job_id", "job", cascade=True),
        _refers("head_label", "model_id", "model"),
    )
    _table(
        "head_pair",
        ("job_id", "model_id", "task_id", "seed", "block", "head", "other_block", "other_head"),
        *_keys("job_id", "model_id", "task_id", "seed"),
        *_integers("block", "head", "other_block", "other_head"),
        *_numbers("damage", "excess"),
        _refers("head_pair", "job_id", "job", cascade=True),
        _refers("head_pair", "model_id", "model"),
        _refers("head_pair", "task_id", "task"),
    )
    op.create_table(
        "circuit_search",
        *_keys("id", "job_id", "model_id"),
        *_integers("n_heads"),
        *_texts("name", "method"),
        sa.Column("best_of", sa.Integer(), nullable=True),
        *_keys("seed", "transitions", "forward_passes"),
        sa.Column("parameters", sa.JSON(), nullable=False),
        _refers("circuit_search", "job_id", "job", cascade=True),
        _refers("circuit_search", "model_id", "model"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_circuit_search")),
        sa.UniqueConstraint("job_id", "name", name=op.f("uq_circuit_search_job_id_name")),
    )
    _table(
        "search_progress",
        ("search_id", "transitions", "task_id"),
        *_keys("search_id", "transitions", "task_id"),
        *_numbers("best_score"),
        *_integers("n_episodes"),
        _refers("search_progress", "search_id", "circuit_search", cascade=True),
        _refers("search_progress", "task_id", "task"),
    )
    _table(
        "search_episode",
        ("rollout_id",),
        *_keys("rollout_id", "search_id"),
        *_texts("task_code"),
        *_integers("best_of"),
        *_numbers("best_score", "oracle"),
        *_integers("forward_passes", "best_block", "best_head", "oracle_block", "oracle_head"),
        sa.Column("best_by_pass", sa.JSON(), nullable=False),
        _refers("search_episode", "rollout_id", "rollout", cascade=True),
        _refers("search_episode", "search_id", "circuit_search"),
    )
    _table(
        "search_step",
        ("step_id",),
        *_keys("step_id"),
        *_integers("forward_passes"),
        *_numbers("best_score"),
        _refers("search_step", "step_id", "step", cascade=True),
    )
    _table(
        "planted_circuit",
        ("job_id", "model", "block", "head"),
        *_keys("job_id"),
        *_texts("model"),
        *_integers("block", "head"),
        *_texts("role"),
        *_numbers("score"),
        *(sa.Column(name, sa.Double(), nullable=True) for name in ("pair_excess", "found_rank")),
        _is_one_of("planted_circuit", "role", "circuit", "hidden", "other"),
        _refers("planted_circuit", "job_id", "job", cascade=True),
    )
    op.create_index("ix_search_episode_search_id", "search_episode", ["search_id"])
    drop_views(OLD, *REMADE)
    make_views(VIEWS)


def downgrade() -> None:
    drop_views(VIEWS)
    make_views(OLD, *REMADE)
    searches = ("planted_circuit", "search_step", "search_episode", "search_progress", "circuit_search")
    for table in (*searches, "head_pair", "head_label", "head_measure", "head_score"):
        op.drop_table(table)


def _table(name: str, key: tuple[str, ...], *parts: sa.Column[object] | sa.Constraint) -> None:
    """Makes a table whose rows lie in the order of their key."""
    op.create_table(name, *parts, sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}")), sqlite_with_rowid=False)


def _keys(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=False) for name in names]


def _integers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer(), nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double(), nullable=False) for name in names]


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(), nullable=False) for name in names]


def _is_one_of(table: str, column: str, *words: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=op.f(f"ck_{table}_{column}"))


def _refers(table: str, column: str, other: str, *, cascade: bool = False) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete="CASCADE" if cascade else None)
