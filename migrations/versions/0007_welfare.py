"""What reinforcement learning in a maze leaves in a model: trainings, concept vectors, and what steering by them does

Revision: 0007, after 0006
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from tdlens.record.view_scripts import drop_views, make_views

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SCRIPTS = Path(__file__).parents[1] / "sql"
OLD, VIEWS = SCRIPTS / "0006_views.sql", SCRIPTS / "0007_views.sql"
REMADE = ("v_model",)
"""Views that were there before, of other rows."""


def upgrade() -> None:
    _make_trainings()
    _make_vectors()
    _make_comparisons()
    _make_steering()
    _make_bridge()
    _table(
        "planted_axis",
        ("job_id", "model", "evaluation"),
        *_keys("job_id"),
        *_texts("model", "evaluation"),
        _truth("planted"),
        *_integers("expected"),
        *_numbers("contrast", "ci_low", "ci_high", "cosine", "cohen_d"),
        _truth("found"),
        _refers("planted_axis", "job_id", "job", cascade=True),
    )
    drop_views(OLD, *REMADE)
    make_views(VIEWS)


def downgrade() -> None:
    drop_views(VIEWS)
    make_views(OLD, *REMADE)
    for table in (
        *("planted_axis", "concept_signal", "concept_latent", "steering_contrast", "steered_text", "steering_effect"),
        *("goal_tracking", "emotion_component", "emotion_cosine", "concept_token", "concept_cosine", "concept_vector"),
        *("maze_checkpoint", "maze_progress", "maze_training"),
    ):
        op.drop_table(table)


def _make_trainings() -> None:
    op.create_table(
        "maze_training",
        *_keys("id", "job_id", "base_id", "model_id"),
        *_texts("name", "algorithm", "variant", "shuffled"),
        *_integers("steps"),
        *_keys("seed"),
        sa.Column("parameters", sa.JSON(), nullable=False),
        _refers("maze_training", "job_id", "job", cascade=True),
        _refers("maze_training", "base_id", "model"),
        _refers("maze_training", "model_id", "model"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_maze_training")),
        sa.UniqueConstraint("job_id", name=op.f("uq_maze_training_job_id")),
    )
    _table(
        "maze_progress",
        ("training_id", "step"),
        *_keys("training_id"),
        *_integers("step"),
        *_numbers("mean_return", "golds", "molds", "entropy", nullable=True),
        *_numbers("loss", "gradient", "equalised_entropy", "clipped", "learning_rate"),
        _refers("maze_progress", "training_id", "maze_training", cascade=True),
    )
    _table(
        "maze_checkpoint",
        ("training_id", "step"),
        *_keys("training_id"),
        *_integers("step"),
        *_keys("model_id"),
        _refers("maze_checkpoint", "training_id", "maze_training", cascade=True),
        _refers("maze_checkpoint", "model_id", "model"),
    )


def _make_vectors() -> None:
    _table(
        "concept_vector",
        ("job_id", "concept", "block"),
        *_keys("job_id"),
        *_texts("concept"),
        *_integers("block"),
        *_whose_vector(),
        *_numbers("norm", "stream_norm", "auroc", "cohen_d", "overlap"),
        _truth("chosen"),
        *_integers("n"),
        *_texts("blob"),
        _refers("concept_vector", "job_id", "job", cascade=True),
        _refers("concept_vector", "model_id", "model"),
        sa.ForeignKeyConstraint(["blob"], ["blob.sha256"], name=op.f("fk_concept_vector_blob_blob")),
    )
    _index("concept_vector", "blob")
    _index("concept_vector", "model_id")
    _table(
        "concept_cosine",
        ("job_id", "concept", "other", "block"),
        *_keys("job_id"),
        *_texts("concept", "other"),
        *_integers("block"),
        *_whose_vector(),
        *_numbers("cosine"),
        _refers("concept_cosine", "job_id", "job", cascade=True),
        _refers("concept_cosine", "model_id", "model"),
    )
    _index("concept_cosine", "model_id")
    _table(
        "concept_token",
        ("job_id", "concept", "block", "sign", "rank"),
        *_keys("job_id"),
        *_texts("training", nullable=True),
        *_texts("variant", "concept"),
        *_integers("block", "sign", "rank"),
        *_texts("token"),
        *_numbers("logit"),
        _refers("concept_token", "job_id", "job", cascade=True),
    )


def _make_comparisons() -> None:
    _table(
        "emotion_cosine",
        ("job_id", "model_id", "variant", "concept", "emotion"),
        *_keys("job_id", "model_id"),
        *_texts("training", nullable=True),
        *_texts("variant", "concept", "emotion"),
        *_integers("block"),
        *_numbers("cosine", "valence"),
        _refers("emotion_cosine", "job_id", "job", cascade=True),
        _refers("emotion_cosine", "model_id", "model"),
    )
    _index("emotion_cosine", "model_id")
    _table(
        "emotion_component",
        ("job_id", "model_id", "variant", "component", "concept"),
        *_keys("job_id", "model_id"),
        *_texts("training", nullable=True),
        *_texts("variant"),
        *_integers("component"),
        *_texts("concept"),
        *_integers("block"),
        *_numbers("explained", "valence_r", "projection", "cosine", "null_low", "null_high"),
        _refers("emotion_component", "job_id", "job", cascade=True),
        _refers("emotion_component", "model_id", "model"),
    )
    _index("emotion_component", "model_id")
    _table(
        "goal_tracking",
        ("job_id", "source", "reader", "panel", "concept"),
        *_keys("job_id"),
        *_texts("training", "source", "reader", "panel", "concept"),
        *_integers("block"),
        *_numbers("d", "ci_low", "ci_high"),
        *_integers("n", "n_other"),
        sa.Column("histogram", sa.JSON(), nullable=False),
        _is_one_of("goal_tracking", "source", "trained", "untrained"),
        _refers("goal_tracking", "job_id", "job", cascade=True),
    )


def _make_steering() -> None:
    op.create_table(
        "steering_effect",
        *_keys("id", "job_id"),
        *_texts("training", "reader", "concept", "source"),
        *_integers("draw", "block"),
        *_texts("dose_kind"),
        *_numbers("dose", "norm"),
        *_texts("evaluation", "measure", "group"),
        *_numbers("value", "ci_low", "ci_high", "incoherent", nullable=True),
        *_integers("n"),
        *_texts("judge"),
        _is_one_of("steering_effect", "dose_kind", "alpha", "unit"),
        _is_one_of("steering_effect", "source", "trained", "untrained", "random"),
        _refers("steering_effect", "job_id", "job", cascade=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steering_effect")),
    )
    _index("steering_effect", "job_id")
    _table(
        "steered_text",
        ("job_id", "dose_kind", "dose", "item", "sample"),
        *_keys("job_id"),
        *_texts("dose_kind"),
        *_numbers("dose"),
        *_integers("item", "sample"),
        *_texts("prompt", "text", "label"),
        *_numbers("score", nullable=True),
        _refers("steered_text", "job_id", "job", cascade=True),
    )
    op.create_table(
        "steering_contrast",
        *_keys("id", "job_id"),
        *_texts("training", "reader", "dose_kind", "evaluation", "measure", "quantity", "source"),
        *_integers("expected"),
        *_numbers("value", "ci_low", "ci_high", "p"),
        *_integers("n"),
        _refers("steering_contrast", "job_id", "job", cascade=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steering_contrast")),
    )
    _index("steering_contrast", "job_id")


def _make_bridge() -> None:
    _table(
        "concept_latent",
        ("job_id", "concept", "sae_id", "signal", "latent"),
        *_keys("job_id"),
        *_texts("concept"),
        *_keys("sae_id"),
        *_texts("signal"),
        *_integers("latent"),
        *_texts("training"),
        *_integers("block"),
        *_numbers("r"),
        *_numbers("r_partial", nullable=True),
        *_numbers("cosine", "activation"),
        _refers("concept_latent", "job_id", "job", cascade=True),
        _refers("concept_latent", "sae_id", "sae_checkpoint"),
    )
    _index("concept_latent", "sae_id")
    _table(
        "concept_signal",
        ("job_id", "concept", "sae_id", "signal"),
        *_keys("job_id"),
        *_texts("concept"),
        *_keys("sae_id"),
        *_texts("signal", "training"),
        *_integers("block", "n_latents"),
        *_numbers("cosine", "cosine_low", "cosine_high", "cosine_p", "share", "share_high", "share_p"),
        _refers("concept_signal", "job_id", "job", cascade=True),
        _refers("concept_signal", "sae_id", "sae_checkpoint"),
    )
    _index("concept_signal", "sae_id")


def _table(name: str, key: tuple[str, ...], *parts: sa.Column[object] | sa.Constraint) -> None:
    """Makes a table whose rows lie in the order of their key."""
    op.create_table(name, *parts, sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}")), sqlite_with_rowid=False)


def _index(table: str, column: str) -> None:
    op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def _whose_vector() -> list[sa.Column[object]]:
    step: sa.Column[object] = sa.Column("step", sa.Integer(), nullable=True)
    return [*_keys("model_id"), *_texts("training", nullable=True), step, *_texts("variant")]


def _keys(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, BIG, nullable=False) for name in names]


def _integers(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Integer(), nullable=False) for name in names]


def _numbers(*names: str, nullable: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Double(), nullable=nullable) for name in names]


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.String(), nullable=nullable) for name in names]


def _truth(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _is_one_of(table: str, column: str, *words: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=op.f(f"ck_{table}_{column}"))


def _refers(table: str, column: str, other: str, *, cascade: bool = False) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete="CASCADE" if cascade else None)
